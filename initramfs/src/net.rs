//! From hardware to an address: all wired links up, DHCP on each that has a carrier, the first good lease wins.
//!
//! USB NICs appear seconds late and switches let nothing through for half a minute, so nothing here gives up; what is
//! waited for is said every few seconds. Links without the winning lease stay up without an address.

pub mod dhcp;
pub mod keep;
pub mod lease;
pub mod links;
pub mod netlink;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ramboot_fetch::event::{Next, Wait, What};
use ramboot_wire::{BootArgs, Mac};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::console;
use crate::modules::Modules;
use crate::net::dhcp::{Client, Identity, Outcome};
use crate::net::lease::{Candidate, Lease, choose};
use crate::net::links::{Link, wired};
use crate::net::netlink::Netlink;

/// The links of this machine, and the drivers that may still bring some.
#[derive(Debug)]
pub struct Network {
    netlink: Netlink,
    links: Vec<Link>,
    up: Vec<u32>,
    /// When drivers were loaded last.
    looked: Instant,
}

impl Network {
    /// Looks at nothing yet. Drivers for what is there now are loaded.
    ///
    /// # Errors
    /// The kernel has no network.
    pub fn open() -> anyhow::Result<Self> {
        Ok(Self {
            netlink: Netlink::open().context("opening a netlink socket")?,
            links: Vec::new(),
            up: Vec::new(),
            looked: clock::now(),
        })
    }

    /// Waits for a link with a carrier: the boot link's, or after a short grace any other's.
    pub fn await_carrier(&mut self, modules: &mut Modules, bootif: Option<Mac>) -> Link {
        let since = clock::now();
        let mut first_carrier = None;
        let mut told = since;
        loop {
            self.look(modules);
            let now = clock::now();
            let ready = || self.links.iter().filter(|link| link.carrier);
            if let Some(link) = ready().find(|link| bootif.is_none_or(|mac| mac == link.mac)) {
                return link.clone();
            }
            if let Some(link) = ready().next() {
                let since = *first_carrier.get_or_insert(now);
                if now.duration_since(since) >= BOOTIF_GRACE {
                    return link.clone();
                }
            }
            if now.duration_since(told) >= TELL {
                told = now;
                console::wait(Wait {
                    what: self.missing(bootif),
                    since: now.duration_since(since),
                    why: None,
                    next: Next::Again,
                    here: None,
                });
            }
            clock::sleep(TICK);
        }
    }

    /// Asks for an address on every link with a carrier, for ever.
    ///
    /// # Errors
    /// The kernel does not take the address.
    pub fn await_lease(
        &mut self,
        modules: &mut Modules,
        args: &BootArgs,
    ) -> anyhow::Result<(Link, Lease)> {
        let since = clock::now();
        let mut told = since;
        let mut first_lease = None;
        let mut tries: Vec<Try> = Vec::new();
        loop {
            self.look(modules);
            self.add_tries(&mut tries, args);
            tries.iter_mut().for_each(Try::send);
            wait_for_packets(&tries);
            tries.iter_mut().for_each(Try::receive);
            let now = clock::now();
            if let Some(won) = decide(&tries, args, now, &mut first_lease) {
                self.apply(&won.0, &won.1)?;
                return Ok(won);
            }
            if now.duration_since(told) >= TELL {
                told = now;
                let names = tries.iter().map(|t| t.link.name.clone());
                console::wait(Wait {
                    what: What::Lease(names.collect()),
                    since: now.duration_since(since),
                    why: None,
                    next: Next::Again,
                    here: None,
                });
            }
        }
    }

    fn apply(&self, link: &Link, lease: &Lease) -> anyhow::Result<()> {
        let name = &link.name;
        if let Err(error) = self.netlink.link_up(link.index, lease.mtu) {
            // A driver that cannot do the server's MTU still does its own.
            console::say(&format!("ramboot: MTU {:?} on {name}: {error}", lease.mtu));
        }
        self.netlink
            .add_address(link.index, lease.addr, lease.prefix)
            .with_context(|| format!("setting {}/{} on {name}", lease.addr, lease.prefix))?;
        for route in &lease.routes {
            let Err(error) = self.netlink.add_route(link.index, route) else {
                continue;
            };
            let Some(router) = route.via.filter(|_| route.is_default()) else {
                // What is not the way to everything may not be needed.
                console::say(&format!("ramboot: route to {route} on {name}: {error}"));
                continue;
            };
            return Err(error)
                .with_context(|| format!("setting the default route by {router} on {name}"));
        }
        Ok(())
    }

    /// Looks for devices and links that appeared, at most every [`LOOK`].
    fn look(&mut self, modules: &mut Modules) {
        let now = clock::now();
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            modules.coldplug();
        }
        self.links = wired(Path::new("/sys/class/net"));
        for link in &self.links {
            if self.up.contains(&link.index) {
                continue;
            }
            self.up.push(link.index);
            if let Err(error) = self.netlink.link_up(link.index, None) {
                console::say(&format!("ramboot: bringing {} up: {error}", link.name));
            }
        }
    }

    fn missing(&self, bootif: Option<Mac>) -> What {
        if self.links.is_empty() {
            What::Device(bootif.map(|mac| mac.to_string()))
        } else {
            What::Carrier(self.links.iter().map(|link| link.name.clone()).collect())
        }
    }

    fn add_tries(&self, tries: &mut Vec<Try>, args: &BootArgs) {
        for link in self.links.iter().filter(|link| link.carrier) {
            if tries.iter().any(|t| t.link.index == link.index) {
                continue;
            }
            match Try::new(link, args) {
                Ok(new) => tries.push(new),
                Err(error) => {
                    console::progress(&format!("ramboot: DHCP on {}: {error}", link.name));
                }
            }
        }
    }
}

/// DHCP on one link.
#[derive(Debug)]
struct Try {
    link: Link,
    socket: UdpSocket,
    client: Client,
    bootif: bool,
}

impl Try {
    fn new(link: &Link, args: &BootArgs) -> io::Result<Self> {
        // Linux hands broadcasts to a socket that is bound to a device even if the device has no address, and sends
        // from 0.0.0.0 on it; no raw socket is needed.
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(link.name.as_bytes()))?;
        socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).into())?;
        socket.set_nonblocking(true)?;
        let identity = Identity {
            mac: link.mac,
            hostname: args.hostname.clone(),
        };
        Ok(Self {
            bootif: args.bootif.is_none_or(|mac| mac == link.mac),
            link: link.clone(),
            socket: socket.into(),
            client: Client::new(identity, clock::now()),
        })
    }

    fn send(&mut self) {
        let socket = &self.socket;
        let sent = self
            .client
            .dispatch(clock::now(), clock::chance(), |packet| {
                let to = (Ipv4Addr::BROADCAST, SERVER_PORT);
                console::debug(|| {
                    format!("DHCP on {}: sending {} bytes", self.link.name, packet.len())
                });
                socket.send_to(packet, to).map(|_| ())
            });
        if let Err(error) = sent {
            console::progress(&format!(
                "ramboot: DHCP on {}: sending: {error}",
                self.link.name
            ));
        }
    }

    fn receive(&mut self) {
        let mut packet = [0; 4096];
        // Bounded, so that a flood on one link does not silence the others.
        for _ in 0..64 {
            let Ok((len, from)) = self.socket.recv_from(&mut packet) else {
                return;
            };
            let seen = packet.get(..len).unwrap_or_default();
            let outcome = self.client.process(clock::now(), seen);
            let name = &self.link.name;
            console::debug(|| format!("DHCP on {name}: {len} bytes from {from}: {outcome:?}"));
            if outcome == Outcome::Refused {
                console::say(&format!(
                    "ramboot: DHCP on {name}: {from} refused what it had offered; starting again"
                ));
            }
        }
    }
}

fn decide(
    tries: &[Try],
    args: &BootArgs,
    now: Instant,
    first: &mut Option<Instant>,
) -> Option<(Link, Lease)> {
    let bound: Vec<(&Try, &Lease)> = tries
        .iter()
        .filter_map(|t| Some((t, t.client.lease()?)))
        .collect();
    if bound.is_empty() {
        return None;
    }
    let since = now.duration_since(*first.get_or_insert(now));
    let candidates: Vec<Candidate<'_>> = bound
        .iter()
        .map(|(t, lease)| Candidate {
            lease,
            bootif: t.bootif,
        })
        .collect();
    let pending = bound.len() < tries.len();
    let winner = choose(&candidates, &args.bases, since, pending)?;
    let (t, lease) = bound.get(winner)?;
    Some((t.link.clone(), (*lease).clone()))
}

fn wait_for_packets(tries: &[Try]) {
    let now = clock::now();
    let next = tries.iter().filter_map(|t| t.client.poll_at()).min();
    let time = next
        .map_or(TICK, |at| at.saturating_duration_since(now))
        .min(TICK);
    let mut fds: Vec<PollFd<'_>> = tries
        .iter()
        .map(|t| PollFd::new(&t.socket, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    if poll(&mut fds, Some(&timeout)).is_err() {
        clock::sleep(TICK);
    }
}

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// How long another link waits for the one the firmware booted from: a gigabit link negotiates in 2 to 3 s.
const BOOTIF_GRACE: Duration = Duration::from_secs(5);
/// A walk through /sys costs a Raspberry Pi some 10 ms.
const LOOK: Duration = Duration::from_millis(500);
/// Links are looked at this often, packets wake us earlier.
const TICK: Duration = Duration::from_millis(20);
const TELL: Duration = Duration::from_secs(5);
