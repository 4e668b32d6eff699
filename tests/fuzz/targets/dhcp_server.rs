//! A packet from anybody on the LAN: parsed, decided in both modes and on both ports; answers can be encoded.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ramboot::config::Config;
use ramboot::dhcp::decide::decide;
use ramboot::dhcp::lease::Leases;
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::request::{Arrival, Port, parse};
use ramboot::dhcp::verdict::Answer;
use ramboot::host::interface::Interface;

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let interface = Interface {
        name: "br0".to_owned(),
        index: 2,
        address: Ipv4Addr::new(10, 0, 0, 1),
        prefix_len: 24,
        mac: None,
    };
    [
        "",
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.50-10.0.0.59\"",
        "[dhcp]\nmode = \"full\"\n[[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.9\"",
    ]
    .iter()
    .map(|text| Config::parse(text).expect("a config"))
    .filter_map(|config| Policy::new(&config, &interface, 8067).expect("fits"))
    .collect()
});

fuzz_target!(|bytes: &[u8]| {
    for port in [Port::Dhcp, Port::BootServer] {
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let Ok(request) = parse(bytes, Arrival { port, source }) else {
            return;
        };
        let mut leases = Leases::default();
        for policy in POLICIES.iter() {
            let verdict = decide(&request, policy, &leases, Duration::ZERO);
            if let Answer::Reply(reply) = &verdict.answer {
                let bytes = reply.encode().expect("an answer can be sent");
                assert!(bytes.len() <= 1_472, "longer than an Ethernet takes");
            }
            verdict
                .lease
                .into_iter()
                .for_each(|change| leases.apply(change));
        }
    }
});
