//! Histories of managers in full mode and of machines, with nothing real but what the manager decides: machines are switched
//! on and off, managers are restarted and forget all, packets are lost. No address that a machine uses is ever given to
//! another, none is refused to the machine that uses it, and in the end every machine has one.
//!
//! A machine answers ARP on the manager's link. Behind a relay it answers pings or sends heartbeats, or both; a running
//! system renews, a worker never does. A history is its seed.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use ramboot::config::Config;
use ramboot::dhcp::arp::Claim;
use ramboot::dhcp::consider::{Means, Office, learn};
use ramboot::dhcp::lease::Leases;
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::probe::{Due, Probes, Way};
use ramboot::dhcp::request::{Arrival, Port, Request, parse};
use ramboot::dhcp::verdict::{Answer, Verdict};
use ramboot::fleet::event::Sign;
use ramboot::host::interface::Interface;
use ramboot_wire::Mac;

/// With `--ignored`.
const MANY: u64 = 10_000;
const SOME: u64 = 1_000;

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const NEVER: u64 = u64::MAX;
/// Milliseconds between two tries of the same packet.
const AGAIN: u64 = 4_000;
const TRIES: u8 = 4;
/// From a worker's first address to its last boot file, and to `/init`.
const BOOTS: u64 = 5_000;
const INIT: u64 = 9_000;
/// A heartbeat every 30 to 40 s.
const BEAT: u64 = 30_000;
const MINUTE: u64 = 60_000;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("fits")
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is the same in all of a history.
#[derive(Debug, Clone, Copy)]
struct Kind {
    relayed: bool,
    managers: usize,
    same_pool: bool,
    machines: usize,
    /// Seconds.
    lease: u64,
    /// Somebody has an address of the pool and never asks.
    intruder: bool,
}

impl Kind {
    fn of(chance: &mut Chance) -> Self {
        Self {
            relayed: chance.percent(50),
            managers: 1 + chance.index(2),
            same_pool: chance.percent(50),
            machines: 2 + chance.index(7),
            lease: [120, 600, 3_600][chance.index(3)],
            intruder: chance.percent(30),
        }
    }

    fn network(self) -> [u8; 3] {
        if self.relayed { [10, 9, 0] } else { [10, 0, 0] }
    }

    fn address(self, last: usize) -> Ipv4Addr {
        let [a, b, c] = self.network();
        Ipv4Addr::new(a, b, c, u8::try_from(last).expect("few"))
    }

    /// Tight with one manager. Of two, one may keep an address for a machine that took the other's.
    fn pool(self, manager: usize) -> (usize, usize) {
        let size = self.machines * self.managers + usize::from(self.intruder);
        match self.same_pool {
            true => (10, 10 + size - 1),
            false => (10 + manager * size, 10 + (manager + 1) * size - 1),
        }
    }
}

struct Manager {
    address: Ipv4Addr,
    policy: Policy,
    leases: Leases,
    probes: Probes<Request>,
    started: u64,
    /// It is down until then.
    down: Option<u64>,
    /// Addresses of which one question was lost.
    lost: HashSet<Ipv4Addr>,
}

impl Manager {
    fn new(kind: Kind, index: usize) -> Self {
        let address = Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(index).expect("few"));
        let interface = Interface {
            name: "br0".to_owned(),
            index: 2,
            address,
            prefix_len: 24,
            mac: None,
        };
        let (first, last) = kind.pool(index);
        let pool = format!("pool = \"{}-{}\"", kind.address(first), kind.address(last));
        let (full, lease) = ("[dhcp]\nmode = \"full\"\n", kind.lease);
        let config = if kind.relayed {
            format!("{full}[[network]]\naddress = \"10.9.0.0/24\"\n{pool}\nlease = {lease}\n")
        } else {
            format!("{full}{pool}\nlease = {lease}\n")
        };
        let config = Config::parse(&config).expect("a config");
        let policy = Policy::new(&config, &interface, 8067);
        Self {
            address,
            policy: policy.expect("fits").expect("on"),
            leases: Leases::default(),
            probes: Probes::default(),
            started: 0,
            down: None,
            lost: HashSet::new(),
        }
    }

    fn office(&mut self, now: u64) -> Office<'_> {
        Office {
            policy: &self.policy,
            leases: &mut self.leases,
            probes: &mut self.probes,
            means: Means {
                arp: true,
                echo: true,
            },
            now: Duration::from_millis(now - self.started),
        }
    }

    fn next(&self) -> u64 {
        // A third of a second is not a whole number of milliseconds.
        let probe = self
            .probes
            .next()
            .map(|at| at.as_nanos().div_ceil(1_000_000));
        let probe = probe.map(|at| self.started + u64::try_from(at).expect("fits"));
        self.down.or(probe).unwrap_or(NEVER)
    }
}

/// What a machine does with DHCP.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Off,
    Discovering,
    Requesting {
        server: Ipv4Addr,
        address: Ipv4Addr,
        tries: u8,
    },
    /// INIT-REBOOT of a system that starts.
    Rebooting {
        address: Ipv4Addr,
        tries: u8,
    },
    Bound(Bound),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    address: Ipv4Addr,
    server: Ipv4Addr,
    since: u64,
    /// When it has to be renewed; a worker's never.
    until: u64,
}

struct Machine {
    mac: [u8; 6],
    worker: bool,
    pings: bool,
    beats: bool,
    /// A worker's `/init` asks, or has the address.
    init: bool,
    xid: u32,
    state: State,
    /// An address and until when it is its own, kept while it is off.
    memory: Option<(Ipv4Addr, u64)>,
    /// When it does something.
    next: u64,
    beat: u64,
    booted: bool,
}

impl Machine {
    fn lives_at(&self) -> Option<Ipv4Addr> {
        match self.state {
            State::Bound(bound) => Some(bound.address),
            _ => None,
        }
    }
}

/// A packet of a machine.
struct Sent {
    options: Vec<DhcpOption>,
    ciaddr: Ipv4Addr,
    /// To one server, past the relay.
    to: Option<Ipv4Addr>,
}

impl Sent {
    fn broadcast(options: Vec<DhcpOption>) -> Self {
        Self {
            options,
            ciaddr: NONE,
            to: None,
        }
    }
}

/// A manager that lacks one thing it does, to see that these histories would tell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// Nobody is asked behind a relay.
    Echo,
    /// What the fleet hears is not told to DHCP.
    Heartbeats,
}

struct World {
    kind: Kind,
    without: Without,
    chance: Chance,
    now: u64,
    managers: Vec<Manager>,
    machines: Vec<Machine>,
    intruder: Option<Ipv4Addr>,
    /// Nothing is lost, nothing is restarted.
    calm: bool,
    log: String,
}

type Outcome = Result<(), String>;

impl World {
    fn new(seed: u64, without: Without) -> Self {
        let mut chance = Chance(seed);
        let kind = Kind::of(&mut chance);
        let both = kind.managers == 2 && kind.same_pool;
        let machines = (0..kind.machines).map(|i| {
            let worker = chance.percent(60);
            // A running system sends no heartbeats; of one of two managers with one pool only it hears them.
            let beats = worker && chance.percent(70);
            Machine {
                mac: [
                    2,
                    0,
                    0,
                    u8::try_from(seed & 0xff).expect("a byte"),
                    0,
                    u8::try_from(i).expect("few"),
                ],
                worker,
                pings: !beats || both || chance.percent(50),
                beats,
                init: false,
                xid: 0,
                state: State::Off,
                memory: None,
                next: NEVER,
                beat: NEVER,
                booted: false,
            }
        });
        let machines = machines.collect();
        let (first, last) = kind.pool(0);
        let intruder = kind
            .intruder
            .then(|| kind.address(first + chance.index(last - first + 1)));
        Self {
            kind,
            without,
            managers: (0..kind.managers).map(|i| Manager::new(kind, i)).collect(),
            machines,
            intruder,
            chance,
            now: 0,
            calm: false,
            log: format!("{kind:?} intruder {intruder:?}\n"),
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.log, "{:>9} {what}", self.now).expect("a String takes all");
    }

    /// Everything that is due until then.
    fn run(&mut self, until: u64) -> Outcome {
        loop {
            let machine = (0..self.machines.len())
                .min_by_key(|i| self.due(*i))
                .expect("some");
            let manager = (0..self.managers.len()).min_by_key(|i| self.managers[*i].next());
            let manager = manager.expect("one");
            let at = self.due(machine).min(self.managers[manager].next());
            if at > until {
                self.now = until;
                return Ok(());
            }
            self.now = self.now.max(at);
            if self.due(machine) == at {
                self.act(machine)?;
            } else {
                self.serve(manager)?;
            }
        }
    }

    fn due(&self, machine: usize) -> u64 {
        self.machines[machine].next.min(self.machines[machine].beat)
    }

    fn restart(&mut self, manager: usize, down_for: u64) {
        self.note(format_args!("manager {manager} is away for {down_for} ms"));
        let one = &mut self.managers[manager];
        one.down = Some(self.now + down_for);
        one.leases = Leases::default();
        one.probes = Probes::default();
    }

    /// What is due at a manager.
    fn serve(&mut self, manager: usize) -> Outcome {
        if self.managers[manager].down.take().is_some() {
            self.managers[manager].started = self.now;
            self.note(format_args!("manager {manager} starts"));
            return Ok(());
        }
        let now = self.now;
        let one = &mut self.managers[manager];
        for due in one.probes.due(Duration::from_millis(now - one.started)) {
            match due {
                Due::Free(request) => {
                    let decided = self.managers[manager].office(now).consider(request);
                    self.reply(manager, decided)?;
                }
                Due::Ask(way, address) => self.ask(manager, way, address)?,
            }
        }
        Ok(())
    }

    /// A question about an address; of an address's questions one may be lost.
    fn ask(&mut self, manager: usize, way: Way, address: Ipv4Addr) -> Outcome {
        if !self.calm && self.chance.percent(20) && self.managers[manager].lost.insert(address) {
            return Ok(());
        }
        let own = Mac([2, 0, 0, 0, 0xff, 0xff]);
        let there = |machine: &&Machine| machine.lives_at() == Some(address);
        let answers = |machine: &&Machine| way == Way::Arp || machine.pings || !machine.init;
        let holder = self
            .machines
            .iter()
            .filter(there)
            .find(answers)
            .map(|one| one.mac);
        let intruder = (self.intruder == Some(address)).then_some([2, 0, 0, 0, 9, 9]);
        let Some(mac) = holder.or(intruder).map(Mac) else {
            return Ok(());
        };
        let now = self.now;
        let one = &mut self.managers[manager];
        let conflict = match way {
            Way::Arp => one.probes.heard(Claim { mac, address }, own),
            Way::Echo if self.without == Without::Echo => None,
            Way::Echo => one.probes.echoed(address),
        };
        let Some(conflict) = conflict else {
            return Ok(());
        };
        let decided = one.office(now).reconsider(conflict);
        self.note(format_args!(
            "manager {manager} finds {mac} at {address} ({way:?})"
        ));
        self.reply(manager, decided)
    }

    fn reply(&mut self, manager: usize, decided: Option<(Request, Verdict)>) -> Outcome {
        let Some((request, verdict)) = decided else {
            return Ok(());
        };
        if let Some(change) = verdict.lease {
            self.managers[manager].leases.apply(change);
        }
        let Answer::Reply(reply) = verdict.answer else {
            return Ok(());
        };
        let bytes = reply.encode().expect("encodes");
        let message = Message::decode(&mut Decoder::new(&bytes)).expect("decodes");
        let machine = self
            .machines
            .iter()
            .position(|one| one.mac == request.mac.0);
        let machine = machine.expect("one of ours");
        let kind = message.opts().msg_type().expect("a type");
        self.note(format_args!(
            "manager {manager} to {machine}: {kind:?} {}",
            message.yiaddr()
        ));
        if !self.calm && self.chance.percent(10) {
            return Ok(());
        }
        self.take(machine, &message)
    }

    /// A machine gets an answer.
    fn take(&mut self, which: usize, message: &Message) -> Outcome {
        let now = self.now;
        let machine = &mut self.machines[which];
        if message.xid() != machine.xid {
            return Ok(());
        }
        let Some(DhcpOption::ServerIdentifier(from)) =
            message.opts().get(OptionCode::ServerIdentifier)
        else {
            return Ok(());
        };
        let (from, address) = (*from, message.yiaddr());
        match (machine.state, message.opts().msg_type().expect("a type")) {
            (State::Discovering, MessageType::Offer) => {
                machine.state = State::Requesting {
                    server: from,
                    address,
                    tries: TRIES,
                };
                machine.next = now;
            }
            (State::Requesting { server, .. }, MessageType::Ack) if server == from => {
                return self.bind(which, from, address);
            }
            (State::Rebooting { .. } | State::Bound(_), MessageType::Ack) => {
                return self.bind(which, from, address);
            }
            (State::Requesting { server, .. }, MessageType::Nak) if server == from => {
                machine.state = State::Discovering;
                machine.next = now + 1_000;
            }
            (State::Rebooting { .. }, MessageType::Nak) => {
                machine.memory = None;
                machine.state = State::Discovering;
                machine.next = now + 1_000;
            }
            (State::Bound(bound), MessageType::Nak) => {
                return Err(format!(
                    "machine {which} is refused {}, which it uses",
                    bound.address
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn bind(&mut self, which: usize, server: Ipv4Addr, address: Ipv4Addr) -> Outcome {
        let other = self
            .machines
            .iter()
            .enumerate()
            .find(|(i, one)| *i != which && one.lives_at() == Some(address));
        if let Some((other, _)) = other {
            return Err(format!(
                "machine {which} gets {address}, which machine {other} uses"
            ));
        }
        if self.intruder == Some(address) {
            return Err(format!(
                "machine {which} gets {address}, which the intruder uses"
            ));
        }
        self.note(format_args!("machine {which} has {address}"));
        let (now, lease) = (self.now, self.kind.lease * 1_000);
        let machine = &mut self.machines[which];
        let until = if machine.worker { NEVER } else { now + lease };
        machine.state = State::Bound(Bound {
            address,
            server,
            since: now,
            until,
        });
        machine.memory = Some((address, until)).filter(|_| !machine.worker);
        machine.next = match (machine.worker, machine.init) {
            (false, _) => now + lease / 2,
            (true, false) => now + BOOTS,
            (true, true) => NEVER,
        };
        machine.booted = false;
        if machine.init && machine.beats {
            machine.beat = now;
        }
        Ok(())
    }

    /// What a machine does when its time has come.
    fn act(&mut self, which: usize) -> Outcome {
        let now = self.now;
        if self.machines[which].beat <= now {
            self.machines[which].beat = now + BEAT + self.chance.below(10_000);
            self.sign(which, |mac, address| Sign::Lives { address, mac });
            return Ok(());
        }
        let machine = &mut self.machines[which];
        machine.next = now + AGAIN;
        let kind = |kind| DhcpOption::MessageType(kind);
        let sent = match &mut machine.state {
            State::Off => {
                machine.next = NEVER;
                return Ok(());
            }
            State::Discovering => {
                machine.xid += 1;
                let wanted = machine
                    .memory
                    .map(|(address, _)| DhcpOption::RequestedIpAddress(address));
                Sent::broadcast(
                    [Some(kind(MessageType::Discover)), wanted]
                        .into_iter()
                        .flatten()
                        .collect(),
                )
            }
            State::Requesting { tries: 0, .. } | State::Rebooting { tries: 0, .. } => {
                machine.state = State::Discovering;
                machine.next = now;
                return Ok(());
            }
            State::Requesting {
                server,
                address,
                tries,
            } => {
                *tries -= 1;
                Sent::broadcast(vec![
                    kind(MessageType::Request),
                    DhcpOption::RequestedIpAddress(*address),
                    DhcpOption::ServerIdentifier(*server),
                ])
            }
            State::Rebooting { address, tries } => {
                *tries -= 1;
                Sent::broadcast(vec![
                    kind(MessageType::Request),
                    DhcpOption::RequestedIpAddress(*address),
                ])
            }
            State::Bound(_) if machine.worker => {
                self.boots(which);
                return Ok(());
            }
            State::Bound(bound) if now >= bound.until => {
                machine.state = State::Discovering;
                machine.next = now;
                return Ok(());
            }
            State::Bound(bound) => {
                let (lease, left) = (bound.until - bound.since, bound.until - now);
                machine.xid += 1;
                machine.next = now + (left / 4).max(AGAIN).min(left);
                Sent {
                    options: vec![kind(MessageType::Request)],
                    ciaddr: bound.address,
                    to: Some(bound.server).filter(|_| left > lease / 8),
                }
            }
        };
        self.send(which, &sent)
    }

    fn boots(&mut self, which: usize) {
        let now = self.now;
        let machine = &mut self.machines[which];
        if machine.booted {
            // `/init` has no address at first.
            machine.state = State::Discovering;
            machine.init = true;
            machine.next = now;
        } else {
            machine.booted = true;
            machine.next = now + INIT - BOOTS;
            self.sign(which, |mac, address| Sign::Booted {
                address,
                mac: Some(mac),
            });
        }
    }

    /// The manager that a machine booted from hears of it.
    fn sign(&mut self, which: usize, sign: impl Fn(Mac, Ipv4Addr) -> Sign) {
        let State::Bound(bound) = self.machines[which].state else {
            return;
        };
        if self.without == Without::Heartbeats {
            return;
        }
        let (mac, now) = (Mac(self.machines[which].mac), self.now);
        let heard =
            |manager: &&mut Manager| manager.address == bound.server && manager.down.is_none();
        if let Some(manager) = self.managers.iter_mut().find(heard) {
            let passed = Duration::from_millis(now - manager.started);
            let change = learn(sign(mac, bound.address), &manager.policy, passed);
            change
                .into_iter()
                .for_each(|change| manager.leases.apply(change));
        }
    }

    fn send(&mut self, which: usize, sent: &Sent) -> Outcome {
        let machine = &self.machines[which];
        let relay = if self.kind.relayed && sent.to.is_none() {
            RELAY
        } else {
            NONE
        };
        let mut message =
            Message::new_with_id(machine.xid, sent.ciaddr, NONE, NONE, relay, &machine.mac);
        message.set_opcode(Opcode::BootRequest);
        let class = if machine.init {
            Some("ramboot")
        } else if machine.worker {
            Some("PXEClient:Arch:00007:UNDI:003001")
        } else {
            None
        };
        let class = class.map(|class| DhcpOption::ClassIdentifier(class.into()));
        for option in sent.options.iter().cloned().chain(class) {
            message.opts_mut().insert(option);
        }
        let bytes = message.to_vec().expect("encodes");
        let source = if relay.is_unspecified() {
            sent.ciaddr
        } else {
            relay
        };
        let arrival = Arrival {
            port: Port::Dhcp,
            source: SocketAddrV4::new(source, 68),
        };
        let request = parse(&bytes, arrival).expect("a client's message");
        self.note(format_args!(
            "machine {which}: {:?} for {:?} ciaddr {} to {:?}",
            request.kind, request.requested, sent.ciaddr, sent.to
        ));
        let together = self.chance.percent(10);
        for manager in 0..self.managers.len() {
            let apart = self.chance.percent(10);
            let lost = if self.kind.same_pool { together } else { apart };
            let one = &mut self.managers[manager];
            let elsewhere = sent.to.is_some_and(|to| to != one.address);
            if elsewhere || one.down.is_some() || (lost && !self.calm) {
                continue;
            }
            let decided = one.office(self.now).consider(request.clone());
            self.reply(manager, decided)?;
        }
        Ok(())
    }

    fn switch_on(&mut self, which: usize) {
        self.note(format_args!("machine {which} is switched on"));
        let now = self.now;
        let machine = &mut self.machines[which];
        machine.memory = machine.memory.filter(|(_, until)| now < *until);
        machine.init = false;
        machine.xid += 1_000;
        machine.state = match machine.memory {
            Some((address, _)) => State::Rebooting {
                address,
                tries: TRIES,
            },
            None => State::Discovering,
        };
        machine.next = now;
    }

    fn switch_off(&mut self, which: usize) {
        self.note(format_args!("machine {which} is switched off"));
        let machine = &mut self.machines[which];
        (machine.state, machine.next, machine.beat) = (State::Off, NEVER, NEVER);
    }

    /// A system that runs finds its link up again and asks whether its address is still right (INIT-REBOOT).
    fn flap(&mut self, which: usize) -> Outcome {
        let machine = &mut self.machines[which];
        match machine.state {
            State::Bound(bound) if !machine.worker => {
                machine.xid += 1;
                let address = DhcpOption::RequestedIpAddress(bound.address);
                self.send(
                    which,
                    &Sent::broadcast(vec![DhcpOption::MessageType(MessageType::Request), address]),
                )
            }
            _ => Ok(()),
        }
    }

    /// Something happens to somebody.
    fn happen(&mut self) -> Outcome {
        let which = self.chance.index(self.machines.len());
        let manager = self.chance.index(self.managers.len());
        let two_pools = self.kind.managers == 2 && !self.kind.same_pool;
        match self.chance.below(10) {
            0..=3 if self.machines[which].state == State::Off => self.switch_on(which),
            4 => self.switch_off(which),
            5 | 6 => {
                self.switch_off(which);
                self.switch_on(which);
            }
            // The other manager may have missed that the machine took this one's address.
            7 if !two_pools => return self.flap(which),
            8 if self.managers[manager].down.is_none() => {
                let down_for = self.chance.below(20_000);
                self.restart(manager, down_for);
            }
            _ => {}
        }
        Ok(())
    }

    fn history(&mut self) -> Outcome {
        let events = 10 + self.chance.below(50);
        for _ in 0..events {
            let pause = [500, 5_000, 40_000, 300_000][self.chance.index(4)];
            let until = self.now + self.chance.below(pause);
            self.run(until)?;
            self.happen()?;
        }
        self.calm = true;
        for which in 0..self.machines.len() {
            if self.machines[which].state == State::Off {
                self.switch_on(which);
            }
        }
        // What is set aside is so for ten minutes; what was leased to no purpose, for a lease.
        self.run(self.now + 25 * MINUTE)?;
        let without = self
            .machines
            .iter()
            .position(|one| one.lives_at().is_none());
        match without {
            Some(which) => Err(format!("machine {which} has no address in the end")),
            None => Ok(()),
        }
    }
}

fn histories(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed, Without::Nothing);
        if let Err(wrong) = world.history() {
            panic!(
                "history {seed}, at {} ms: {wrong}\n{}",
                world.now, world.log
            );
        }
    }
}

#[test]
fn no_address_in_use_is_given_twice_or_refused() {
    histories(0..SOME);
}

/// These histories tell: a manager that lacks one thing it does is found out.
#[test]
fn a_manager_that_knows_less_is_found_out() {
    for without in [Without::Echo, Without::Heartbeats] {
        let wrong = (0..SOME).find_map(|seed| World::new(seed, without).history().err());
        assert!(wrong.is_some(), "{without:?}");
    }
}

#[test]
#[ignore = "two minutes: make test-all"]
fn ten_thousand_histories() {
    histories(SOME..MANY);
}
