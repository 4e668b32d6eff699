//! The fetch against servers that fail, stall and lie. Whatever they do, the file becomes the image and nothing else
//! ever stands in it; what each of them costs is predicted. Mixtures of them are in `universes`.
#![expect(clippy::disallowed_methods, reason = "a shell's test: waits for it")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::{FAULTS, Fault, Image, PACE, serve};
use ramboot_fetch::chunk_list::fetch_list;
use ramboot_fetch::engine::{Counts, STREAMS, fetch};
use ramboot_fetch::event::Event;
use ramboot_fetch::http::{ByteRange, Connection, HttpError};
use ramboot_fetch::sources::Sources;
use ramboot_wire::{Base, CHUNK_BYTES, ChunkList};

const SIZE: usize = 40 * 262_144 + 777;

fn sources(bases: &[Base]) -> Sources {
    Sources::new(bases, PACE.retry, PACE.retry_cap)
}

fn list(image: &Image, bases: &[Base], tell: &(dyn Fn(Event) + Sync)) -> (ChunkList, u64) {
    let mut sources = sources(bases);
    let size = image.bytes.len() as u64;
    let list = fetch_list(image.id, size, &mut sources, PACE, tell).expect("some base has it");
    (list, Counts::of(&sources).retries)
}

/// Fetches and compares; gives the costs and what was told.
fn run(image: &Image, bases: &[Base]) -> (Counts, Vec<Event>) {
    let mut room = vec![0; image.bytes.len()];
    let mut sources = sources(bases);
    let told = Mutex::new(Vec::new());
    let tell = |event| told.lock().expect("lock").push(event);
    fetch(&image.chunks(), &mut sources, &mut room, PACE, &tell).expect("a server cannot fail it");
    assert!(room == image.bytes, "the file is not the image");
    (Counts::of(&sources), told.into_inner().expect("lock"))
}

#[test]
fn an_honest_server_costs_nothing_extra() {
    let image = Image::new(SIZE);
    let (base, _) = serve(&image, &[]);
    let (counts, _) = run(&image, &[base]);
    let bytes = SIZE as u64;
    assert_eq!(
        counts,
        Counts {
            bytes,
            retries: 0,
            bad: 0
        }
    );
}

#[test]
fn every_fault_costs_one_retry_and_at_most_one_chunk() {
    let image = Image::new(SIZE);
    for fault in FAULTS {
        let (base, left) = serve(&image, &[fault; 3]);
        let (counts, _) = run(&image, &[base]);
        assert!(left.lock().expect("lock").is_empty(), "{fault:?} was met");
        assert_eq!(counts.retries, 3, "{fault:?}");
        assert_eq!(
            counts.bad,
            if fault == Fault::Flip { 3 } else { 0 },
            "{fault:?}"
        );
        let extra = counts.bytes - SIZE as u64;
        assert!(extra <= 3 * CHUNK_BYTES, "{fault:?}: {extra} bytes extra");
    }
}

#[test]
fn a_base_that_always_lies_is_left_for_another_and_named() {
    let image = Image::new(SIZE);
    let (liar, _) = serve(&image, &[Fault::Flip; 1000]);
    let (honest, _) = serve(&image, &[]);
    let (counts, told) = run(&image, &[liar.clone(), honest]);
    // A stream that comes to its first question after another was lied to never asks the liar.
    assert!(
        (1..=STREAMS as u64).contains(&counts.bad),
        "at most one bad chunk a stream, then never again: {}",
        counts.bad
    );
    for event in told {
        if let Event::Bad(bad) = event {
            let text = bad.to_string();
            assert!(text.starts_with(&format!("{liar}: chunk ")), "{text}");
            assert!(text.contains(" of 41: digest "), "{text}");
        }
    }
}

#[test]
fn waiting_is_visible_and_ends_when_the_server_is_back() {
    let image = Image::new(SIZE);
    let dead: Base = "http://127.0.0.1:1".parse().expect("base");
    let (late, faults) = serve(&image, &[Fault::Status(503); 40]);
    let (_, told) = run(&image, &[dead.clone(), late]);
    assert!(faults.lock().expect("lock").is_empty());
    let waits = |event: &Event| matches!(event, Event::Wait(wait) if wait.what.to_string().starts_with("http://127.0.0.1:"));
    assert!(told.iter().any(waits), "{told:?}");
}

#[test]
fn busy_for_a_while_costs_time_and_nothing_else() {
    let image = Image::new(SIZE);
    let for_ever = "99999999999999999999";
    let busy = [
        "0",
        "1",
        for_ever,
        "-1",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "",
    ]
    .map(Fault::Busy);
    let (base, left) = serve(&image, &busy.repeat(3));
    let (counts, told) = run(&image, std::slice::from_ref(&base));
    assert!(left.lock().expect("lock").is_empty(), "all were met");
    let bytes = SIZE as u64;
    assert_eq!((counts.bytes, counts.retries, counts.bad), (bytes, 0, 0));
    let turn = format!("waiting for our turn: 3rd of 17 at {base}, asking ");
    let says = |event: &Event| event.to_string().starts_with(&turn);
    assert!(told.iter().any(says), "{told:?}");
}

#[test]
fn a_chunk_list_that_does_not_prove_is_asked_of_another_base() {
    let (image, foreign) = (Image::new(SIZE), Image::new(SIZE + 9));
    for fault in FAULTS
        .into_iter()
        .filter(|f| !matches!(f, Fault::WrongRange | Fault::IgnoreRange))
    {
        let (liar, _) = serve(&image, &[fault]);
        let (honest, _) = serve(&image, &[]);
        let found = list(&image, &[liar, honest], &|_| {});
        assert_eq!(found, (image.chunks(), 1), "{fault:?}");
    }
    let (other, _) = serve(&foreign, &[]);
    let (late, _) = serve(&image, &[Fault::Status(404)]);
    let told = Mutex::new(Vec::new());
    let tell = |event| told.lock().expect("lock").push(event);
    let (found, retries) = list(&image, &[other, late], &tell);
    assert_eq!(found, image.chunks());
    assert!(retries >= 2, "{retries}");
    let told = told.into_inner().expect("lock");
    let waits = |event: &Event| matches!(event, Event::Wait(wait) if wait.to_string().contains("status 404"));
    assert!(told.iter().any(waits), "{told:?}");
}

/// A peer that answers each request on one connection with the next of these, and gives the requests.
fn scripted(answers: &'static [&'static str]) -> (Base, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("one worker");
        let mut lines = BufReader::new(&stream).lines();
        let mut requests = Vec::new();
        for answer in answers {
            let request = lines.by_ref().map_while(Result::ok);
            let fields: Vec<String> = request.take_while(|line| !line.is_empty()).collect();
            requests.push(fields.join("|"));
            (&stream).write_all(answer.as_bytes()).expect("answers");
        }
        requests
    });
    (format!("http://{addr}").parse().expect("a base"), thread)
}

#[test]
fn who_waits_for_its_turn_says_so_and_keeps_its_connection() {
    let (base, peer) = scripted(&[
        "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nramboot-queue: 3/17\r\nContent-Length: 5\r\n\r\nlater",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-3/9\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 99999\r\n\r\n",
    ]);
    let mut connection = Connection::open(&base, PACE.patience).expect("connects");
    let range = ByteRange {
        first: 1,
        len: 3,
        total: 9,
    };
    let busy = connection.get_range("/x", range, None).expect_err("busy");
    let HttpError::Busy { after, place, .. } = busy else {
        panic!("{busy:?}");
    };
    assert_eq!(after, Duration::from_secs(7));
    assert_eq!(place.map(|place| place.to_string()), Some("3/17".into()));
    assert!(connection.is_reusable());
    connection.get_range("/x", range, None).expect("its turn");
    let mut body = [0; 3];
    connection.read_exact(&mut body).expect("all of it");
    assert_eq!(&body, b"abc");
    connection.get_range("/x", range, None).expect_err("busy");
    assert!(!connection.is_reusable(), "too long a text to read");
    for request in peer.join().expect("the peer") {
        assert!(
            request.contains("|Range: bytes=1-3|Prefer: wait=1"),
            "{request}"
        );
    }
}
