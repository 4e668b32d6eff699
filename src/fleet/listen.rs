//! The shell that hears heartbeats: one UDP socket for each address, with the number of HTTP's port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ramboot_wire::Heartbeat;
use ramboot_wire::heartbeat::MAX_HEARTBEAT_BYTES;
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use super::event::Event;
use super::shared::SharedFleet;

/// Listens for ever; polled by whoever spawns it.
///
/// # Errors
/// The socket cannot be made asynchronous.
pub async fn run(socket: std::net::UdpSocket, fleet: Arc<SharedFleet>) -> anyhow::Result<()> {
    socket
        .set_nonblocking(true)
        .and_then(|()| UdpSocket::from_std(socket))
        .context("making the heartbeat socket asynchronous")
        .map(|socket| listen(socket, fleet))?
        .await;
    Ok(())
}

async fn listen(socket: UdpSocket, fleet: Arc<SharedFleet>) {
    // One byte more than is taken, so that a longer packet is seen to be one.
    let mut packet = [0; MAX_HEARTBEAT_BYTES + 1];
    let mut window = tokio::time::interval(WINDOW);
    window.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        window.tick().await;
        // The rest of a flood is the kernel's to throw away.
        for _ in 0..PACKETS_PER_WINDOW {
            match socket.recv_from(&mut packet).await {
                Ok((length, SocketAddr::V4(from))) => heard(&packet[..length], from, &fleet),
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => {
                    warn!("receiving heartbeats: {error}");
                    break;
                }
            }
        }
    }
}

fn heard(packet: &[u8], from: std::net::SocketAddrV4, fleet: &SharedFleet) {
    let beat = match Heartbeat::parse(packet) {
        Ok(beat) => beat,
        Err(why) => return debug!(%from, "no heartbeat: {why}"),
    };
    let worker = beat.mac;
    if let Err(refused) = fleet.saw(Event::Beat(*from.ip(), beat)) {
        debug!(%from, %worker, "heartbeat not believed: {refused}");
    }
}

const WINDOW: Duration = Duration::from_millis(100);
/// As many as 65 536 workers send in a tenth of a second while none of them has all of its image.
const PACKETS_PER_WINDOW: usize = 4_000;
