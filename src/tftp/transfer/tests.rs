use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::tftp::packet::Buffer;
use crate::tftp::timer::{FIRST_WAIT, GIVE_UP};

const START: Duration = Duration::from_secs(100);
const MS: Duration = Duration::from_millis(1);

fn content(len: usize) -> Bytes {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect()
}

fn options(tsize: bool, blksize: u64, windowsize: u64) -> Options {
    Options {
        tsize,
        blksize: Some(blksize),
        windowsize: Some(windowsize),
        timeout: None,
    }
}

/// A transfer and the file that it is of.
struct Sent {
    transfer: Transfer,
    file: Bytes,
    now: Duration,
}

impl std::ops::Deref for Sent {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.transfer
    }
}

impl std::ops::DerefMut for Sent {
    fn deref_mut(&mut self) -> &mut Transfer {
        &mut self.transfer
    }
}

fn begin(options: &Options, len: usize) -> Sent {
    Sent {
        transfer: Transfer::begin(options, len as u64, MAX_BLOCK_BYTES, START),
        file: content(len),
        now: START,
    }
}

/// All that is due at the time it was last told.
fn due(sent: &mut Sent) -> Vec<Vec<u8>> {
    let mut buffer = [0; size_of::<Buffer>()];
    let mut datagrams = Vec::new();
    while let Some(due) = sent.transfer.next(sent.now) {
        let datagram = match due {
            Due::Offer(accepted) => packet::oack(&accepted, &mut buffer),
            Due::Block {
                number,
                offset,
                size,
            } => {
                let place = packet::place(size, &mut buffer);
                let left = &sent.file[usize::try_from(offset).expect("small")..];
                let len = left.len().min(place.len());
                place[..len].copy_from_slice(&left[..len]);
                packet::data(number, len, &mut buffer)
            }
        };
        datagrams.push(datagram.to_vec());
    }
    datagrams
}

/// Numbers of the DATA that is due now.
fn blocks(transfer: &mut Sent) -> Vec<u16> {
    due(transfer)
        .iter()
        .map(|datagram| {
            assert_eq!(datagram[..2], [0, 3]);
            u16::from_be_bytes([datagram[2], datagram[3]])
        })
        .collect()
}

fn ack(transfer: &mut Sent, number: u16) -> Option<Outcome> {
    transfer.now = START + MS;
    transfer.on_packet(&Packet::Ack(number), START + MS)
}

#[test]
fn a_file_without_options() {
    let mut transfer = begin(&Options::default(), 600);
    let first = due(&mut transfer);
    assert_eq!(first, [[&[0, 3, 0, 1], &content(600)[..512]].concat()]);
    assert!(transfer.is_opening());
    assert_eq!(ack(&mut transfer, 1), None);
    assert!(!transfer.is_opening());
    assert_eq!(
        due(&mut transfer),
        [[&[0, 3, 0, 2], &content(600)[512..]].concat()]
    );
    assert_eq!(ack(&mut transfer, 2), Some(Outcome::Completed));
}

#[test]
fn the_size_is_always_told_and_no_data_comes_before_it_is_acknowledged() {
    let only_tsize = Options {
        tsize: true,
        ..Options::default()
    };
    for (options, len, oack) in [
        (only_tsize, 3000, &b"\0\x06tsize\x003000\0"[..]),
        (only_tsize, 0, b"\0\x06tsize\x000\0"),
        (
            options(true, 1468, 4),
            5,
            b"\0\x06tsize\x005\0blksize\x001468\0windowsize\x004\0",
        ),
    ] {
        let mut transfer = begin(&options, len);
        assert_eq!(due(&mut transfer), [oack]);
        assert_eq!(ack(&mut transfer, 1), None, "not before ACK 0");
        assert_eq!(due(&mut transfer), [[0; 0]; 0]);
        assert_eq!(ack(&mut transfer, 0), None);
        assert_eq!(blocks(&mut transfer)[0], 1);
    }
}

#[test]
fn the_size_may_be_past_four_gigabytes() {
    let options = Options {
        tsize: true,
        ..Options::default()
    };
    let mut transfer = Transfer::begin(&options, 5 << 30, MAX_BLOCK_BYTES, START);
    let accepted = Accepted {
        tsize: Some(5_368_709_120),
        ..Accepted::default()
    };
    assert_eq!(transfer.next(START), Some(Due::Offer(accepted)));
}

/// RFC 2348: "the client [...] can choose the maximum transmission unit (MTU) of its own"; dnsmasq says 1 368 on one of 1 400.
#[test]
fn a_block_fits_into_one_packet_of_the_path() {
    for (mtu, most) in [
        (65_536, 1468),
        (9000, 1468),
        (1500, 1468),
        (1499, 1467),
        (1492, 1460),
        (1400, 1368),
        (1280, 1248),
        (576, 544),
        (68, 36),
        (40, 8),
        (0, 8),
    ] {
        assert_eq!(max_block(mtu), most, "{mtu}");
    }
    for (asked, offered) in [(65_464, 1368), (1468, 1368), (1368, 1368), (512, 512)] {
        let accepted = accept(&options(false, asked, 1), 9, max_block(1400));
        assert_eq!(accepted.blksize, Some(offered), "{asked}");
    }
}

#[test]
fn what_is_accepted() {
    let none = Options::default();
    let accepted = |tsize, blksize, windowsize, timeout| Accepted {
        tsize,
        blksize,
        windowsize,
        timeout,
    };
    for (options, expected) in [
        (none, Accepted::default()),
        (
            options(true, 1468, 16),
            accepted(Some(9), Some(1468), Some(16), None),
        ),
        (
            options(false, 65_464, 65_535),
            accepted(None, Some(1468), Some(16), None),
        ),
        (options(false, 8, 1), accepted(None, Some(8), Some(1), None)),
        (options(false, 7, 0), Accepted::default()),
        (
            options(false, u64::MAX, u64::MAX),
            accepted(None, Some(1468), Some(16), None),
        ),
    ] {
        assert_eq!(
            accept(&options, 9, MAX_BLOCK_BYTES),
            expected,
            "{options:?}"
        );
    }
    for (asked, timeout) in [
        (0, None),
        (1, Some(1)),
        (5, Some(5)),
        (6, Some(6)),
        (255, Some(255)),
        (256, None),
        (65_537, None),
        (u64::MAX, None),
    ] {
        let options = Options {
            timeout: Some(asked),
            ..none
        };
        assert_eq!(
            accept(&options, 9, MAX_BLOCK_BYTES).timeout,
            timeout,
            "{asked}"
        );
    }
}

#[test]
fn a_repeated_acknowledgement_sends_nothing() {
    let mut transfer = begin(&options(false, 8, 4), 100);
    due(&mut transfer);
    assert_eq!(ack(&mut transfer, 0), None);
    assert_eq!(blocks(&mut transfer), [1, 2, 3, 4]);
    assert_eq!(ack(&mut transfer, 4), None);
    assert_eq!(blocks(&mut transfer), [5, 6, 7, 8]);
    // Repeated, older, of what was never sent.
    for number in [4, 4, 0, 3, 9, 65_535, 32_772] {
        assert_eq!(ack(&mut transfer, number), None);
        assert_eq!(blocks(&mut transfer), [0; 0], "{number}");
    }
    assert_eq!(transfer.on_timeout(START + MS + FIRST_WAIT), None);
    assert_eq!(blocks(&mut transfer), [5, 6, 7, 8]);
}

#[test]
fn a_window_begins_anew_after_what_arrived() {
    let mut transfer = begin(&options(false, 8, 4), 100);
    due(&mut transfer);
    assert_eq!(ack(&mut transfer, 0), None);
    assert_eq!(blocks(&mut transfer), [1, 2, 3, 4]);
    assert_eq!(ack(&mut transfer, 2), None, "block 3 was lost");
    assert_eq!(blocks(&mut transfer), [3, 4, 5, 6]);
    // Sent before the timer went back.
    assert_eq!(transfer.on_timeout(START + MS + FIRST_WAIT), None);
    assert_eq!(ack(&mut transfer, 6), None);
    assert_eq!(blocks(&mut transfer), [7, 8, 9, 10]);
    assert_eq!(ack(&mut transfer, 10), None);
    assert_eq!(blocks(&mut transfer), [11, 12, 13], "4 bytes are the last");
    assert_eq!(ack(&mut transfer, 13), Some(Outcome::Completed));
}

#[test]
fn the_block_after_65535_is_0() {
    let len = 8 * 65_540;
    let mut transfer = begin(&options(false, 8, 16), len);
    due(&mut transfer);
    assert_eq!(ack(&mut transfer, 0), None);
    let mut received = Vec::new();
    loop {
        let datagrams = due(&mut transfer);
        let last = datagrams.last().expect("something is due");
        let number = u16::from_be_bytes([last[2], last[3]]);
        datagrams
            .iter()
            .for_each(|datagram| received.extend_from_slice(&datagram[4..]));
        if let Some(outcome) = ack(&mut transfer, number) {
            assert_eq!(outcome, Outcome::Completed);
            assert_eq!(number, 5, "65 541 blocks, the last one empty");
            break;
        }
    }
    assert!(received == content(len));
}

/// When what is due was sent, in seconds, and when it was given up.
fn sent_to_nobody(options: &Options) -> (Vec<u64>, u64, Outcome) {
    let mut transfer = begin(options, 2000);
    let mut sent = Vec::new();
    loop {
        if !due(&mut transfer).is_empty() {
            sent.push((transfer.now - START).as_secs());
        }
        transfer.now = transfer.deadline();
        let now = transfer.now;
        if let Some(outcome) = transfer.on_timeout(now) {
            return (sent, (now - START).as_secs(), outcome);
        }
    }
}

fn with_timeout(seconds: u64) -> Options {
    Options {
        timeout: Some(seconds),
        ..Options::default()
    }
}

#[test]
fn who_is_not_heard_is_asked_less_and_less_and_then_given_up() {
    for options in [
        Options::default(),
        options(true, 1468, 16),
        with_timeout(256),
    ] {
        let sent = vec![0, 1, 3, 7, 14];
        assert_eq!(
            sent_to_nobody(&options),
            (sent, 20, Outcome::Silent),
            "{options:?}"
        );
    }
}

/// RFC 2349: "the number of seconds to wait before retransmitting", once it was agreed to: each time, in all of the transfer.
#[test]
fn a_timeout_that_was_agreed_to_is_constant() {
    for (seconds, give_up) in [(1_usize, 20), (2, 32), (5, 80), (30, 480), (255, 3600)] {
        let expected: Vec<u64> = (0..give_up).step_by(seconds).collect();
        let outcome = if seconds < 255 {
            Outcome::Silent
        } else {
            Outcome::TooSlow
        };
        let (sent, end, ended) = sent_to_nobody(&with_timeout(seconds as u64));
        assert_eq!(
            (sent, end, ended),
            (expected, give_up, outcome),
            "{seconds}"
        );
        // And after something was acknowledged.
        let wait = Duration::from_secs(seconds as u64);
        let mut transfer = begin(&with_timeout(seconds as u64), 2000);
        due(&mut transfer);
        assert_eq!(ack(&mut transfer, 0), None);
        for round in 0..4 {
            assert_eq!(blocks(&mut transfer), [1], "{round}");
            assert_eq!(transfer.deadline(), transfer.now + wait, "{round}");
            transfer.now += wait;
            let now = transfer.now;
            assert_eq!(transfer.on_timeout(now - MS), None);
            assert_eq!(blocks(&mut transfer), [0; 0], "too early");
            assert_eq!(transfer.on_timeout(now), None);
        }
    }
}

#[test]
fn what_is_new_sets_the_timer_back() {
    let mut transfer = begin(&Options::default(), 2000);
    due(&mut transfer);
    let third = START + Duration::from_secs(3);
    for now in [START + FIRST_WAIT, third] {
        transfer.now = now;
        assert_eq!(transfer.on_timeout(now), None);
        assert_eq!(blocks(&mut transfer), [1]);
    }
    assert_eq!(transfer.deadline(), START + Duration::from_secs(7));
    assert_eq!(transfer.on_packet(&Packet::Ack(1), third), None);
    assert_eq!(transfer.progress(), third);
    assert_eq!(transfer.on_timeout(third), None, "too early");
    assert_eq!(blocks(&mut transfer), [2]);
    // Block 1 was sent three times, so the path was not measured: it took three seconds in all.
    assert_eq!(transfer.deadline(), third + 15 * FIRST_WAIT / 4);
    transfer.now = third + MS;
    let now = transfer.now;
    assert_eq!(transfer.on_packet(&Packet::Ack(2), now), None);
    assert_eq!(blocks(&mut transfer), [3]);
    assert!(transfer.deadline() < now + FIRST_WAIT / 10, "it was now");
}

#[test]
fn nobody_holds_a_transfer_for_ever() {
    let mut transfer = begin(&options(false, 8, 1), 1 << 20);
    due(&mut transfer);
    let outcome = (0..u16::MAX).find_map(|number| {
        transfer.now += GIVE_UP - MS;
        let now = transfer.now;
        due(&mut transfer);
        transfer
            .on_packet(&Packet::Ack(number), now)
            .or_else(|| transfer.on_timeout(now))
    });
    assert_eq!(outcome, Some(Outcome::TooSlow));
    assert!(transfer.now - START <= MAX_AGE + GIVE_UP);
}

#[test]
fn a_clients_error_ends_it() {
    let error = |code, text: &'static str| Packet::Error {
        code,
        text: text.as_bytes(),
    };
    let stopped = |code, text: &str| Outcome::Stopped {
        code,
        text: text.to_owned(),
    };
    for (packet, opening, later) in [
        (
            error(0, "Early terminate"),
            Outcome::Probed,
            stopped(0, "Early terminate"),
        ),
        (
            error(8, "User aborted the transfer"),
            Outcome::Probed,
            stopped(8, "User aborted the transfer"),
        ),
        (
            error(3, "\x1b[2J"),
            stopped(3, "\\x1b[2J"),
            stopped(3, "\\x1b[2J"),
        ),
    ] {
        for options in [options(true, 1024, 1), Options::default()] {
            let mut transfer = begin(&options, 2000);
            due(&mut transfer);
            assert_eq!(transfer.on_packet(&packet, START), Some(opening.clone()));
            let mut transfer = begin(&options, 2000);
            due(&mut transfer);
            let _ = ack(&mut transfer, 0);
            due(&mut transfer);
            assert_eq!(ack(&mut transfer, 1), None);
            assert_eq!(transfer.on_packet(&packet, START), Some(later.clone()));
        }
    }
    let long = vec![b'x'; 500];
    let packet = Packet::Error {
        code: 3,
        text: &long,
    };
    let outcome = begin(&Options::default(), 1).on_packet(&packet, START);
    assert_eq!(outcome, Some(stopped(3, &"x".repeat(MAX_ERROR_TEXT_BYTES))));
}

/// A client after RFC 7440: acknowledges the last block of a window, and what it has when a block is missing or nothing
/// comes.
struct Client {
    window: u64,
    block: usize,
    /// Blocks since the last acknowledgement.
    pending: u64,
    blocks: u64,
    content: Vec<u8>,
    complained: bool,
    done: bool,
    ask_again_at: Duration,
}

impl Client {
    fn receive(&mut self, datagram: &[u8], now: Duration) -> Option<u16> {
        self.ask_again_at = now + 2 * FIRST_WAIT;
        if datagram[1] == 6 {
            return (self.blocks == 0).then_some(0);
        }
        let number = u16::from_be_bytes([datagram[2], datagram[3]]);
        if self.done {
            // Dallying (RFC 1350 §6): its last acknowledgement was lost.
            return (number == packet::number(self.blocks)).then_some(number);
        }
        if self.window == 1 && number == packet::number(self.blocks) {
            // RFC 1123 §4.2.3.1: its acknowledgement may be what was lost.
            return Some(number);
        }
        if number != packet::number(self.blocks + 1) {
            // Once for each gap.
            return (!std::mem::replace(&mut self.complained, true)).then(|| self.acknowledge());
        }
        self.complained = false;
        self.blocks += 1;
        self.pending += 1;
        self.content.extend_from_slice(&datagram[4..]);
        self.done = datagram.len() < 4 + self.block;
        (self.done || self.pending == self.window).then(|| self.acknowledge())
    }

    fn acknowledge(&mut self) -> u16 {
        self.pending = 0;
        packet::number(self.blocks)
    }
}

/// What the network does to one datagram.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    Late(u16),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..3000_u16).prop_map(Fate::Late),
    ]
}

enum Mail {
    ToClient(Vec<u8>),
    ToServer(u16),
}

/// Carries one file over a network that treats the first datagrams as `fates` say and all others well: how it ended, what the
/// client has, how many datagrams were sent, and how long it took.
fn carried(
    len: usize,
    block: usize,
    window: u64,
    fates: &[Fate],
) -> (Outcome, Vec<u8>, usize, Duration) {
    let options = options(true, block as u64, window);
    let mut transfer = begin(&options, len);
    let mut client = Client {
        window,
        block,
        pending: 0,
        blocks: 0,
        content: Vec::new(),
        complained: false,
        done: false,
        ask_again_at: START + 2 * FIRST_WAIT,
    };
    let (mut now, mut sent, mut serial) = (START, 0, 0_u64);
    let mut fates = fates.iter().copied();
    let mut network: BTreeMap<(Duration, u64), Mail> = BTreeMap::new();
    let mut post = |network: &mut BTreeMap<_, _>, now: Duration, mail: &dyn Fn() -> Mail| {
        let delays: &[Duration] = match fates.next().unwrap_or(Fate::Arrives) {
            Fate::Arrives => &[MS],
            Fate::Lost => &[],
            Fate::Twice => &[MS, Duration::from_millis(3)],
            Fate::Late(ms) => &[Duration::from_millis(ms.into())],
        };
        for delay in delays {
            serial += 1;
            network.insert((now + *delay, serial), mail());
        }
    };
    loop {
        transfer.now = now;
        for datagram in due(&mut transfer) {
            sent += 1;
            post(&mut network, now, &|| Mail::ToClient(datagram.clone()));
        }
        let arrival = network.first_key_value().map(|((at, _), _)| *at);
        let next = [
            Some(transfer.deadline()),
            Some(client.ask_again_at),
            arrival,
        ];
        now = next
            .into_iter()
            .flatten()
            .min()
            .expect("a deadline")
            .max(now);
        let mut answers = Vec::new();
        if arrival == Some(now) {
            match network.pop_first().expect("it is there").1 {
                Mail::ToClient(datagram) => answers.extend(client.receive(&datagram, now)),
                Mail::ToServer(number) => {
                    if let Some(outcome) = transfer.on_packet(&Packet::Ack(number), now) {
                        return (outcome, client.content, sent, now - START);
                    }
                }
            }
        }
        if now >= client.ask_again_at {
            client.ask_again_at = now + 2 * FIRST_WAIT;
            client.complained = false;
            if !client.done && client.blocks > 0 {
                answers.push(client.acknowledge());
            }
        }
        for number in answers {
            post(&mut network, now, &|| Mail::ToServer(number));
        }
        if let Some(outcome) = transfer.on_timeout(now) {
            return (outcome, client.content, sent, now - START);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_is_lost_the_file_arrives_whole_or_it_ends(
        len in 0..4000_usize,
        block in prop_oneof![8..32_usize, 512..=1468_usize],
        window in prop_oneof![Just(1_u64), Just(4), Just(16)],
        fates in prop::collection::vec(fate(), 0..400),
    ) {
        let (outcome, received, sent, _) = carried(len, block, window, &fates);
        match outcome {
            Outcome::Completed => prop_assert!(received == content(len)),
            Outcome::Silent => prop_assert!(content(len).starts_with(&received)),
            other => prop_assert!(false, "{other:?}"),
        }
        // A window for each new acknowledgement, and for each timeout before it: thirty in 40 s at most.
        let blocks = len / block + 2;
        let window = usize::try_from(window).expect("small");
        prop_assert!(sent <= 31 * window * blocks, "{sent} datagrams for {blocks} blocks");
    }

    #[test]
    fn a_good_network_sends_each_block_once(
        len in 0..4000_usize,
        block in 8..1468_usize,
        window in 1..=16_u64,
    ) {
        let (outcome, received, sent, _) = carried(len, block, window, &[]);
        prop_assert_eq!(outcome, Outcome::Completed);
        prop_assert!(received == content(len));
        prop_assert_eq!(sent, 1 + len / block + 1, "OACK and blocks");
    }

    #[test]
    fn rare_losses_never_end_it(
        len in 0..20_000_usize,
        lost in prop::collection::vec(prop::bool::weighted(0.1), 0..600),
        window in prop_oneof![Just(1_u64), Just(4), Just(16)],
    ) {
        // Never two within two windows and their acknowledgements: the repetition gets through.
        let mut since = 0;
        let fates: Vec<Fate> = lost
            .iter()
            .map(|lost| {
                since += 1;
                if *lost && since > 40 {
                    since = 0;
                    Fate::Lost
                } else {
                    Fate::Arrives
                }
            })
            .collect();
        let (outcome, received, ..) = carried(len, 100, window, &fates);
        prop_assert_eq!(outcome, Outcome::Completed);
        prop_assert!(received == content(len));
    }

    #[test]
    fn any_packets_at_any_time(
        len in 0..3000_usize,
        window in 1..=16_u64,
        steps in prop::collection::vec((any::<u16>(), 0..3000_u64, any::<bool>()), 0..200),
    ) {
        let mut transfer = begin(&options(true, 8, window), len);
        let mut now = START;
        for (number, ms, near) in steps {
            now += Duration::from_millis(ms);
            let number = if near { number % 32 } else { number };
            transfer.now = now;
            prop_assert!(due(&mut transfer).len() <= 16);
            if transfer.on_packet(&Packet::Ack(number), now).is_some() || transfer.on_timeout(now).is_some() {
                break;
            }
            prop_assert!(transfer.deadline() > now);
            prop_assert!(transfer.deadline() <= now + GIVE_UP);
        }
    }
}

/// What happens to datagrams of which so many in a hundred are lost.
fn bad_wire(percent: u64, seed: u64) -> Vec<Fate> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let fate = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let lost = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        Some(if lost % 100 < percent {
            Fate::Lost
        } else {
            Fate::Arrives
        })
    });
    fate.take(20_000).collect()
}

/// 440 KB over a wire that loses packets both ways: whoever boots over it boots. Prints a table.
#[test]
fn a_file_arrives_over_a_bad_wire() {
    const FILES: u64 = 25;
    println!("lost each way, window: files of {FILES}, datagrams a block, seconds a file");
    for percent in [0, 1, 5, 10, 20] {
        for window in [1, 4, 16] {
            let (mut whole, mut datagrams, mut time) = (0, 0, Duration::ZERO);
            for seed in 0..FILES {
                let wire = bad_wire(percent, seed);
                let (_, received, sent, took) = carried(300 * 1468, 1468, window, &wire);
                whole += u64::from(received == content(300 * 1468));
                datagrams += sent;
                time += took;
            }
            let files = f64::from(u32::try_from(FILES).expect("small"));
            let (each, seconds) = (datagrams as f64 / files / 302.0, time.as_secs_f64() / files);
            println!("{percent:>2} %, {window:>2}: {whole:>2}  {each:.2}  {seconds:.2}");
            assert_eq!(whole, FILES, "{percent} % lost, window {window}");
            // Where nothing is lost nothing is sent twice, and no loss makes a storm of it.
            let most = if percent == 0 { 1.0 } else { 5.0 };
            assert!(
                each <= most,
                "{each} datagrams a block: {percent} % lost, window {window}"
            );
        }
    }
}
