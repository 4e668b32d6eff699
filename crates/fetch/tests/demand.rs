//! What a program waits for, against a server that answers when the test says so: it is asked for at once, alone and as
//! urgent, and comes while everything else stands still. A base that lies about it is left for another.
#![expect(clippy::disallowed_methods, reason = "a shell's test: waits for it")]

#[expect(dead_code, reason = "one of its faults is enough here")]
mod common;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use common::{Fault, Image, PACE, serve};
use ramboot_fetch::engine::{Fetch, Pace, STREAMS};
use ramboot_fetch::event::Event;
use ramboot_fetch::order::{Order, Waits};
use ramboot_fetch::sources::Sources;
use ramboot_wire::profile::{Profile, Want};
use ramboot_wire::{Base, CHUNK_BYTES};

const CHUNKS: u64 = 41;
const SIZE: usize = 40 * 262_144 + 777;
/// A server that waits for the test is no server that stalls.
const PATIENT: Pace = Pace {
    patience: ramboot_fetch::http::Patience {
        connect: Duration::from_secs(10),
        stall: Duration::from_secs(60),
        piece: Duration::from_secs(60),
    },
    ..PACE
};

/// One request: which chunks, and its `Priority`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    chunks: Range<u64>,
    priority: Option<String>,
}

/// What a server was asked, and how many answers it may still give.
#[derive(Debug, Default)]
struct Desk {
    seen: Vec<Seen>,
    /// Requests that wait for an answer, by number.
    waiting: VecDeque<usize>,
    answered: Vec<usize>,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Held {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Held {
    fn until(&self, is_so: impl Fn(&Desk) -> bool) -> Vec<Seen> {
        let (desk, time) = self
            .changed
            .wait_timeout_while(
                self.desk.lock().expect("lock"),
                Duration::from_secs(60),
                |desk| !is_so(desk),
            )
            .expect("lock");
        assert!(!time.timed_out(), "{desk:?}");
        desk.seen.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Desk)) {
        change(&mut self.desk.lock().expect("lock"));
        self.changed.notify_all();
    }

    /// Waits for leave to answer what was asked.
    fn ask(&self, seen: Seen) {
        let mut number = 0;
        self.change(|desk| {
            number = desk.seen.len();
            desk.seen.push(seen);
            desk.waiting.push_back(number);
        });
        drop(
            self.changed
                .wait_while(self.desk.lock().expect("lock"), |desk| {
                    !desk.is_open && !desk.answered.contains(&number)
                })
                .expect("lock"),
        );
    }
}

fn held(image: &Arc<Image>) -> (Base, Arc<Held>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let held = Arc::new(Held::default());
    let (image, desk) = (Arc::clone(image), Arc::clone(&held));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (image, desk) = (Arc::clone(&image), Arc::clone(&desk));
            thread::spawn(move || while one(&stream, &image, &desk).is_some() {});
        }
    });
    (format!("http://{addr}").parse().expect("a base"), held)
}

fn one(mut stream: &TcpStream, image: &Image, held: &Held) -> Option<()> {
    let (mut range, mut priority) = (None, None);
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next()?.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("Range: bytes=") {
            let (first, last) = text.split_once('-')?;
            range = Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?));
        }
        if let Some(text) = line.strip_prefix("Priority: ") {
            priority = Some(text.to_owned());
        }
    }
    let (first, last) = range?;
    held.ask(Seen {
        chunks: first / CHUNK_BYTES..(last + 1).div_ceil(CHUNK_BYTES),
        priority,
    });
    let at = |byte: u64| usize::try_from(byte).expect("small");
    let body = image.bytes.get(at(first)..=at(last))?;
    let head = format!(
        "HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{last}/{}\r\nContent-Length: {}\r\n\r\n",
        image.bytes.len(),
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}

/// Nothing is hot but the first and the last chunk.
fn order() -> Order {
    let count = usize::try_from(CHUNKS).expect("small");
    let profile = Profile::new(vec![Want::Cold; count]);
    let order = Order::stream(CHUNKS, Waits::Hot, Some(&profile), &(0..0));
    order.only(|index| index != 0 && index != CHUNKS - 1)
}

/// Runs a fetch of `order` while `with` looks at it; then everything must have come.
fn fetching(
    image: &Image,
    bases: &[Base],
    pace: Pace,
    with: impl FnOnce(&Fetch<'_>),
) -> Vec<Event> {
    let (list, mut bytes) = (image.chunks(), vec![0; SIZE]);
    let mut sources = Sources::new(bases, pace.retry, pace.retry_cap);
    let told = Mutex::new(Vec::new());
    let tell = |event| told.lock().expect("lock").push(event);
    let fetch = Fetch::new(&list, order(), &mut sources, &mut bytes, pace, &tell)
        .expect("room")
        .on_demand();
    thread::scope(|scope| {
        let run = scope.spawn(|| fetch.run());
        with(&fetch);
        run.join()
            .expect("no panic")
            .expect("a server cannot fail it");
    });
    assert!(fetch.is_here(0..CHUNKS));
    assert_eq!(fetch.good(), fetch.wanted());
    drop(fetch);
    let chunk = usize::try_from(CHUNK_BYTES).expect("small");
    // The first and the last were there before, for all the fetch knows.
    assert!(bytes[chunk..40 * chunk] == image.bytes[chunk..40 * chunk]);
    told.into_inner().expect("lock")
}

#[test]
fn what_a_program_waits_for_is_asked_for_at_once_and_alone() {
    let image = Image::new(SIZE);
    let (base, held) = held(&image);
    fetching(&image, &[base], PATIENT, |fetch| {
        fetch.fill(STREAMS);
        let begun = held.until(|desk| desk.seen.len() == STREAMS);
        let background = Some("u=6".to_owned());
        assert!(
            begun.iter().all(|seen| seen.priority == background),
            "{begun:?}"
        );
        assert!(
            begun.iter().all(|seen| !seen.chunks.contains(&37)),
            "{begun:?}"
        );
        assert_eq!(fetch.demand(37..38), 1);
        assert_eq!(fetch.demand(37..38), 0, "it is on its way");
        let asked = held.until(|desk| desk.seen.len() > STREAMS);
        let urgent = Seen {
            chunks: 37..38,
            priority: Some("u=1".to_owned()),
        };
        assert_eq!(asked.last(), Some(&urgent));
        // It comes although everything else stands still.
        held.change(|desk| desk.answered.push(STREAMS));
        while !fetch.is_here(37..38) {
            fetch.await_arrival(fetch.count_done(), Duration::from_millis(50));
        }
        assert_eq!(fetch.good(), CHUNK_BYTES);
        held.change(|desk| desk.is_open = true);
    });
}

#[test]
fn nothing_else_comes_before_somebody_says_how_much() {
    let image = Image::new(SIZE);
    let (base, held) = held(&image);
    fetching(&image, &[base], PATIENT, |fetch| {
        fetch.demand(37..38);
        held.until(|desk| desk.seen.len() == 1);
        held.change(|desk| desk.answered.push(0));
        while !fetch.is_here(37..38) {
            fetch.await_arrival(fetch.count_done(), Duration::from_millis(50));
        }
        // All streams have looked again since, and wait.
        fetch.fill(1);
        held.until(|desk| desk.seen.len() == 2);
        held.change(|desk| desk.answered.push(1));
        let begun = held.until(|desk| desk.seen.len() == 3);
        let of = |n: usize| begun.get(n).map(|seen| seen.chunks.clone());
        assert_eq!(of(0), Some(37..38));
        let (first, second) = (of(1).expect("asked"), of(2).expect("asked"));
        assert_eq!((first.start, second.start), (1, first.end), "one stream");
        fetch.fill(STREAMS);
        held.until(|desk| desk.seen.len() == 2 + STREAMS);
        held.change(|desk| desk.is_open = true);
    });
}

#[test]
fn a_lie_about_what_a_program_waits_for_is_refused_and_fetched_elsewhere() {
    let image = Image::new(SIZE);
    let (liar, _) = serve(&image, &[Fault::Flip; 1000]);
    let (honest, held) = held(&image);
    let told = fetching(&image, &[liar.clone(), honest], PATIENT, |fetch| {
        fetch.demand(20..22);
        // Only the honest one waits for the test; whatever the liar sends is no chunk.
        held.until(|desk| desk.seen.iter().any(|seen| seen.chunks.contains(&20)));
        assert!(!fetch.is_here(20..21));
        held.change(|desk| desk.is_open = true);
        fetch.fill(STREAMS);
        while !fetch.is_here(20..22) {
            fetch.await_arrival(fetch.count_done(), Duration::from_millis(50));
        }
    });
    let lies: Vec<String> = told
        .iter()
        .filter_map(|event| match event {
            Event::Bad(bad) => Some(bad.to_string()),
            _ => None,
        })
        .collect();
    let most = STREAMS + 1;
    assert!(
        (1..=most).contains(&lies.len()),
        "one a stream at most: {lies:?}"
    );
    assert!(
        lies.iter().all(|lie| lie.starts_with(&liar.to_string())),
        "{lies:?}"
    );
}
