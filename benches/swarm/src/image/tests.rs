//! One machine's fetch against a server on loopback that keeps it waiting, hangs up, lies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ramboot_wire::image::{CHUNK_LEN, chaining_value, fold};
use ramboot_wire::{Base, BootArgs, ChunkList};

use crate::machine::Machine;
use crate::stage::{Log, Stage};
use crate::world::World;
use crate::{Hot, Plan};

const CHUNKS: usize = 9;
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\nramboot-queue: 3/17\r\ncontent-length: 5\r\n";

/// What the server does to the requests that come first, one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Wait,
    /// Before any request, as at a connection cap.
    Refuse,
    HangUp,
    Lie,
}

struct Server {
    addr: SocketAddrV4,
    image: Arc<Vec<u8>>,
    asked: Arc<Asked>,
}

/// The heads of all requests for chunks, in the order they came.
struct Asked {
    heads: Mutex<Vec<String>>,
    came: Condvar,
    /// Who is in no hurry (`u=6`) is answered when so many urgent ones (`u=1`) have asked.
    urgent_first: usize,
}

impl Asked {
    fn note(&self, head: String) {
        let waits = head.contains("\r\nPriority: u=6\r\n");
        let mut heads = self.heads.lock().expect("no panic");
        heads.push(head);
        self.came.notify_all();
        let urgent = |heads: &Vec<String>| {
            let urgent = |head: &&String| head.contains("\r\nPriority: u=1\r\n");
            heads.iter().filter(urgent).count()
        };
        let too_few = |heads: &mut Vec<String>| waits && urgent(heads) < self.urgent_first;
        drop(self.came.wait_while(heads, too_few).expect("no panic"));
    }
}

impl Server {
    fn start(turns: &[Turn]) -> Self {
        Self::start_with(turns, 0)
    }

    fn start_with(turns: &[Turn], urgent_first: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let SocketAddr::V4(addr) = listener.local_addr().expect("address") else {
            panic!("bound to IPv4");
        };
        let image: Vec<u8> = (0..CHUNKS * CHUNK_LEN - 77)
            .map(|i| (i * i).to_le_bytes()[1])
            .collect();
        let (image, asked) = (
            Arc::new(image),
            Arc::new(Asked {
                heads: Mutex::default(),
                came: Condvar::new(),
                urgent_first,
            }),
        );
        let turns = Arc::new(Mutex::new(turns.to_vec()));
        let server = Self {
            addr,
            image: Arc::clone(&image),
            asked: Arc::clone(&asked),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (image, asked, turns) =
                    (Arc::clone(&image), Arc::clone(&asked), Arc::clone(&turns));
                // A client that hung up is no fault here.
                thread::spawn(move || serve(stream?, &image, &asked, &turns));
            }
        });
        server
    }

    /// What a machine noted that fetched from it.
    fn fetched(&self, prefer_wait: bool) -> Log {
        self.fetched_by(Plan {
            prefer_wait,
            ..Plan::default()
        })
    }

    fn fetched_by(&self, plan: Plan) -> Log {
        let plan = Plan { sample: 1, ..plan };
        let values: Vec<_> = self
            .image
            .chunks(CHUNK_LEN)
            .zip(0..)
            .map(|(chunk, i)| chaining_value(i, chunk))
            .collect();
        let (id, size) = (fold(&values).expect("few"), self.image.len() as u64);
        let list = ChunkList::prove(id, size, &values.concat()).expect("proves");
        let args = BootArgs {
            image: id,
            size,
            bases: vec![Base {
                addr: self.addr,
                prefix: String::new(),
            }],
            overlay: None,
            tmpfs: Vec::new(),
            hostname: None,
            files: None,
            debug: false,
            heartbeat: true,
            deadline: None,
            bootif: None,
            streaming: None,
            boot: None,
        };
        let machine = Machine::new(Rc::new(World::without_firmware(plan)), 1);
        machine.log.borrow_mut().address = Some(Ipv4Addr::LOCALHOST);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime
            .block_on(machine.image(&list, &args))
            .expect("fetched");
        let log = machine.log.take();
        assert_eq!(log.verified, CHUNKS as u64);
        assert_eq!(log.image_bytes, size);
        log
    }
}

fn serve(
    mut stream: TcpStream,
    image: &[u8],
    asked: &Asked,
    turns: &Mutex<Vec<Turn>>,
) -> std::io::Result<()> {
    let next = |wanted: fn(&Turn) -> bool| {
        let mut turns = turns.lock().expect("no panic");
        let first = turns.first().copied().filter(wanted);
        if first.is_some() {
            turns.remove(0);
        }
        first
    };
    if next(|turn| *turn == Turn::Refuse).is_some() {
        write!(stream, "{BUSY}connection: close\r\n\r\nbusy\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        return stream.read_to_end(&mut Vec::new()).map(drop);
    }
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.contains("/profile ") {
            write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            )?;
            continue;
        }
        let range = head
            .split("bytes=")
            .nth(1)
            .and_then(|text| text.split_once('-'));
        let (first, last) = range.expect("a range");
        let last = last.split('\r').next().expect("digits");
        let (first, last): (usize, usize) =
            (first.parse().expect("first"), last.parse().expect("last"));
        asked.note(head);
        let mut body = image[first..=last].to_vec();
        match next(|turn| *turn != Turn::Refuse) {
            Some(Turn::Wait) => {
                write!(stream, "{BUSY}\r\nbusy\n")?;
                continue;
            }
            Some(Turn::HangUp) => return Ok(()),
            Some(Turn::Lie) => body[CHUNK_LEN / 2] ^= 1,
            _ => {}
        }
        let len = body.len();
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {len}\r\ncontent-range: bytes {first}-{last}/{}\r\n\r\n",
            image.len()
        )?;
        stream.write_all(&body)?;
    }
}

#[test]
fn who_is_told_to_wait_waits_and_has_not_failed() {
    let server = Server::start(&[Turn::Wait; 6]);
    let log = server.fetched(true);
    assert_eq!((log.told_to_wait, log.faults.len()), (6, 0));
    assert_eq!(log.first_place.expect("a place").to_string(), "3/17");
    let stages: Vec<_> = log.spans.iter().map(|span| span.stage).collect();
    assert_eq!(stages, [Stage::Queue, Stage::Image]);
    let heads = server.asked.heads.lock().expect("no panic");
    assert!(
        heads
            .iter()
            .all(|head| head.contains("\r\nPrefer: wait=1\r\n")),
        "{heads:?}"
    );
    // Four streams ask at first; then one finds out for all. Runs are of one chunk towards the end.
    assert_eq!(heads.len(), 6 + CHUNKS);
}

/// How urgent each request said it was.
fn urgencies(server: &Server) -> Vec<u8> {
    let heads = server.asked.heads.lock().expect("no panic");
    heads
        .iter()
        .map(|head| head.split("\r\nPriority: u=").nth(1).expect("a priority"))
        .map(|rest| rest.as_bytes()[0] - b'0')
        .collect()
}

/// Four of the nine chunks are hot.
fn streaming(demand_each: Duration) -> Plan {
    Plan {
        hot: Some(Hot::Percent(34)),
        demands: 2,
        demand_each,
        ..Plan::default()
    }
}

#[test]
fn who_streams_fetches_what_is_hot_and_runs_and_then_the_rest() {
    // Nothing of the rest is there before both demands were made.
    let server = Server::start_with(&[], 4 + 2);
    let log = server.fetched_by(streaming(Duration::ZERO));
    let stages: Vec<_> = log.spans.iter().map(|span| span.stage).collect();
    assert_eq!(
        stages,
        [Stage::Queue, Stage::Image, Stage::Runs, Stage::Rest]
    );
    let runs = log.runs.expect("it ran");
    assert!((log.spans[1].to..=log.spans[2].from).contains(&runs));
    let urgencies = urgencies(&server);
    // What a program is blocked on is as urgent as what is hot, among the rest.
    let (hot, rest) = urgencies.split_at(4);
    assert_eq!(hot, [1; 4]);
    let blocked = rest.iter().filter(|urgency| **urgency == 1).count();
    assert_eq!((blocked, rest.len()), (2, 5), "{urgencies:?}");
    assert_eq!(log.demands.len(), 2);
}

#[test]
fn nobody_is_blocked_when_the_rest_is_there() {
    let server = Server::start(&[]);
    let log = server.fetched_by(streaming(Duration::from_secs(1_000_000)));
    assert_eq!(urgencies(&server), [1, 1, 1, 1, 6, 6, 6, 6, 6]);
    assert_eq!(log.demands.len(), 0);
}

#[test]
fn a_full_server_turns_away_before_it_is_asked() {
    let server = Server::start(&[Turn::Refuse; 3]);
    let log = server.fetched(false);
    assert_eq!(
        (log.told_to_wait, log.faults.len()),
        (3, 0),
        "{:?}",
        log.faults
    );
    let heads = server.asked.heads.lock().expect("no panic");
    assert!(
        !heads.iter().any(|head| head.contains("Prefer")),
        "{heads:?}"
    );
}

#[test]
fn what_fails_is_noted_and_asked_again() {
    let log = Server::start(&[Turn::HangUp, Turn::Lie]).fetched(true);
    let faults: Vec<_> = log.faults.iter().collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].0.contains("connection ended in a head"),
        "{faults:?}"
    );
    assert!(
        faults[1].0.contains("the bytes are not the image's"),
        "{faults:?}"
    );
}
