//! Two managers in full mode on one LAN, against [`decide`]: packets are lost and come in any order, time passes, a
//! manager forgets everything. No two machines ever believe they have the same address.
//!
//! What holds a station's address answers for it, which is what an ARP probe finds out. With pools that differ, each
//! manager may miss a packet alone and be restarted. With the same pool a machine's packet goes to both managers or to
//! none, and neither is restarted: beyond that only the machine's own check (RFC 2131 §4.4.1, DHCPDECLINE) helps, which
//! is why full mode refuses to start beside another server.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::prelude::*;
use ramboot::config::Config;
use ramboot::dhcp::decide::decide;
use ramboot::dhcp::lease::{LeaseChange, Leases, SET_ASIDE_FOR};
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::request::{Arrival, Port, Request, parse};
use ramboot::dhcp::verdict::Answer;
use ramboot::host::interface::Interface;

const MACHINES: usize = 6;
/// A machine asks the same thing so often before it starts over.
const TRIES: u8 = 4;
/// RFC 2131 §4.1 waits 4, 8, 16 and 32 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// No switch keeps a packet longer.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

struct Server {
    address: Ipv4Addr,
    policy: Policy,
    leases: Leases,
}

impl Server {
    fn new(last: u8, pool: &str) -> Self {
        let address = Ipv4Addr::new(10, 0, 0, last);
        let interface = Interface {
            name: "br0".to_owned(),
            index: 2,
            address,
            prefix_len: 24,
            mac: None,
        };
        let config = format!("[dhcp]\nmode = \"full\"\npool = \"{pool}\"");
        let config = Config::parse(&config).expect("a config");
        let policy = Policy::new(&config, &interface, 8067);
        Self {
            address,
            policy: policy.expect("fits").expect("on"),
            leases: Leases::default(),
        }
    }

    /// What the shell does, with a probe that takes no time: `in_use` answers it.
    fn receive(
        &mut self,
        request: &Request,
        in_use: impl Fn(Ipv4Addr) -> bool,
        now: Duration,
    ) -> Option<Message> {
        loop {
            let verdict = decide(request, &self.policy, &self.leases, now);
            if let Some(address) = verdict.probe.filter(|address| in_use(*address)) {
                let until = now + SET_ASIDE_FOR;
                self.leases.apply(LeaseChange::SetAside { address, until });
                continue;
            }
            if let Some(change) = verdict.lease {
                self.leases.apply(change);
            }
            return match verdict.answer {
                Answer::Ignore(_) => None,
                Answer::Reply(reply) => Some(reply.message),
            };
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Discovering,
    Requesting {
        server: Ipv4Addr,
        address: Ipv4Addr,
        tries: u8,
        since: Duration,
    },
    Bound(Ipv4Addr),
}

struct Machine {
    mac: [u8; 6],
    xid: u32,
    state: State,
}

impl Machine {
    fn send(&mut self, now: Duration) -> Option<Vec<u8>> {
        if let State::Requesting { tries, since, .. } = self.state
            && (tries == 0 || now >= since + PATIENCE)
        {
            self.state = State::Discovering;
        }
        let none = Ipv4Addr::UNSPECIFIED;
        let mut options = vec![];
        match &mut self.state {
            State::Bound(_) => return None,
            State::Discovering => {
                self.xid += 1;
                options.push(DhcpOption::MessageType(MessageType::Discover));
            }
            State::Requesting {
                server,
                address,
                tries,
                ..
            } => {
                *tries -= 1;
                options.push(DhcpOption::MessageType(MessageType::Request));
                options.push(DhcpOption::RequestedIpAddress(*address));
                options.push(DhcpOption::ServerIdentifier(*server));
            }
        }
        let mut message = Message::new_with_id(self.xid, none, none, none, none, &self.mac);
        message.set_opcode(Opcode::BootRequest);
        for option in options {
            message.opts_mut().insert(option);
        }
        Some(message.to_vec().expect("encodes"))
    }

    fn receive(&mut self, message: &Message, now: Duration) {
        if message.xid() != self.xid {
            return;
        }
        let Some(DhcpOption::ServerIdentifier(from)) =
            message.opts().get(OptionCode::ServerIdentifier)
        else {
            return;
        };
        match (self.state, message.opts().msg_type()) {
            (State::Discovering, Some(MessageType::Offer)) => {
                self.state = State::Requesting {
                    server: *from,
                    address: message.yiaddr(),
                    tries: TRIES,
                    since: now,
                };
            }
            (State::Requesting { server, .. }, Some(MessageType::Ack)) if server == *from => {
                self.state = State::Bound(message.yiaddr());
            }
            (State::Requesting { server, .. }, Some(MessageType::Nak)) if server == *from => {
                self.state = State::Discovering;
            }
            _ => {}
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A machine sends; a manager hears it if its bit is set.
    Ask { machine: usize, heard_by: [bool; 2] },
    /// One of the answers on their way arrives, or is lost.
    Arrive { which: usize, lost: bool },
    /// Time passes, in units of 100 ms.
    Wait(u8),
    /// A manager is restarted.
    Forget(usize),
}

struct Lan {
    servers: [Server; 2],
    machines: Vec<Machine>,
    answers: Vec<(Duration, usize, Message)>,
    now: Duration,
}

impl Lan {
    fn new(pools: [&str; 2]) -> Self {
        let machine = |i: usize| Machine {
            mac: [2, 0, 0, 0, 0, u8::try_from(i).expect("few")],
            xid: 0,
            state: State::Discovering,
        };
        Self {
            servers: [Server::new(1, pools[0]), Server::new(2, pools[1])],
            machines: (0..MACHINES).map(machine).collect(),
            answers: Vec::new(),
            now: Duration::ZERO,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Wait(tenths) => {
                self.now += Duration::from_millis(100) * tenths.into();
                let now = self.now;
                self.answers.retain(|(at, ..)| now < *at + ON_ITS_WAY);
            }
            Event::Forget(which) => {
                // A manager that starts looks for others first, which takes as long as a packet lives.
                self.happen(&Event::Wait(50));
                self.servers[which].leases = Leases::default();
            }
            Event::Arrive { which, lost } => {
                if self.answers.is_empty() {
                    return;
                }
                let (_, machine, answer) = self.answers.swap_remove(which % self.answers.len());
                if !lost {
                    self.machines[machine].receive(&answer, self.now);
                }
            }
            Event::Ask { machine, heard_by } => self.ask(machine, heard_by),
        }
    }

    fn ask(&mut self, asker: usize, heard_by: [bool; 2]) {
        let Some(bytes) = self.machines[asker].send(self.now) else {
            return;
        };
        let arrival = Arrival {
            port: Port::Dhcp,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        };
        let request = parse(&bytes, arrival).expect("a client's message");
        let machines = &self.machines;
        let in_use = |address| {
            let mut others = machines.iter().enumerate();
            others.any(|(i, machine)| i != asker && machine.state == State::Bound(address))
        };
        for (server, _) in self
            .servers
            .iter_mut()
            .zip(heard_by)
            .filter(|(_, heard)| *heard)
        {
            if let Some(answer) = server.receive(&request, in_use, self.now) {
                let bytes = answer.to_vec().expect("encodes");
                let answer = Message::decode(&mut Decoder::new(&bytes)).expect("decodes");
                self.answers.push((self.now, asker, answer));
            }
        }
    }

    fn bound(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.machines
            .iter()
            .filter_map(|machine| match machine.state {
                State::Bound(address) => Some(address),
                _ => None,
            })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut owners = HashMap::new();
        for (i, address) in self.bound().enumerate() {
            prop_assert_eq!(
                owners.insert(address, i),
                None,
                "{} has two owners",
                address
            );
        }
        Ok(())
    }

    /// The rest of the story, in which nothing is lost: everybody gets an address.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..40 {
            for machine in 0..MACHINES {
                let heard_by = [true; 2];
                self.happen(&Event::Ask { machine, heard_by });
                while !self.answers.is_empty() {
                    self.happen(&Event::Arrive {
                        which: 0,
                        lost: false,
                    });
                }
                self.check()?;
            }
            self.happen(&Event::Wait(40));
        }
        let bound = self.bound().count();
        prop_assert_eq!(bound, MACHINES, "{} of them have an address", bound);
        Ok(())
    }
}

/// `together`: a packet is lost for both managers or for none, and neither is restarted.
fn events(together: bool) -> impl Strategy<Value = Vec<Event>> {
    let ask = (0..MACHINES, any::<[bool; 2]>()).prop_map(move |(machine, [a, b])| Event::Ask {
        machine,
        heard_by: if together { [a || b; 2] } else { [a, b] },
    });
    let arrive = (any::<usize>(), prop::bool::weighted(0.3))
        .prop_map(|(which, lost)| Event::Arrive { which, lost });
    let event = prop_oneof![
        6 => ask,
        6 => arrive,
        3 => (0_u8..100).prop_map(Event::Wait),
        1 => (0_usize..2).prop_map(move |which| {
            if together { Event::Wait(50) } else { Event::Forget(which) }
        }),
    ];
    prop::collection::vec(event, 0..250)
}

fn run(pools: [&str; 2], events: &[Event]) -> Result<(), TestCaseError> {
    let mut lan = Lan::new(pools);
    for event in events {
        lan.happen(event);
        lan.check()?;
    }
    lan.settle()
}

#[test]
fn nothing_lost() {
    for pools in [
        ["10.0.0.10-10.0.0.19", "10.0.0.20-10.0.0.29"],
        ["10.0.0.10-10.0.0.19", "10.0.0.10-10.0.0.19"],
    ] {
        let mut lan = Lan::new(pools);
        lan.settle().expect("all have an address");
        let live = lan
            .servers
            .iter()
            .map(|server| server.leases.live(lan.now).count());
        assert!(live.sum::<usize>() >= MACHINES);
        assert_ne!(lan.servers[0].address, lan.servers[1].address);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn pools_that_differ(events in events(false)) {
        run(["10.0.0.10-10.0.0.16", "10.0.0.20-10.0.0.26"], &events)?;
    }

    #[test]
    fn the_same_pool(events in events(true)) {
        run(["10.0.0.10-10.0.0.17", "10.0.0.10-10.0.0.17"], &events)?;
    }
}
