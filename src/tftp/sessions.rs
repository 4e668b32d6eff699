//! Which transfers there may be: one a client's port, and an end to what strangers can pile up.
//!
//! When there are too many, what nobody has acknowledged for longest makes room: forgotten probes, made-up addresses,
//! machines that were switched off. What is being fetched goes on; if there is nothing else, the new one has to wait.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::packet::Request;

/// Each costs a socket and some 3 KiB. A rack of a thousand machines that are switched on at once is a quarter of it.
pub const MAX_SESSIONS: usize = 4096;
/// A Raspberry Pi has one at a time, and perhaps the probe before it; behind an address translator are more.
pub const MAX_SESSIONS_PER_ADDRESS: usize = 32;
/// Who acknowledges nothing for so long is not fetching: lost packets, or started anew if it asks for the same file.
const IDLE: Duration = Duration::from_secs(1);
/// A client ends a transfer and asks again from the same port: both packets are here at once, on two sockets.
const OVERTAKEN: Duration = Duration::from_millis(250);

/// How far a transfer is; written by it, read here.
#[derive(Debug)]
pub struct Pulse {
    opening: AtomicBool,
    progress_ms: AtomicU64,
}

impl Pulse {
    /// Of a transfer that begins.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            opening: AtomicBool::new(true),
            progress_ms: AtomicU64::new(millis(now)),
        }
    }

    /// Nothing of the file was acknowledged, or something was; when anything was last.
    pub fn beat(&self, opening: bool, progress: Duration) {
        self.opening.store(opening, Ordering::Relaxed);
        self.progress_ms.store(millis(progress), Ordering::Relaxed);
    }

    /// Nothing of the file was acknowledged yet.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.opening.load(Ordering::Relaxed)
    }

    fn progress(&self) -> Duration {
        Duration::from_millis(self.progress_ms.load(Ordering::Relaxed))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A transfer that runs, and what it takes to stop it.
#[derive(Debug)]
pub struct Session<T> {
    /// What the client asked for.
    pub name: String,
    /// How far it is.
    pub pulse: Arc<Pulse>,
    /// The shell's.
    pub handle: T,
    /// The client asked once more while it ran, and when.
    again: Option<(Request, Duration)>,
}

/// What a request means beside what runs.
#[derive(Debug)]
pub enum Place<T> {
    /// The client repeats itself; its transfer answers.
    Duplicate,
    /// It is new. What ran on that port is over: the client has left it.
    New(Option<T>),
}

/// Whether one more session fits in.
#[derive(Debug)]
pub enum Room<T> {
    /// It does.
    Free,
    /// It does, now that this client's is over.
    Made(SocketAddrV4, T),
    /// All are being fetched.
    Full,
}

/// All that run on one socket.
#[derive(Debug)]
pub struct Sessions<T> {
    by_client: BTreeMap<SocketAddrV4, Session<T>>,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self {
            by_client: BTreeMap::new(),
        }
    }
}

impl<T> Sessions<T> {
    /// Judges a request. A Raspberry Pi repeats one every 2 s from the same port until it is answered; a second session
    /// would send it everything twice.
    pub fn place(
        &mut self,
        client: SocketAddrV4,
        request: &Request,
        now: Duration,
    ) -> Place<Session<T>> {
        if let Some(session) = self.by_client.get_mut(&client) {
            let idle = now.saturating_sub(session.pulse.progress());
            let restarted = !session.pulse.is_opening() && idle >= IDLE;
            if session.name == request.name && !restarted {
                session.again = Some((request.clone(), now));
                return Place::Duplicate;
            }
        }
        Place::New(self.by_client.remove(&client))
    }

    /// Sees to it that one more fits in; asked before [`Sessions::insert`].
    pub fn make_room(&mut self, client: SocketAddrV4, now: Duration) -> Room<Session<T>> {
        let idlest = if self.of(*client.ip()).count() >= MAX_SESSIONS_PER_ADDRESS {
            idlest(self.of(*client.ip()), now)
        } else if self.by_client.len() >= MAX_SESSIONS {
            idlest(self.by_client.iter(), now)
        } else {
            return Room::Free;
        };
        idlest
            .and_then(|idle| Some(Room::Made(idle, self.by_client.remove(&idle)?)))
            .unwrap_or(Room::Full)
    }

    /// Puts in a session that begins.
    pub fn insert(&mut self, client: SocketAddrV4, session: Session<T>) {
        self.by_client.insert(client, session);
    }

    /// A session is over, unless `is_it` says that another one has its place by now. Gives a request that came so shortly
    /// before that the client must have meant a new transfer.
    pub fn remove(
        &mut self,
        client: SocketAddrV4,
        is_it: impl FnOnce(&T) -> bool,
        now: Duration,
    ) -> Option<Request> {
        self.by_client
            .get(&client)
            .filter(|session| is_it(&session.handle))?;
        let (request, at) = self.by_client.remove(&client)?.again?;
        (now.saturating_sub(at) < OVERTAKEN).then_some(request)
    }

    fn of(&self, address: Ipv4Addr) -> impl Iterator<Item = (&SocketAddrV4, &Session<T>)> {
        self.by_client
            .range(SocketAddrV4::new(address, 0)..=SocketAddrV4::new(address, u16::MAX))
    }
}

impl<T> Session<T> {
    /// One that begins.
    pub fn new(name: String, pulse: Arc<Pulse>, handle: T) -> Self {
        Self {
            name,
            pulse,
            handle,
            again: None,
        }
    }
}

fn idlest<'s, T: 's>(
    sessions: impl Iterator<Item = (&'s SocketAddrV4, &'s Session<T>)>,
    now: Duration,
) -> Option<SocketAddrV4> {
    let fetching =
        |pulse: &Pulse| !pulse.is_opening() && now.saturating_sub(pulse.progress()) < IDLE;
    sessions
        .filter(|(_, session)| !fetching(&session.pulse))
        .min_by_key(|(_, session)| session.pulse.progress())
        .map(|(client, _)| *client)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(host: u32, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + host), port)
    }

    fn request(name: &str) -> Request {
        Request {
            name: name.to_owned(),
            options: Default::default(),
        }
    }

    fn session(handle: u32, began: Duration) -> Session<u32> {
        Session::new("a".to_owned(), Arc::new(Pulse::new(began)), handle)
    }

    fn one(handle: u32) -> Sessions<u32> {
        let mut sessions = Sessions::default();
        sessions.insert(client(1, 1000), session(handle, SECOND));
        sessions
    }

    fn ended(place: Place<Session<u32>>) -> Option<Option<u32>> {
        match place {
            Place::Duplicate => None,
            Place::New(ended) => Some(ended.map(|session| session.handle)),
        }
    }

    #[test]
    fn one_session_a_port() {
        let now = 3 * SECOND;
        let mut sessions = one(7);
        for (client, name, expected) in [
            (client(1, 1000), "a", None),
            (client(1, 1001), "a", Some(None)),
            (client(2, 1000), "a", Some(None)),
            (client(1, 1000), "b", Some(Some(7))),
            (client(1, 1000), "a", Some(None)),
        ] {
            let place = sessions.place(client, &request(name), now);
            assert_eq!(ended(place), expected, "{client} {name}");
        }
    }

    #[test]
    fn a_client_that_was_started_anew_is_not_taken_for_a_repetition() {
        let mut sessions = one(7);
        let pulse = Arc::clone(&sessions.by_client[&client(1, 1000)].pulse);
        pulse.beat(false, 5 * SECOND);
        let mut place = |now| ended(sessions.place(client(1, 1000), &request("a"), now));
        assert_eq!(place(5 * SECOND + IDLE / 2), None, "it is fetching");
        assert_eq!(place(5 * SECOND + IDLE), Some(Some(7)));
    }

    #[test]
    fn a_request_that_overtook_the_end_is_kept() {
        let (port, at) = (client(1, 1000), 5 * SECOND);
        let ended_after = |wait| {
            let mut sessions = one(7);
            assert_eq!(ended(sessions.place(port, &request("a"), at)), None);
            sessions.remove(port, |handle| *handle == 7, at + wait)
        };
        assert_eq!(ended_after(Duration::ZERO), Some(request("a")));
        assert_eq!(ended_after(OVERTAKEN), None, "it was a repetition");
    }

    #[test]
    fn who_ends_late_takes_nobody_elses_place() {
        let mut sessions = one(8);
        let late = sessions.remove(client(1, 1000), |handle| *handle == 7, SECOND);
        assert_eq!(late, None);
        assert_eq!(sessions.by_client.len(), 1);
    }

    fn made(room: Room<Session<u32>>) -> Option<u32> {
        match room {
            Room::Made(_, session) => Some(session.handle),
            Room::Free => None,
            Room::Full => Some(u32::MAX),
        }
    }

    /// One address has all it may; the first is idle since 1 s, the others since 2 s.
    fn full() -> Sessions<u32> {
        let mut sessions = one(0);
        for (port, handle) in (2000..).zip(1..MAX_SESSIONS_PER_ADDRESS) {
            let handle = u32::try_from(handle).expect("small");
            let room = sessions.make_room(client(1, port), 2 * SECOND);
            assert_eq!(made(room), None, "{handle}");
            sessions.insert(client(1, port), session(handle, 2 * SECOND));
        }
        sessions
    }

    #[test]
    fn an_address_has_so_many_and_the_idlest_goes() {
        let mut sessions = full();
        // Somebody else's, idle for longer.
        sessions.insert(client(2, 1), session(99, Duration::ZERO));
        let room = sessions.make_room(client(1, 3000), 2 * SECOND);
        assert_eq!(made(room), Some(0));
        let of_one = sessions.of(Ipv4Addr::from(0x0a00_0001)).count();
        assert_eq!(of_one, MAX_SESSIONS_PER_ADDRESS - 1);
        assert_eq!(made(sessions.make_room(client(3, 1), 2 * SECOND)), None);
    }

    #[test]
    fn what_is_being_fetched_makes_no_room() {
        let mut sessions = full();
        for session in sessions.by_client.values() {
            session.pulse.beat(false, 9 * SECOND);
        }
        let mut room = |now| made(sessions.make_room(client(1, 3000), now));
        assert_eq!(room(9 * SECOND + IDLE / 2), Some(u32::MAX), "full");
        assert_eq!(room(9 * SECOND + IDLE), Some(0), "one has stopped");
    }

    #[test]
    fn all_together_are_bounded() {
        let mut sessions = Sessions::default();
        let mut ended = Vec::new();
        for host in 0..5000 {
            // Later hosts are idle for longer.
            let began = Duration::from_secs(10_000 - u64::from(host));
            ended.extend(made(sessions.make_room(client(host, 1), 10_000 * SECOND)));
            sessions.insert(client(host, 1), session(host, began));
            assert!(sessions.by_client.len() <= MAX_SESSIONS);
        }
        let first = u32::try_from(MAX_SESSIONS).expect("small") - 1;
        assert_eq!(ended, (first..4999).collect::<Vec<_>>());
    }
}
