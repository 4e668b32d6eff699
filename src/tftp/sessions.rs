//! Which transfers there may be: one a client's port, and an end to what strangers can pile up.
//!
//! An address has a share, which becomes smaller as places do ([`share`]); the last places are for machines that DHCP has heard
//! of. When there are too many, what nobody has acknowledged for longest makes room: forgotten probes, made-up addresses,
//! machines that were switched off. What is being fetched goes on, but for two: who has more than its share when all places are
//! taken, and a stranger in the place of a known machine. If there is nothing to end, the new one has to wait.

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
/// What strangers cannot have: a rack of half a thousand known machines finds room whoever else is there.
const FOR_KNOWN: usize = MAX_SESSIONS / 8;
/// Who acknowledges nothing for so long is not fetching: lost packets, or started anew if it asks for the same file.
const IDLE: Duration = Duration::from_secs(1);
/// A client ends a transfer and asks again from the same port: both packets are here at once, on two sockets.
const OVERTAKEN: Duration = Duration::from_millis(250);

/// How far a transfer is; written by it, read here.
#[derive(Debug)]
pub struct Pulse {
    /// DHCP has heard of the machine.
    known: AtomicBool,
    opening: AtomicBool,
    progress_ms: AtomicU64,
}

impl Pulse {
    /// Of a transfer that begins.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            known: AtomicBool::new(false),
            opening: AtomicBool::new(true),
            progress_ms: AtomicU64::new(millis(now)),
        }
    }

    /// Nothing of the file was acknowledged, or something was; when anything was last.
    pub fn beat(&self, opening: bool, progress: Duration) {
        self.opening.store(opening, Ordering::Relaxed);
        self.progress_ms.store(millis(progress), Ordering::Relaxed);
    }

    /// DHCP has heard of the machine.
    pub fn is_of_known(&self) {
        self.known.store(true, Ordering::Relaxed);
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

/// How many transfers an address may have while there are so many together.
#[must_use]
pub const fn share(together: usize) -> usize {
    match together {
        0..2048 => MAX_SESSIONS_PER_ADDRESS,
        2048..3072 => 8,
        // A Raspberry Pi's: a file, and the probe before it.
        _ => 2,
    }
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
    /// Those of one address stand side by side.
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

    /// Sees to it that one more fits in, of a machine that DHCP has heard of if it is `known`; asked before
    /// [`Sessions::insert`].
    pub fn make_room(
        &mut self,
        client: SocketAddrV4,
        known: bool,
        now: Duration,
    ) -> Room<Session<T>> {
        let together = self.by_client.len();
        let places = MAX_SESSIONS - if known { 0 } else { FOR_KNOWN };
        let leaves = if self.of(*client.ip()).count() >= share(together) {
            idlest(self.of(*client.ip()), now)
        } else if together >= places {
            let stranger = |(_, session): &(_, &Session<T>)| known && !session.is_known();
            idlest(
                self.by_client
                    .iter()
                    .filter(|(_, session)| known || !session.is_known()),
                now,
            )
            .or_else(|| self.greediest())
            .or_else(|| longest(self.by_client.iter().filter(stranger)))
        } else {
            return Room::Free;
        };
        leaves
            .and_then(|client| Some(Room::Made(client, self.by_client.remove(&client)?)))
            .unwrap_or(Room::Full)
    }

    /// How many run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// None runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Of the address that has most, if that is more than its share, the transfer that stands still for longest.
    fn greediest(&self) -> Option<SocketAddrV4> {
        let (mut most, mut whose) = (share(self.by_client.len()), None);
        let (mut count, mut before) = (0, None);
        for client in self.by_client.keys() {
            let address = Some(*client.ip());
            count = if address == before { count + 1 } else { 1 };
            before = address;
            if count > most {
                (most, whose) = (count, address);
            }
        }
        longest(self.of(whose?))
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

    fn is_known(&self) -> bool {
        self.pulse.known.load(Ordering::Relaxed)
    }
}

/// What stands still for longest of those that nobody fetches.
fn idlest<'s, T: 's>(
    sessions: impl Iterator<Item = (&'s SocketAddrV4, &'s Session<T>)>,
    now: Duration,
) -> Option<SocketAddrV4> {
    let fetching =
        |pulse: &Pulse| !pulse.is_opening() && now.saturating_sub(pulse.progress()) < IDLE;
    longest(sessions.filter(|(_, session)| !fetching(&session.pulse)))
}

fn longest<'s, T: 's>(
    sessions: impl Iterator<Item = (&'s SocketAddrV4, &'s Session<T>)>,
) -> Option<SocketAddrV4> {
    sessions
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
            let room = sessions.make_room(client(1, port), false, 2 * SECOND);
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
        let room = sessions.make_room(client(1, 3000), false, 2 * SECOND);
        assert_eq!(made(room), Some(0));
        let of_one = sessions.of(Ipv4Addr::from(0x0a00_0001)).count();
        assert_eq!(of_one, MAX_SESSIONS_PER_ADDRESS - 1);
        assert_eq!(
            made(sessions.make_room(client(3, 1), false, 2 * SECOND)),
            None
        );
    }

    #[test]
    fn what_is_being_fetched_makes_no_room() {
        let mut sessions = full();
        for session in sessions.by_client.values() {
            session.pulse.beat(false, 9 * SECOND);
        }
        let mut room = |now| made(sessions.make_room(client(1, 3000), false, now));
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
            let room = sessions.make_room(client(host, 1), false, 10_000 * SECOND);
            ended.extend(made(room));
            sessions.insert(client(host, 1), session(host, began));
            assert!(sessions.by_client.len() <= MAX_SESSIONS - FOR_KNOWN);
        }
        let first = u32::try_from(MAX_SESSIONS - FOR_KNOWN).expect("small") - 1;
        assert_eq!(ended, (first..4999).collect::<Vec<_>>());
    }

    /// Everything that fits in is fetched by `addresses` of a stranger, as much as each gets.
    fn taken_by(addresses: u32, now: Duration) -> Sessions<u32> {
        let mut sessions = Sessions::default();
        for handle in 0..40 * addresses {
            let port = 1 + u16::try_from(handle / addresses).expect("small");
            let client = client(1000 + handle % addresses, port);
            match sessions.make_room(client, false, now) {
                Room::Free => {
                    let session = session(handle, now);
                    session.pulse.beat(false, now);
                    sessions.insert(client, session);
                }
                Room::Full if sessions.len() == MAX_SESSIONS - FOR_KNOWN => break,
                Room::Full => {}
                Room::Made(..) => panic!("all are being fetched"),
            }
        }
        sessions
    }

    #[test]
    fn one_address_takes_no_more_than_its_share() {
        for (addresses, together) in [
            (1, 32),
            (8, 8 * 32),
            (63, 63 * 32),
            // From half of all on each gets eight, and then two.
            (128, 2048),
            (256, 2048),
            (1000, 3072),
            (1536, 3072),
            (1792, 2 * 1792),
            (5000, MAX_SESSIONS - FOR_KNOWN),
        ] {
            assert_eq!(taken_by(addresses, SECOND).len(), together, "{addresses}");
        }
    }

    #[test]
    fn a_stranger_finds_room_where_one_has_more_than_its_share() {
        let now = 100 * SECOND;
        let mut sessions = taken_by(100, now);
        // 100 addresses of a stranger have 20 each; others fill the rest.
        for host in 0..1536 {
            let room = sessions.make_room(client(5000 + host, 1), false, now);
            assert_eq!(made(room), None);
            let session = session(host, now);
            session.pulse.beat(false, now);
            sessions.insert(client(5000 + host, 1), session);
        }
        let Room::Made(left, _) = sessions.make_room(client(1, 1), false, now) else {
            panic!("no room");
        };
        assert!(
            (1000..1100).contains(&(u32::from(*left.ip()) - 0x0a00_0000)),
            "{left}"
        );
    }

    #[test]
    fn the_last_places_are_for_machines_that_are_known() {
        let now = 100 * SECOND;
        let mut sessions = taken_by(5000, now);
        assert_eq!(
            made(sessions.make_room(client(1, 1), false, now)),
            Some(u32::MAX)
        );
        // As many as there are places left, and some in strangers' places.
        let left = u32::try_from(FOR_KNOWN).expect("small");
        for host in 0..left + 50 {
            let client = client(10_000 + host, 1);
            match sessions.make_room(client, true, now) {
                Room::Free => assert!(sessions.len() < MAX_SESSIONS),
                Room::Made(_, left) => assert!(!left.is_known(), "a known one left for {host}"),
                Room::Full => panic!("no room for {host}"),
            }
            let pulse = Arc::new(Pulse::new(now));
            pulse.beat(false, now);
            pulse.is_of_known();
            sessions.insert(client, Session::new("a".to_owned(), pulse, host));
        }
        assert_eq!(sessions.len(), MAX_SESSIONS);
        let room = sessions.make_room(client(1, 1), false, now);
        assert_eq!(made(room), Some(u32::MAX));
    }

    /// Whoever floods with made-up addresses ends its own.
    #[test]
    fn who_acknowledges_stays_in_a_flood() {
        let mut sessions = one(7);
        let mut now = 2 * SECOND;
        for flood in 0..5000 {
            now += Duration::from_micros(100);
            let pulse = &sessions.by_client[&client(1, 1000)].pulse;
            pulse.beat(false, now);
            let client = client(1000 + flood, 1);
            if let Room::Made(_, session) = sessions.make_room(client, false, now) {
                assert_ne!(session.handle, 7);
            }
            sessions.insert(client, session(flood + 10, now));
        }
    }
}
