//! A packet from anybody that calls itself a DHCP server, at /init.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use ramboot_init::net::dhcp::{Client, Identity};
use ramboot_wire::Mac;

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let identity = Identity {
        mac: Mac([2; 6]),
        hostname: None,
    };
    let mut client = Client::new(identity, now);
    // The transaction id is what the packet says, so that it gets past that check.
    let xid = bytes
        .get(4..8)
        .and_then(|xid| xid.try_into().ok())
        .map_or(0, u32::from_be_bytes);
    client
        .dispatch(now, xid, |_| Ok(()))
        .expect("nothing is sent");
    client.process(now, bytes);
    client
        .dispatch(now, xid, |_| Ok(()))
        .expect("nothing is sent");
    client.process(now, bytes);
});
