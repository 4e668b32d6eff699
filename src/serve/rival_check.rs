//! Whether another DHCP server gives addresses where we are going to: asked before full mode starts, and again whenever one
//! of its interfaces is bound anew.

use std::hash::{BuildHasher as _, RandomState};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::dhcp;
use crate::host::interface::Interface;

/// No other DHCP server gives addresses on these interfaces.
pub(super) async fn alone(interfaces: &[Interface], force: bool) -> anyhow::Result<()> {
    let ours: Arc<[Ipv4Addr]> = interfaces.iter().map(|one| one.address).collect();
    let mut asked = JoinSet::new();
    // What is no Ethernet has no DHCP as it is known here.
    for interface in interfaces.iter().filter(|one| one.mac.is_some()).cloned() {
        let (ours, xid) = (Arc::clone(&ours), chance());
        asked.spawn_blocking(move || {
            let found = dhcp::find_rival::for_rival(&interface, &ours, xid);
            (interface.name, found)
        });
    }
    while let Some(done) = asked.join_next().await {
        match done.context("looking for another DHCP server")? {
            (_, Ok(None)) => {}
            (name, Ok(Some(rival))) if force => warn!(
                "another DHCP server answers on {name}: {rival}; starting because of --force: let the two pools not overlap"
            ),
            (name, Ok(Some(rival))) => anyhow::bail!(
                "another DHCP server answers on {name}: {rival}, and two may give one address to two machines: say --dhcp proxy to serve beside it, or stop it, or say --force"
            ),
            (name, Err(error)) => warn!(
                "whether another DHCP server is on {name} cannot be found out: opening a packet socket: {error}; start as root or from the systemd unit (CAP_NET_RAW)"
            ),
        }
    }
    Ok(())
}

/// The same of an interface that came back, on whose network the machines are that are being answered: one that is there is
/// said, and the manager goes on.
pub(super) async fn look_again(interface: Interface, ours: Vec<Ipv4Addr>) {
    if interface.mac.is_none() {
        return;
    }
    let (name, xid) = (interface.name.clone(), chance());
    let asked = move || dhcp::find_rival::for_rival(&interface, &ours, xid);
    match tokio::task::spawn_blocking(asked).await {
        Ok(Ok(Some(rival))) => warn!(
            "another DHCP server answers on {name}: {rival}, and two may give one address to two machines: stop it, or serve beside it (--dhcp proxy)"
        ),
        Ok(Ok(None)) => {}
        // It went away again.
        Ok(Err(error)) => debug!("whether another DHCP server is on {name}: {error}"),
        Err(error) => debug!("whether another DHCP server is on {name}: {error}"),
    }
}

/// Different each time, for a transaction id.
fn chance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
