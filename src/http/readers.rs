//! The shell for those who look: a view is made on another thread than those that serve, one at a time, and few who read
//! something large are served at once.
//!
//! A view of a large fleet takes long to make and is tens of megabytes. It is made once for all ([`crate::status::views`]) and sent as
//! slices of one buffer; a reader who is slow keeps its buffer, so their number is bounded, also for each address.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::answer::{self, Answer, Content};
use super::body::Told;
use super::pages::{Cost, Make};
use super::serve::Peer;

/// Answers who looks; what is returned beside it lives as long as the body.
pub(super) async fn show(
    cost: Cost,
    make: Box<Make>,
    head: &Parts,
    guest: &Peer,
) -> (Answer, Option<Told>) {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return (Answer::method_not_allowed("GET, HEAD"), None);
    }
    let Some(made) = made(cost, make, guest).await else {
        return (busy("others look at this manager"), None);
    };
    let content = match made {
        Ok(content) => content,
        Err(error) => {
            let text = format!("{error:#}\n");
            let answer = Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
            return (answer.unframed(), None);
        }
    };
    let answer = answer::content(&head.method, &head.headers, &content).unframed();
    if answer.body_len() <= SMALL_BYTES {
        let is_part = content.bytes.len() > SMALL_BYTES;
        let answer = if is_part { answer.copied() } else { answer };
        return (answer, None);
    }
    match Seat::take(guest.peer.ip()) {
        Some(seat) => (answer, Some(Box::new(move || drop(seat)))),
        None => (busy("others read something large from this manager"), None),
    }
}

/// `None`: others have kept it busy for too long.
async fn made(cost: Cost, make: Box<Make>, guest: &Peer) -> Option<anyhow::Result<Content>> {
    let local = guest.local;
    let turns = match cost {
        Cost::Nothing => return Some(make(local)),
        Cost::Disk => &HEALTH,
        Cost::Fleet => &SNAPSHOT,
    };
    let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turns.acquire()).await else {
        return None;
    };
    // With the work and not with the request: who hangs up begins nothing more until it is done.
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        make(local)
    })
    .await;
    Some(made.map_err(Into::into).flatten())
}

fn busy(why: &str) -> Answer {
    let text = format!("{why}: come back in {RETRY_SECONDS} s\n");
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, text)
        .retry_after(RETRY_SECONDS)
        .unframed()
}

/// One who reads something large, until dropped.
struct Seat(IpAddr);

impl Seat {
    fn take(address: IpAddr) -> Option<Self> {
        let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
        // Not `then_some`: one that is not taken would be made, and leave.
        readers.enter(address).then(|| Self(address))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
        readers.leave(self.0);
    }
}

/// Who reads something large now. Pure.
#[derive(Debug)]
struct Readers(Vec<IpAddr>);

impl Readers {
    fn enter(&mut self, address: IpAddr) -> bool {
        let own = self.0.iter().filter(|other| **other == address).count();
        let room = self.0.len() < MAX_READERS && own < MAX_OF_ONE;
        if room {
            self.0.push(address);
        }
        room
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(at) = self.0.iter().position(|other| *other == address) {
            self.0.swap_remove(at);
        }
    }
}

static READERS: Mutex<Readers> = Mutex::new(Readers(Vec::new()));
/// One makes it, and the others find it made.
static SNAPSHOT: Semaphore = Semaphore::const_new(1);
/// It waits for nothing but the store, whoever looks at what.
static HEALTH: Semaphore = Semaphore::const_new(4);
/// For what is made before.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_SECONDS: u64 = 2;
/// A socket's buffer holds it, and hardly anybody keeps it for long.
const SMALL_BYTES: u64 = 256 * 1024;
/// Each may hold another snapshot: 35 MB with the largest fleet.
const MAX_READERS: usize = 8;
/// A page and a terminal.
const MAX_OF_ONE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_read_and_nobody_takes_all() {
        let mut readers = Readers(Vec::new());
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let mut enter = |last| readers.enter(address(last));
        assert_eq!([1, 1, 1].map(&mut enter), [true, true, false]);
        assert_eq!([2, 2, 3, 3, 4, 4].map(&mut enter), [true; 6]);
        assert!(!enter(5), "eight read");
        readers.leave(address(3));
        readers.leave(address(9));
        assert!(readers.enter(address(5)));
        assert_eq!(readers.0.len(), MAX_READERS);
    }
}
