//! DHCP in full mode on real links: other servers, stations that have an address already, several networks. No machine
//! boots here; what asks is a client made of frames.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ramboot::config::Config;
use ramboot::dhcp::decide::decide;
use ramboot::dhcp::lease::Leases;
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::request::{Arrival, Port, parse};
use ramboot::dhcp::rival::{self, Rival};
use ramboot::host::interface::Interface;
use ramboot::host::packet_socket::{Frames, Link};
use ramboot_wire::Mac;

use crate::case::Case;
use crate::lan::{BRIDGE, Lan, MANAGER, POOL, ip};
use crate::manager::Manager;
use crate::transcript::Transcript;
use crate::{ANSWER, BOOT};

const FULL: [&str; 4] = ["--dhcp", "full", "--pool", POOL];
const CLIENT: Mac = Mac([2, 0, 0, 0, 0x77, 1]);
/// Somebody has its address.
const UNLUCKY: Mac = Mac([2, 0, 0, 0, 0x77, 3]);
/// A client asks again after this, as iPXE does.
const AGAIN: Duration = Duration::from_secs(1);
const ETHERNET_IP_UDP_BYTES: usize = 14 + 20 + 8;

/// Sends DHCPDISCOVER from an interface until somebody offers an address.
fn offer(interface: &str, mac: Mac) -> Result<Rival> {
    let link = Link::open(interface, Frames::All)?;
    let mut frame = [0; rival::FRAME_BYTES];
    let start = Instant::now();
    let xid = 0x7777_0001;
    while start.elapsed() < ANSWER {
        link.send(&rival::question(mac, xid))?;
        let asked = Instant::now();
        while let Some(left) = AGAIN.checked_sub(asked.elapsed()) {
            let length = link.receive(&mut frame, left)?.unwrap_or(0);
            if let Some(offer) = rival::answer(&frame[..length], mac, xid) {
                return Ok(offer);
            }
        }
    }
    bail!("no offer on {interface} within {ANSWER:?}")
}

/// What a manager that has just started gives this machine.
fn first_choice(mac: Mac) -> Result<Ipv4Addr> {
    let interface = Interface {
        name: BRIDGE.to_owned(),
        index: 1,
        address: MANAGER.parse()?,
        prefix_len: 24,
        mac: None,
    };
    let config = Config::parse(&format!("[dhcp]\nmode = \"full\"\npool = \"{POOL}\""))?;
    let policy = Policy::new(&config, &interface, 8067)?.context("DHCP is on")?;
    let arrival = Arrival {
        port: Port::Dhcp,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
    };
    let question = rival::question(mac, 1);
    let request = parse(&question[ETHERNET_IP_UDP_BYTES..], arrival)?;
    let verdict = decide(&request, &policy, &Leases::default(), Duration::ZERO);
    verdict.probe.context("a new address is probed")
}

/// Full mode does not start beside another server, and says which one; told to, it does.
pub(super) fn beside_dnsmasq(case: &Case) -> Result<()> {
    let store = case.fresh_store_with_old_cache()?;
    let lan = Lan::new()?;
    let _neighbour = lan.dhcp_server(case)?;
    let Err(refused) = Manager::serve(case, &store, "", &FULL) else {
        bail!("it starts beside dnsmasq");
    };
    let refused = format!("{refused:#}");
    for words in [
        "another DHCP server answers on lan0: 192.168.77.2 (it offered 192.168.77.",
        "--dhcp proxy",
        "--force",
    ] {
        ensure!(refused.contains(words), "no {words:?} in {refused}");
    }
    let forced = [&FULL[..], &["--force"]].concat();
    let manager = Manager::serve(case, &store, "", &forced)?;
    let warned = "another DHCP server answers on lan0: 192.168.77.2";
    manager.log.expect(warned, ANSWER)?;
    manager.terminate()
}

/// A station that never asked anybody has the address a machine would get: the machine gets another one, at once.
pub(super) fn probes(case: &Case) -> Result<()> {
    let store = case.fresh_store_with_old_cache()?;
    let lan = Lan::new()?;
    let taken = first_choice(CLIENT)?;
    // "2: held1@if3: … link/ether 02:… brd …"
    let script = "ip -oneline link show dev held1 >&2; exec sleep infinity";
    let mut holder = lan.station(case, "held", &format!("{taken}/24"), script)?;
    let said = Transcript::follow("holder", holder.stderr()?, None);
    let line = said.expect("link/ether ", ANSWER)?.text;
    let (_, rest) = line.split_once("link/ether ").context("no link/ether")?;
    let mac = rest.split(' ').next().context("a MAC")?;
    lan.cable("client")?;
    ip("link set client1 up")?;

    let manager = Manager::serve(case, &store, "", &FULL)?;
    let offered = offer("client1", CLIENT)?.offered;
    ensure!(offered != taken, "{taken} was offered, which {mac} has");
    let line = format!("{taken} on lan0 is in use by {mac}: {CLIENT} gets another address");
    manager.log.expect(&line, ANSWER)?;
    // It stays so, and is not asked for again.
    ensure!(offer("client1", CLIENT)?.offered == offered, "another one");
    manager.terminate()
}

/// A hall is switched on: every machine gets an address of its own, none waits for another's probe.
pub(super) fn five_hundred_at_once(case: &Case) -> Result<()> {
    const MACHINES: u16 = 500;
    let store = case.fresh_store_with_old_cache()?;
    let lan = Lan::new()?;
    lan.cable("client")?;
    for args in [
        "link set client1 up",
        "address add 10.79.0.1/20 dev lan0",
        "address del 192.168.77.1/24 dev lan0",
    ] {
        ip(args)?;
    }
    let pool = ["--dhcp", "full", "--pool", "10.79.1.0-10.79.4.255"];
    let manager = Manager::serve(case, &store, "", &pool)?;
    let link = Link::open("client1", Frames::All)?;
    let mac = |[high, low]: [u8; 2]| Mac([2, 0, 0, 1, high, low]);
    let mut frame = [0; rival::FRAME_BYTES];
    let mut offers: HashMap<u16, Rival> = HashMap::new();
    let start = Instant::now();
    let mut asked = 0;
    while offers.len() < usize::from(MACHINES) {
        ensure!(start.elapsed() < ANSWER, "only {} offers", offers.len());
        for i in (0..MACHINES).filter(|i| !offers.contains_key(i)) {
            link.send(&rival::question(mac(i.to_be_bytes()), i.into()))?;
            asked += 1;
        }
        let round = Instant::now();
        while let Some(left) = AGAIN.checked_sub(round.elapsed()) {
            let length = link.receive(&mut frame, left)?.unwrap_or(0);
            // The transaction id tells which machine an answer is for.
            let Some([.., high, low]) = frame[..length].get(46..50) else {
                continue;
            };
            let i = u16::from_be_bytes([*high, *low]);
            let answer = rival::answer(&frame[..length], mac([*high, *low]), i.into());
            offers.extend(answer.map(|offer| (i, offer)));
            if offers.len() == usize::from(MACHINES) {
                break;
            }
        }
    }
    println!(
        "{MACHINES} offers after {:?}, {asked} asked",
        start.elapsed()
    );
    let addresses: HashSet<_> = offers.values().map(|offer| offer.offered).collect();
    ensure!(
        addresses.len() == offers.len(),
        "{} addresses for {} machines",
        addresses.len(),
        offers.len()
    );
    manager.terminate()
}

/// Two interfaces, a pool on each.
pub(super) fn two_networks(case: &Case) -> Result<()> {
    let store = case.fresh_store_with_old_cache()?;
    let lan = Lan::new()?;
    lan.cable("client")?;
    for args in [
        "link set client1 up",
        "link add second0 type veth peer name second1",
        "address add 10.78.0.1/24 dev second0",
        "link set second0 up",
        "link set second1 up",
    ] {
        ip(args)?;
    }
    let config = "[[network]]\naddress = \"10.78.0.0/24\"\npool = \"10.78.0.100-10.78.0.109\"\n";
    let args = [&FULL[..], &["--interface", "second0"]].concat();
    let manager = Manager::serve(case, &store, config, &args)?;
    for (interface, server, network) in [
        ("client1", MANAGER, [192, 168, 77]),
        ("second1", "10.78.0.1", [10, 78, 0]),
    ] {
        let offer = offer(interface, CLIENT)?;
        ensure!(offer.server.to_string() == server, "{offer} on {interface}");
        ensure!(
            offer.offered.octets().starts_with(&network),
            "{offer} on {interface}"
        );
    }
    manager.terminate()
}

/// dnsmasq as a relay between the manager and a network the manager is not on.
pub(super) fn through_a_relay(case: &Case) -> Result<()> {
    let store = case.fresh_store_with_old_cache()?;
    let lan = Lan::new()?;
    let relay = "exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --dhcp-relay=10.78.0.1,192.168.77.1 \
                 --pid-file= --log-dhcp --log-facility=-";
    // The far network's cable comes a moment after the station.
    let script = format!(
        "until ip link set far0 up 2>/dev/null; do sleep 0.02; done; ip address add 10.78.0.1/24 dev far0; ip address add 10.78.0.107/24 dev far0; {relay}"
    );
    let mut process = lan.station(case, "relay", "192.168.77.3/24", &script)?;
    ip("link add far0 type veth peer name far1")?;
    ip(&format!("link set far0 netns {}", process.id()))?;
    let log = Transcript::follow("relay", process.stderr()?, Some(case.file("relay.log")?));
    log.expect("DHCP relay from 10.78.0.1 to 192.168.77.1", BOOT)?;
    ip("route add 10.78.0.0/24 via 192.168.77.3")?;
    ip("link set far1 up")?;

    // Without a pool for it: silence, and the log says what is missing.
    let manager = Manager::serve(case, &store, "", &FULL)?;
    let link = Link::open("far1", Frames::All)?;
    link.send(&rival::question(CLIENT, 1))?;
    let why = "relayed from 10.78.0.1, a network without a pool: add it as [[network]]";
    manager.log.expect(why, ANSWER)?;
    manager.terminate()?;

    // One that has just started listens first whether a machine there has the address already; nobody else can have one that
    // is reserved.
    let config = format!(
        "[[network]]\naddress = \"10.78.0.0/24\"\npool = \"10.78.0.100-10.78.0.109\"\nrouter = \"10.78.0.1\"\n\
         [[worker]]\nmac = \"{CLIENT}\"\naddress = \"10.78.0.105\"\n\
         [[worker]]\nmac = \"{UNLUCKY}\"\naddress = \"10.78.0.107\"\n"
    );
    let manager = Manager::serve(case, &store, &config, &FULL)?;
    link.send(&rival::question(Mac([2, 0, 0, 0, 0x77, 2]), 2))?;
    let why = "in the first minute it listens which addresses behind relays are in use";
    manager.log.expect(why, ANSWER)?;
    // The relay itself has this address, too, and answers the manager's ping.
    link.send(&rival::question(UNLUCKY, 3))?;
    let why = "its address 10.78.0.107 was found in use by another machine";
    manager.log.expect(why, ANSWER)?;
    let offer = offer("far1", CLIENT)?;
    ensure!(offer.server.to_string() == MANAGER, "{offer}");
    ensure!(offer.offered.octets().starts_with(&[10, 78, 0]), "{offer}");
    manager.terminate()
}
