//! For tests: a DHCP and TFTP server on a wire in memory, with a clock of its own, and with every fault a machine looks for.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use crate::dhcp::Options;
use crate::fleet::{Conditions, Wire, boot_all, boot_stations};
use crate::net::{Arp, BROADCAST, Frame, Udp, arp, be16, parse, udp};
use crate::outcome::Outcome;
use crate::params::{Mac, Params};
use crate::station::Station;

pub(crate) const MENU: &[u8] =
    b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
pub(crate) const SPACES: &[u8] =
    b"\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff";

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const LATENCY: Duration = Duration::from_micros(200);
const AGAIN: Duration = Duration::from_secs(1);
/// Also the first of the addresses given out.
pub(crate) const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// What is served, and how badly.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) menu: &'static [u8],
    /// Answers to DISCOVER come so late.
    pub(crate) dhcp_delay: Duration,
    /// Where TFTP is, by option 66 or by the source of the offer.
    pub(crate) option_66: Option<&'static [u8]>,
    pub(crate) tftp: Ipv4Addr,
    /// All get one address.
    pub(crate) one_address: bool,
    pub(crate) no_arp: bool,
    pub(crate) fault: Fault,
    pub(crate) pcs: Pcs,
}

/// How PCs are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pcs {
    /// By one server that knows all.
    Full,
    /// [`IP`] gives addresses and knows nothing of booting; [`Server::tftp`] does.
    Proxy,
    /// No word of booting from anybody.
    AddressOnly,
    /// In a class that is not the client's.
    WrongClass,
    /// Without option 97.
    NoId,
    /// With somebody else's option 97.
    WrongId,
}

/// What TFTP does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    NoOack,
    Tsize,
    OptionNotAsked,
    BlockTooLong,
    NoLastBlock,
    OtherPort,
    SecondSession,
    NotFoundIsZero,
    Silent,
    /// OACK goes on after ERROR, so often.
    DeafToErrors(u32),
    /// Two blocks at once.
    Window,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            files: files(),
            menu: SPACES,
            dhcp_delay: Duration::from_secs(2),
            option_66: None,
            tftp: IP,
            one_address: false,
            no_arp: false,
            fault: Fault::None,
            pcs: Pcs::Full,
        }
    }
}

/// What all models need; sizes are full blocks of 512, 1024 and 1468, and others.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    let content = |name: &str, len: usize| {
        let first = name
            .bytes()
            .fold(7u8, |sum, byte| sum.wrapping_mul(31) ^ byte);
        (0..len)
            .map(|i| first.wrapping_add(u8::try_from(i % 251).unwrap_or_default()))
            .collect()
    };
    let config =
        b"[all]\narm_64bit=1\nkernel=k.img\ninitramfs i.img followkernel\ndtoverlay=o,x=1\n";
    let sized = [
        ("bootcode.bin", 52_476),
        ("start.elf", 512 * 20),
        ("fixup.dat", 7_303),
        ("start4.elf", 1024 * 30),
        ("fixup4.dat", 5_436),
        ("bcm2710-rpi-3-b.dtb", 512 * 3),
        ("bcm2710-rpi-3-b-plus.dtb", 1500),
        ("bcm2711-rpi-4-b.dtb", 1468 * 4),
        ("bcm2712-rpi-5-b.dtb", 1468 * 5),
        ("overlays/overlay_map.dtb", 100),
        ("overlays/o.dtbo", 0),
        ("k.img", 512 * 1024 * 1468 / 1024 / 16),
        ("i.img", 30_001),
        (BIOS_FILE, 1456 * 40),
        (EFI_FILE, 1468 * 60 + 7),
    ];
    let mut files: BTreeMap<String, Vec<u8>> = sized
        .iter()
        .map(|&(name, len)| (name.to_owned(), content(name, len)))
        .collect();
    files.insert("config.txt".to_owned(), config.to_vec());
    files.insert(
        "cmdline.txt".to_owned(),
        b"console=serial0 quiet\n".to_vec(),
    );
    files
}

pub(crate) const BIOS_FILE: &str = "undionly.kpxe";
pub(crate) const EFI_FILE: &str = "boot.efi";
pub(crate) const URL: &str = "http://10.0.0.1:8067/boot";

struct Session {
    data: Vec<u8>,
    port: u16,
    block_size: usize,
    acked: Option<usize>,
    last: Vec<u8>,
    again_at: Duration,
    tries: u32,
    deaf: u32,
}

struct World {
    server: Server,
    now: Rc<Cell<Duration>>,
    queue: BTreeMap<(Duration, u64), Vec<u8>>,
    count: u64,
    macs: HashMap<Ipv4Addr, Mac>,
    leases: HashMap<Mac, Ipv4Addr>,
    sessions: HashMap<(SocketAddrV4, u16), Session>,
    next_port: u16,
}

fn world(server: Server) -> (World, Rc<Cell<Duration>>) {
    let now = Rc::new(Cell::new(Duration::ZERO));
    let clock = Rc::clone(&now);
    let world = World {
        server,
        now,
        queue: BTreeMap::new(),
        count: 0,
        macs: HashMap::new(),
        leases: HashMap::new(),
        sessions: HashMap::new(),
        next_port: 20_000,
    };
    (world, clock)
}

/// Boots against a server.
pub(crate) fn boot(params: Vec<Params>, server: Server, conditions: Conditions) -> Vec<Outcome> {
    let (mut world, clock) = world(server);
    boot_all(params, conditions, &mut world, &mut || clock.get()).expect("memory does not break")
}

/// Boots machines of any kind.
pub(crate) fn boot_mix(
    stations: Vec<Station>,
    server: Server,
    conditions: Conditions,
) -> Vec<Station> {
    let (mut world, clock) = world(server);
    let clock = &mut || clock.get();
    boot_stations(stations, conditions, &mut world, clock).expect("memory does not break")
}

/// One Pi on a good wire.
pub(crate) fn boot_one(params: Params, server: Server) -> Outcome {
    let conditions = Conditions::good(Duration::from_secs(3600));
    let mut outcomes = boot(vec![params], server, conditions);
    outcomes.pop().expect("one outcome")
}

impl Wire for World {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match parse(frame) {
            Some(Ok(Frame::Arp(arp))) => self.arp(arp),
            Some(Ok(Frame::Udp(packet))) => {
                let mac = *frame[6..].first_chunk().expect("a source");
                self.macs.insert(*packet.from.ip(), mac);
                match packet.to.port() {
                    67 if mac.starts_with(&[0x52, 0x54]) => self.pc_dhcp(mac, &packet),
                    4011 if *packet.to.ip() == self.server.tftp => self.boot_server(mac, &packet),
                    67 => self.dhcp(mac, packet.payload),
                    _ if *packet.to.ip() == self.server.tftp => self.tftp(&packet),
                    _ => {}
                }
            }
            other => panic!("a machine sent {other:?}"),
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        let end = self.now.get() + wait;
        loop {
            let queued = self.queue.keys().next().map(|&(at, _)| at);
            let timer = self.sessions.values().map(|session| session.again_at).min();
            let Some(next) = queued
                .into_iter()
                .chain(timer)
                .min()
                .filter(|&at| at <= end)
            else {
                self.now.set(end);
                return Ok(None);
            };
            self.now.set(next.max(self.now.get()));
            if Some(next) == queued {
                let (_, frame) = self.queue.pop_first().expect("just seen");
                buffer[..frame.len()].copy_from_slice(&frame);
                return Ok(Some(frame.len()));
            }
            self.repeat();
        }
    }
}

impl World {
    fn later(&mut self, delay: Duration, frame: Vec<u8>) {
        self.count += 1;
        self.queue
            .insert((self.now.get() + delay, self.count), frame);
    }

    fn arp(&mut self, question: Arp) {
        self.macs.insert(question.sender, question.sender_mac);
        if question.request && !self.server.no_arp && question.target.octets()[3] == 1 {
            let answer = Arp {
                request: false,
                sender_mac: MAC,
                sender: question.target,
                target: question.sender,
            };
            self.later(LATENCY, arp(MAC, answer, question.sender_mac));
        }
    }

    fn dhcp(&mut self, mac: Mac, question: &[u8]) {
        let next =
            Ipv4Addr::from(u32::from(IP) + 1 + u32::try_from(self.leases.len()).expect("few"));
        let yours = *self.leases.entry(mac).or_insert(next);
        let yours = if self.server.one_address {
            Ipv4Addr::new(10, 0, 0, 200)
        } else {
            yours
        };
        let kind = if question[242] == 1 { 2 } else { 5 };
        let mut answer = question[..240].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&yours.octets());
        answer.extend_from_slice(&[53, 1, kind, 54, 4]);
        answer.extend_from_slice(&IP.octets());
        answer.extend_from_slice(
            b"\x01\x04\xff\xff\x00\x00\x03\x04\x0a\x00\x00\x01\x3c\x09PXEClient",
        );
        let mut option = |code: u8, value: &[u8]| {
            answer.extend_from_slice(&[code, u8::try_from(value.len()).expect("short")]);
            answer.extend_from_slice(value);
        };
        option(43, self.server.menu);
        if let Some(text) = self.server.option_66 {
            option(66, text);
        }
        answer.push(255);
        let delay = if kind == 2 {
            self.server.dhcp_delay
        } else {
            LATENCY
        };
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let from = SocketAddrV4::new(self.server.tftp, 67);
        self.later(delay, udp((MAC, BROADCAST), from, to, &answer));
    }

    /// To one of the simulated PCs, which have MACs of QEMU's.
    fn pc_dhcp(&mut self, mac: Mac, packet: &Udp<'_>) {
        let question = packet.payload;
        let next =
            Ipv4Addr::from(u32::from(IP) + 1 + u32::try_from(self.leases.len()).expect("few"));
        let yours = *self.leases.entry(mac).or_insert(next);
        let options = Options::parse(&question[240..], false);
        let kind = if options.get(53) == Some(&[1]) { 2 } else { 5 };
        let pcs = self.server.pcs;
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let boots = !matches!(pcs, Pcs::Proxy | Pcs::AddressOnly);
        let answer = pc_answer(
            question,
            (kind, IP, Some(yours)),
            boots.then_some((IP, pcs)),
        );
        let from = SocketAddrV4::new(IP, 67);
        self.later(LATENCY, udp((MAC, BROADCAST), from, to, &answer));
        if pcs == Pcs::Proxy && kind == 2 {
            let tftp = self.server.tftp;
            let mut answer = pc_answer(question, (kind, tftp, None), Some((tftp, pcs)));
            // UEFI is told the file on port 4011.
            if options.get(93) == Some(&[0, 7]) || options.get(93) == Some(&[0, 11]) {
                answer[108..236].fill(0);
            }
            let from = SocketAddrV4::new(tftp, 67);
            let delay = self.server.dhcp_delay;
            self.later(delay, udp((MAC, BROADCAST), from, to, &answer));
        }
    }

    fn boot_server(&mut self, mac: Mac, packet: &Udp<'_>) {
        let tftp = self.server.tftp;
        let pcs = self.server.pcs;
        let answer = pc_answer(packet.payload, (5, tftp, None), Some((tftp, pcs)));
        let from = SocketAddrV4::new(tftp, 4011);
        self.later(LATENCY, udp((MAC, mac), from, packet.from, &answer));
    }

    fn reply(&mut self, client: SocketAddrV4, port: u16, payload: &[u8]) {
        let mac = *self.macs.get(client.ip()).expect("it asked");
        let from = SocketAddrV4::new(self.server.tftp, port);
        self.later(LATENCY, udp((MAC, mac), from, client, payload));
    }

    fn tftp(&mut self, packet: &Udp<'_>) {
        let (client, payload) = (packet.from, packet.payload);
        match (packet.to.port(), be16(payload, 0).expect("an opcode")) {
            (69, 1) => self.request(client, &payload[2..]),
            (port, 4) => self.acknowledged(client, port, be16(payload, 2).expect("a block")),
            (port, 5) => {
                let key = (client, port);
                match self.sessions.get_mut(&key) {
                    Some(session) if session.deaf > 0 => session.deaf -= 1,
                    _ => drop(self.sessions.remove(&key)),
                }
            }
            other => panic!("a machine sent {other:?}"),
        }
    }

    fn request(&mut self, client: SocketAddrV4, text: &[u8]) {
        let texts: Vec<_> = text
            .split(|&b| b == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let fault = self.server.fault;
        if fault == Fault::Silent {
            return;
        }
        let repeated = self.sessions.keys().any(|&(other, _)| other == client);
        if repeated && fault != Fault::SecondSession {
            return;
        }
        let name = texts[0]
            .rsplit_once("//")
            .map_or(&*texts[0], |(_, name)| name);
        let name = name.trim_start_matches('/');
        let port = self.next_port;
        self.next_port += 1;
        let Some(data) = self.server.files.get(name).cloned() else {
            let code = u8::from(fault != Fault::NotFoundIsZero);
            return self.reply(client, port, &[0, 5, 0, code, b'n', b'o', 0]);
        };
        let mut oack = vec![0, 6];
        let mut block_size = 512;
        for pair in texts[2..].chunks(2).filter(|_| fault != Fault::NoOack) {
            let [name, value] = pair else { continue };
            let value = match &**name {
                "tsize" if fault == Fault::Tsize => "5".to_owned(),
                "tsize" => data.len().to_string(),
                _ => value.to_string(),
            };
            if name == "blksize" {
                block_size = value.parse().expect("a number");
            }
            oack.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        if fault == Fault::OptionNotAsked {
            oack.extend_from_slice(b"windowsize\x004\0");
        }
        let deaf = match fault {
            Fault::DeafToErrors(times) => times,
            _ => 0,
        };
        // With that fault, the first answer comes only when it is asked for again.
        let first = match fault {
            Fault::SecondSession => AGAIN * 10,
            _ => AGAIN,
        };
        let session = Session {
            data,
            port,
            block_size,
            acked: None,
            last: oack.clone(),
            again_at: self.now.get() + first,
            tries: 0,
            deaf,
        };
        self.sessions.insert((client, port), session);
        if oack.len() == 2 {
            self.acknowledged(client, port, 0);
        } else if fault != Fault::SecondSession || repeated {
            self.repeat_all(client);
        }
    }

    fn repeat_all(&mut self, client: SocketAddrV4) {
        let all: Vec<_> = self
            .sessions
            .iter()
            .filter(|((c, _), _)| *c == client)
            .collect();
        let packets: Vec<_> = all.iter().map(|(_, s)| (s.port, s.last.clone())).collect();
        for (port, packet) in packets {
            self.reply(client, port, &packet);
        }
    }

    fn acknowledged(&mut self, client: SocketAddrV4, port: u16, block: u16) {
        let fault = self.server.fault;
        let Some(session) = self.sessions.get_mut(&(client, port)) else {
            return;
        };
        let next = session.acked.map_or(0, |acked| acked + 1);
        if next % 65_536 != usize::from(block) {
            return;
        }
        session.acked = Some(next);
        session.tries = 0;
        session.again_at = self.now.get() + AGAIN;
        let part = |n: usize| {
            let start = n * session.block_size;
            session
                .data
                .get(start..)
                .map(|rest| &rest[..rest.len().min(session.block_size)])
        };
        let data = |n: usize, part: &[u8]| {
            let number = u16::try_from((n + 1) % 65_536)
                .expect("16 bits")
                .to_be_bytes();
            [&[0, 3], &number[..], part].concat()
        };
        let Some(bytes) = part(next) else {
            self.sessions.remove(&(client, port));
            return;
        };
        if bytes.is_empty() && next > 0 && fault == Fault::NoLastBlock {
            self.sessions.remove(&(client, port));
            return;
        }
        let mut packet = data(next, bytes);
        if fault == Fault::BlockTooLong {
            packet.resize(4 + session.block_size + 1, 0);
        }
        let after = part(next + 1).map(|bytes| data(next + 1, bytes));
        session.last.clone_from(&packet);
        let from = if fault == Fault::OtherPort && next == 1 {
            port + 1000
        } else {
            port
        };
        if let Some(after) = after.filter(|_| fault == Fault::Window) {
            self.reply(client, port, &after);
        }
        self.reply(client, from, &packet);
    }

    /// What nobody acknowledged is sent again, five times.
    fn repeat(&mut self) {
        let now = self.now.get();
        let mut packets = Vec::new();
        self.sessions.retain(|&(client, port), session| {
            if session.again_at <= now {
                session.tries += 1;
                session.again_at = now + AGAIN;
                packets.push((client, port, session.last.clone()));
            }
            session.tries <= 5
        });
        for (client, port, packet) in packets {
            self.reply(client, port, &packet);
        }
    }
}

/// An answer of a kind, from a server, with an address perhaps; and with what to boot, from that server.
fn pc_answer(
    question: &[u8],
    (kind, server, yours): (u8, Ipv4Addr, Option<Ipv4Addr>),
    boot: Option<(Ipv4Addr, Pcs)>,
) -> Vec<u8> {
    let asked = Options::parse(&question[240..], false);
    let arch = asked.get(93).expect("an architecture")[1];
    let mut answer = question[..240].to_vec();
    answer[0] = 2;
    answer[108..236].fill(0);
    answer[16..20].copy_from_slice(&yours.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    answer.extend_from_slice(&[53, 1, kind, 54, 4]);
    answer.extend_from_slice(&server.octets());
    answer.extend_from_slice(b"\x01\x04\xff\xff\x00\x00");
    let mut option = |code: u8, value: &[u8]| {
        answer.extend_from_slice(&[code, u8::try_from(value.len()).expect("short")]);
        answer.extend_from_slice(value);
    };
    if let Some((next, pcs)) = boot {
        let http = asked
            .get(60)
            .is_some_and(|class| class.starts_with(b"HTTP"));
        let wrong = pcs == Pcs::WrongClass;
        option(
            60,
            if http == wrong {
                b"PXEClient"
            } else {
                b"HTTPClient"
            },
        );
        let id = asked.get(97).expect("an id");
        match pcs {
            Pcs::NoId => {}
            Pcs::WrongId => option(97, &[7; 17]),
            _ => option(97, id),
        }
        let ipxe = asked.get(77).is_some();
        if arch == 0 {
            option(43, b"\x06\x01\x08\xff");
        }
        let file = match arch {
            _ if ipxe || http => URL,
            0 => BIOS_FILE,
            _ => EFI_FILE,
        };
        answer[20..24].copy_from_slice(&next.octets());
        answer[108..108 + file.len()].copy_from_slice(file.as_bytes());
    }
    answer.push(255);
    answer.resize(answer.len().max(300), 0);
    answer
}
