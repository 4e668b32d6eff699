use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

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

fn begin(options: &Options, len: usize) -> Transfer {
    Transfer::begin(options, Parts::from(content(len)), START)
}

/// All that is due now.
fn due(transfer: &mut Transfer) -> Vec<Vec<u8>> {
    let mut buffer = [0; size_of::<Buffer>()];
    let mut datagrams = Vec::new();
    while let Some(datagram) = transfer.next(&mut buffer) {
        datagrams.push(datagram.to_vec());
    }
    datagrams
}

/// Numbers of the DATA that is due now.
fn blocks(transfer: &mut Transfer) -> Vec<u16> {
    due(transfer)
        .iter()
        .map(|datagram| {
            assert_eq!(datagram[..2], [0, 3]);
            u16::from_be_bytes([datagram[2], datagram[3]])
        })
        .collect()
}

fn ack(transfer: &mut Transfer, number: u16) -> Option<Outcome> {
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
    let slice = Bytes::from(vec![0; 1 << 20]);
    let file: Parts = std::iter::repeat_n(slice, 5 << 10).collect();
    let options = Options {
        tsize: true,
        ..Options::default()
    };
    let mut transfer = Transfer::begin(&options, file, START);
    assert_eq!(due(&mut transfer), [b"\0\x06tsize\x005368709120\0"]);
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
        assert_eq!(accept(&options, 9), expected, "{options:?}");
    }
    for (asked, timeout) in [
        (0, None),
        (1, Some(1)),
        (5, Some(5)),
        (6, None),
        (255, None),
        (65_537, None),
        (u64::MAX, None),
    ] {
        let options = Options {
            timeout: Some(asked),
            ..none
        };
        assert_eq!(accept(&options, 9).timeout, timeout, "{asked}");
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

#[test]
fn the_timer_repeats_less_and_less_and_then_gives_up() {
    let run = |options: &Options| {
        let mut transfer = begin(options, 2000);
        let mut sent = Vec::new();
        loop {
            if !due(&mut transfer).is_empty() {
                sent.push((transfer.repeat_at - transfer.wait - START).as_secs());
            }
            let now = transfer.deadline();
            if let Some(outcome) = transfer.on_timeout(now) {
                return (sent, (now - START).as_secs(), outcome);
            }
        }
    };
    let with_timeout = |seconds| Options {
        timeout: Some(seconds),
        ..Options::default()
    };
    for (options, sent) in [
        (Options::default(), vec![0, 1, 3, 7]),
        (options(true, 1468, 16), vec![0, 1, 3, 7]),
        (with_timeout(5), vec![0, 5, 10]),
        (with_timeout(1), (0..12).collect()),
        (with_timeout(255), vec![0, 1, 3, 7]),
    ] {
        assert_eq!(run(&options), (sent, 12, Outcome::Silent), "{options:?}");
    }
}

#[test]
fn what_is_new_sets_the_timer_back() {
    let mut transfer = begin(&Options::default(), 2000);
    due(&mut transfer);
    let third = START + Duration::from_secs(3);
    for now in [START + FIRST_WAIT, third] {
        assert_eq!(transfer.on_timeout(now), None);
        assert_eq!(blocks(&mut transfer), [1]);
    }
    assert_eq!(transfer.deadline(), START + Duration::from_secs(7));
    assert_eq!(transfer.on_packet(&Packet::Ack(1), third), None);
    assert_eq!(transfer.deadline(), third + FIRST_WAIT);
    assert_eq!(transfer.progress(), third);
    assert_eq!(transfer.on_timeout(third), None, "too early");
    assert_eq!(blocks(&mut transfer), [2]);
}

#[test]
fn nobody_holds_a_transfer_for_ever() {
    let mut transfer = begin(&options(false, 8, 1), 1 << 20);
    due(&mut transfer);
    let mut now = START;
    let outcome = (0..u16::MAX).find_map(|number| {
        now += GIVE_UP - MS;
        due(&mut transfer);
        transfer
            .on_packet(&Packet::Ack(number), now)
            .or_else(|| transfer.on_timeout(now))
    });
    assert_eq!(outcome, Some(Outcome::TooSlow));
    assert!(now - START <= MAX_AGE + GIVE_UP);
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

/// Carries one file over a network that treats the first datagrams as `fates` say and all others well.
fn carried(len: usize, block: usize, window: u64, fates: &[Fate]) -> (Outcome, Vec<u8>, usize) {
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
                        return (outcome, client.content, sent);
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
            return (outcome, client.content, sent);
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
        let (outcome, received, sent) = carried(len, block, window, &fates);
        match outcome {
            Outcome::Completed => prop_assert!(received == content(len)),
            Outcome::Silent => prop_assert!(content(len).starts_with(&received)),
            other => prop_assert!(false, "{other:?}"),
        }
        // A window for each new acknowledgement, and for each of at most four timeouts before the next.
        let blocks = len / block + 2;
        let window = usize::try_from(window).expect("small");
        prop_assert!(sent <= 4 * window * blocks, "{sent} datagrams for {blocks} blocks");
    }

    #[test]
    fn a_good_network_sends_each_block_once(
        len in 0..4000_usize,
        block in 8..1468_usize,
        window in 1..=16_u64,
    ) {
        let (outcome, received, sent) = carried(len, block, window, &[]);
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
        let (outcome, received, _) = carried(len, 100, window, &fates);
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
            prop_assert!(due(&mut transfer).len() <= 16);
            if transfer.on_packet(&Packet::Ack(number), now).is_some() || transfer.on_timeout(now).is_some() {
                break;
            }
            prop_assert!(transfer.deadline() > now);
            prop_assert!(transfer.deadline() <= now + GIVE_UP);
        }
    }
}
