//! A server on loopback that follows its script: one thread for the listener, one for each connection, all joined.
//!
//! Each has an address of its own in 127.0.0.0/8, so that a port that is closed for a while stays its own.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ramboot_fetch::http::Patience;
use ramboot_wire::image::CHUNK_LEN;
use rustix::net::{Shutdown, shutdown};
use socket2::SockRef;

use crate::answer::{Answer, Ask, Speed, Then, answer};
use crate::fault::Fault;
use crate::image::Image;
use crate::universe::{End, Script};

/// What a server did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// Requests, the good ones too.
    pub(crate) asked: u64,
    /// Faults that requests met, and whether for the chunk list.
    pub(crate) met: Vec<(Fault, bool)>,
    /// Whole chunks sent with a wrong bit.
    pub(crate) flipped: u64,
    /// Their bytes.
    pub(crate) wasted: u64,
    /// Chunks that were, or were about to be, sent whole and right.
    pub(crate) good: BTreeSet<usize>,
}

#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    image: Arc<Image>,
    elsewhere: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    faults: VecDeque<Fault>,
    end: End,
    /// Connections still to be reset.
    vanish: u64,
    away: Option<Instant>,
    stop: bool,
    listener: Option<Arc<TcpListener>>,
    connections: Vec<Weak<TcpStream>>,
    done: Done,
}

impl Server {
    /// `elsewhere` is where redirects lead to.
    pub(crate) fn start(image: &Arc<Image>, script: &Script, elsewhere: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let ip = Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + number);
        // Bound for a moment: a port that is free, even if nobody will listen there.
        let listener = TcpListener::bind((ip, 0)).expect("a port on loopback");
        let single = image.size <= CHUNK_LEN;
        let possible = script.faults.iter().filter(|f| f.applies(true, single));
        let state = State {
            faults: possible.copied().collect(),
            end: script.end,
            vanish: 0,
            away: None,
            stop: false,
            listener: None,
            connections: Vec::new(),
            done: Done::default(),
        };
        let shared = Arc::new(Shared {
            addr: listener.local_addr().expect("bound"),
            image: Arc::clone(image),
            elsewhere: elsewhere.to_owned(),
            changed: Condvar::new(),
            state: Mutex::new(state),
        });
        let up = shared.is_up(&mut shared.lock()).then_some(listener);
        if let Some(listener) = up {
            shared.lock().listener = Some(Arc::new(listener));
        }
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.listen())
        };
        Self { shared, thread }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Honest from now on, after the faults that are left.
    pub(crate) fn heal(&self) {
        self.shared.lock().end = End::Honest;
        self.shared.changed.notify_all();
    }

    pub(crate) fn done(&self) -> Done {
        self.shared.lock().done.clone()
    }

    /// Ends its threads and says what they did.
    pub(crate) fn stop(self) -> Done {
        let mut state = self.shared.lock();
        state.stop = true;
        state.hang_up();
        drop(state);
        self.shared.changed.notify_all();
        self.thread.join().expect("no thread of a server panics");
        self.shared.lock().done.clone()
    }
}

impl State {
    /// Ends all connections and the listening.
    fn hang_up(&mut self) {
        for stream in self.connections.drain(..).filter_map(|weak| weak.upgrade()) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        self.close();
    }

    /// Ends the listening only. accept(2) returns, and from now on connections are refused.
    fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            shutdown(&listener, Shutdown::Both).ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of a server panics")
    }

    fn is_up(&self, state: &mut State) -> bool {
        state.away.take_if(|until| *until <= Instant::now());
        state.away.is_none() && (state.end != End::Dead || !state.faults.is_empty())
    }

    /// Until it is stopped.
    fn listen(self: &Arc<Self>) {
        let mut threads = Vec::new();
        while let Some(listener) = self.listener() {
            while let Ok((stream, _)) = listener.accept() {
                let stream = Arc::new(stream);
                if let Some(weak) = self.take(&stream) {
                    let connections = &mut self.lock().connections;
                    connections.retain(|weak| weak.strong_count() > 0);
                    connections.push(weak);
                    // A thread that nobody joins keeps its stack.
                    threads.retain(|thread: &JoinHandle<()>| !thread.is_finished());
                    let shared = Arc::clone(self);
                    threads.push(thread::spawn(move || shared.serve(stream)));
                }
            }
            let mut state = self.lock();
            state.close();
        }
        for thread in threads {
            thread.join().expect("no thread of a server panics");
        }
    }

    /// Waits until it may listen; `None` when it is stopped.
    fn listener(&self) -> Option<Arc<TcpListener>> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            if let Some(listener) = &state.listener {
                return Some(Arc::clone(listener));
            }
            if self.is_up(&mut state) {
                let listener = TcpListener::bind(self.addr).expect("its own address");
                state.listener = Some(Arc::new(listener));
                continue;
            }
            let time = state.away.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(Instant::now())
            });
            state = self
                .changed
                .wait_timeout(state, time.min(LONG))
                .expect("no thread of a server panics")
                .0;
        }
    }

    /// Whether this connection is served.
    fn take(&self, stream: &Arc<TcpStream>) -> Option<Weak<TcpStream>> {
        let mut state = self.lock();
        if state.vanish > 0 {
            state.vanish -= 1;
            reset(stream);
            return None;
        }
        (!state.stop && state.listener.is_some()).then(|| Arc::downgrade(stream))
    }

    fn serve(&self, stream: Arc<TcpStream>) {
        stream.set_nodelay(true).ok();
        let mut requests = BufReader::new(&*stream);
        while let Some(ask) = Ask::read(&mut requests) {
            let Some(fault) = self.next(&ask) else { return };
            if self.answer(&stream, &ask, fault) != Some(()) {
                return;
            }
        }
    }

    /// What this request meets; `None` when nobody is there any more.
    fn next(&self, ask: &Ask) -> Option<Option<Fault>> {
        let mut state = self.lock();
        let whole = ask.range == Some((0, self.image.size - 1));
        let applies = |fault: &Fault| fault.applies(ask.range.is_some(), whole);
        state.done.asked += 1;
        let scripted = match state.faults.front() {
            Some(fault) if applies(fault) => state.faults.pop_front(),
            _ => None,
        };
        let fault = match (scripted, state.end) {
            (Some(fault), _) => Some(fault),
            (None, End::Always(fault)) if state.faults.is_empty() && applies(&fault) => Some(fault),
            (None, End::Dead) if state.faults.is_empty() => {
                state.close();
                return None;
            }
            (None, _) => None,
        };
        if let Some(fault) = fault {
            state.done.met.push((fault, ask.is_list()));
        }
        match fault {
            Some(Fault::Vanish { connections }) => state.vanish = connections,
            Some(Fault::Away { ms }) => {
                state.away = Some(Instant::now() + Duration::from_millis(ms));
                state.hang_up();
            }
            _ => {}
        }
        Some(fault)
    }

    /// `None` ends the connection.
    fn answer(&self, mut stream: &TcpStream, ask: &Ask, fault: Option<Fault>) -> Option<()> {
        let file = if ask.is_list() {
            &self.image.list
        } else {
            self.image.bytes()
        };
        let answer = answer(ask, file.len(), fault, &self.elsewhere);
        stream.write_all(&answer.head).ok()?;
        self.body(stream, file, &answer, ask.is_list())?;
        stream.write_all(answer.tail).ok()?;
        match answer.then {
            Then::Next => return Some(()),
            Then::Close => {}
            Then::Reset => reset(stream),
            Then::Silence => {
                // Until the peer goes, or the universe ends.
                while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
            }
            Then::Flood => while stream.write_all(&[b'x'; 512]).is_ok() {},
        }
        None
    }

    /// Chunk by chunk, so that it is known what was sent whole.
    fn body(&self, stream: &TcpStream, file: &[u8], answer: &Answer, is_list: bool) -> Option<()> {
        let mut at = answer.body.start;
        let mut lied = false;
        while at < answer.body.end {
            let chunk = at / CHUNK_LEN;
            let (start, end) = (chunk * CHUNK_LEN, (chunk + 1) * CHUNK_LEN);
            let here = at..end.min(answer.body.end);
            let whole = !is_list && here == (start..end.min(file.len()));
            match answer.flip.filter(|flip| here.contains(flip)) {
                None => {
                    if whole {
                        self.lock().done.good.insert(chunk);
                    }
                    send(stream, &file[here.clone()], answer.speed)?;
                }
                Some(flip) => {
                    send(stream, &file[here.start..flip], answer.speed)?;
                    send(stream, &[file[flip] ^ 0x10], answer.speed)?;
                    send(stream, &file[flip + 1..here.end], answer.speed)?;
                    // Nobody reads on after a wrong chunk.
                    if whole && !lied {
                        let done = &mut self.lock().done;
                        done.flipped += 1;
                        done.wasted += here.len() as u64;
                    }
                    lied = true;
                }
            }
            at = here.end;
        }
        Some(())
    }
}

fn send(mut stream: &TcpStream, bytes: &[u8], speed: Speed) -> Option<()> {
    let (piece, pause) = match speed {
        Speed::Full => return stream.write_all(bytes).ok(),
        Speed::Slow => (bytes.len().div_ceil(4).max(1), Duration::from_millis(3)),
        Speed::Trickle => (1, PATIENT.stall / 10),
    };
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).ok()?;
        thread::sleep(pause);
    }
    Some(())
}

/// What is sent when the last handle is dropped is RST.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
}

/// Where somebody stalls. With 200 ms, one universe in eighty was late on two cores with ten times their load.
pub(crate) const PATIENT: Patience = Patience {
    connect: Duration::from_secs(10),
    stall: Duration::from_millis(1500),
    piece: Duration::from_millis(2000),
};

const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const LONG: Duration = Duration::from_secs(3600);
static NEXT: AtomicU32 = AtomicU32::new(0);
