//! The HTTP side over a real listener on port 0: what a worker, a cache and a hostile client would see.
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ramboot::fleet::event::Event;
use ramboot::fleet::shared::SharedFleet;
use ramboot::fleet::snapshot::Standing;
use ramboot::http::answer::Content;
use ramboot::http::serve::{Counters, MAX_CONNECTIONS, Made, Site, run};
use ramboot::status::route::{self, View};
use ramboot::store::{BootFile, Store};
use ramboot_wire::image::{CHUNK_BYTES, CHUNK_LEN, chaining_value};
use ramboot_wire::{Heartbeat, ImageId, Mac};
use tokio::sync::watch;

struct Manager {
    address: SocketAddr,
    id: ImageId,
    image: Vec<u8>,
    fleet: Arc<SharedFleet>,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    served: Option<std::thread::JoinHandle<()>>,
    _state: tempfile::TempDir,
}

impl Manager {
    fn start() -> Self {
        Self::start_with(MAX_CONNECTIONS)
    }

    fn start_with(connections: usize) -> Self {
        Self::start_reserving(connections, 0)
    }

    /// Machines at 127.0.2.x are those that DHCP knows.
    fn start_reserving(connections: usize, reserve: usize) -> Self {
        let made: Box<Made> = Box::new(|resource, local| {
            let text = format!("#!ipxe\n# {} by {local}\n", resource.path());
            Ok(Some(content(text)))
        });
        Self::start_making(connections, reserve, made)
    }

    fn start_making(connections: usize, reserve: usize, made: Box<Made>) -> Self {
        let state = tempfile::tempdir().expect("temporary folder");
        let image: Vec<u8> = (0..3 * CHUNK_BYTES + 1234)
            .map(|i| (i * i).to_le_bytes()[1])
            .collect();
        let id = ImageId(*blake3::hash(&image).as_bytes());
        store_image(state.path(), id, &image);
        let counters = Arc::new(Counters::default());
        let fleet = Arc::new(SharedFleet::new(Box::new(drop)));
        let site = Arc::new(Site {
            store: Arc::new(Store::open(state.path()).expect("store")),
            made,
            pages: route::pages(|view, _| {
                Ok(content(match view {
                    View::Nodes(Some(Standing::Up)) => "x".repeat(LARGE_BYTES),
                    view => format!("{view:?}\n"),
                }))
            }),
            fleet: Arc::clone(&fleet),
            counters: Arc::clone(&counters),
            connections,
            reserve,
            known: Box::new(|address| match address {
                IpAddr::V4(address) => address.octets().starts_with(&[127, 0, 2]),
                IpAddr::V6(_) => false,
            }),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = watch::channel(false);
        let served = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_unpark(ramboot::host::blocking::this_thread_serves)
                .build()
                .expect("runtime");
            runtime.block_on(async {
                run(
                    tokio::net::TcpListener::from_std(listener).expect("listener"),
                    site,
                    stopped,
                )
                .await
            });
        });
        Self {
            address,
            id,
            image,
            fleet,
            counters,
            stop,
            served: Some(served),
            _state: state,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        stream
    }

    /// One request on a connection of its own; the whole answer.
    fn raw(&self, request: &[u8]) -> (String, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(request).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("receive");
        let at = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map_or(answer.len(), |at| at + 4);
        let body = answer.split_off(at);
        (
            String::from_utf8(answer)
                .expect("ascii head")
                .to_lowercase(),
            body,
        )
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
        self.raw(
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )
    }

    fn image_path(&self) -> String {
        format!("/images/{}/image.sqfs", self.id)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.send(true).expect("the server runs until told");
        self.served
            .take()
            .expect("started")
            .join()
            .expect("no panic in the server");
    }
}

fn content(text: String) -> Content {
    Content {
        bytes: Bytes::from(text).into(),
        etag: None,
        media_type: "text/plain",
        mapping: None,
        part: None,
    }
}

fn store_image(state: &Path, id: ImageId, image: &[u8]) {
    let folder = state.join("images").join(id.to_string());
    std::fs::create_dir_all(folder.join("boot")).expect("folder");
    let chunks: Vec<u8> = image
        .chunks(CHUNK_LEN)
        .zip(0..)
        .flat_map(|(chunk, i)| chaining_value(i, chunk))
        .collect();
    let facts = format!(
        r#"{{"id":"{id}","size":{},"compressor":"zstd","block_size":131072,"kernel_version":"6.1.0","arch":"x86_64"}}"#,
        image.len()
    );
    for (name, bytes) in [
        ("image.sqfs", image),
        ("chunks", &chunks),
        ("image.json", facts.as_bytes()),
        (&format!("boot/{}", kernel()), b"kernel"),
    ] {
        std::fs::write(folder.join(name), bytes).expect("file");
    }
}

fn kernel() -> String {
    BootFile::of("vmlinuz", b"kernel").name
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("status")
}

#[test]
fn a_worker_gets_every_byte() {
    let manager = Manager::start();
    let (head, body) = manager.ask("GET", &manager.image_path(), "");
    assert_eq!(status(&head), "200");
    assert!(body == manager.image, "the whole image");
    assert!(
        head.contains(&format!("\r\netag: \"{}\"\r\n", manager.id)),
        "{head}"
    );
    assert!(
        head.contains("\r\ncache-control: public, max-age=31536000, immutable\r\n"),
        "{head}"
    );
    let (head, body) = manager.ask(
        "GET",
        &manager.image_path(),
        "range: bytes=262144-524287\r\n",
    );
    assert_eq!(status(&head), "206");
    assert!(
        head.contains(&format!(
            "\r\ncontent-range: bytes 262144-524287/{}\r\n",
            manager.image.len()
        )),
        "{head}"
    );
    assert!(body == manager.image[262_144..524_288]);
    let (_, chunks) = manager.ask("GET", &format!("/images/{}/chunks", manager.id), "");
    let list = ramboot_wire::ChunkList::prove(manager.id, manager.image.len() as u64, &chunks)
        .expect("proves");
    assert_eq!(list.verify(1, &body), Ok(()));
    let (_, kernel) = manager.ask(
        "GET",
        &format!("/images/{}/boot/{}", manager.id, kernel()),
        "",
    );
    assert_eq!(kernel, b"kernel");
    assert_eq!(
        manager.counters.image_bytes.load(Ordering::Relaxed),
        manager.image.len() as u64 + 262_144
    );
}

#[test]
fn several_ranges_in_one_answer() {
    let manager = Manager::start();
    let (head, body) = manager.ask("GET", &manager.image_path(), "range: bytes=0-9,-10\r\n");
    assert_eq!(status(&head), "206");
    assert!(
        head.contains("content-type: multipart/byteranges; boundary="),
        "{head}"
    );
    let length: usize = head
        .split("content-length: ")
        .nth(1)
        .and_then(|t| t.split('\r').next())
        .expect("length")
        .parse()
        .expect("number");
    assert_eq!(body.len(), length);
    assert!(
        body.windows(10).any(|w| w == &manager.image[..10])
            && body
                .windows(10)
                .any(|w| w == &manager.image[manager.image.len() - 10..])
    );
}

#[test]
fn one_connection_serves_many_requests() {
    let manager = Manager::start();
    let mut stream = manager.connect();
    for i in 0..20 {
        let (first, last) = (i * 1000, i * 1000 + 999);
        write!(
            stream,
            "GET {} HTTP/1.1\r\nhost: x\r\nrange: bytes={first}-{last}\r\n\r\n",
            manager.image_path()
        )
        .expect("send");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("head");
            head.push(byte[0]);
        }
        let mut body = vec![0; 1000];
        stream.read_exact(&mut body).expect("body");
        assert!(body == manager.image[first..=last], "{i}");
    }
}

#[test]
fn refusals_are_right_and_counted() {
    let manager = Manager::start();
    let image = manager.image_path();
    let id = manager.id;
    let cases = [
        ("GET", "/nothing".to_owned(), "", "404"),
        ("POST", "/".to_owned(), "content-length: 0\r\n", "405"),
        ("DELETE", "/nodes.json".to_owned(), "", "405"),
        ("PUT", "/events".to_owned(), "", "405"),
        ("GET", "/images/../../etc/passwd".to_owned(), "", "404"),
        (
            "GET",
            format!("/images/{id}/boot/..%2f..%2fimage.json"),
            "",
            "404",
        ),
        ("GET", format!("/images/{id}/image.json"), "", "404"),
        (
            "GET",
            format!("/images/{}/image.sqfs", "0".repeat(64)),
            "",
            "404",
        ),
        ("GET", format!("/images/{id}/boot/vmlinuz-2"), "", "404"),
        ("GET", image.clone(), "range: bytes=99999999-\r\n", "416"),
        ("PUT", image.clone(), "", "405"),
        ("DELETE", image.clone(), "", "405"),
        ("POST", image.clone(), "content-length: 3\r\n\r\nabc", "405"),
        ("GET", "/report".to_owned(), "", "405"),
        (
            "POST",
            "/report".to_owned(),
            "content-length: 5\r\n\r\nhello",
            "400",
        ),
        (
            "POST",
            "/report".to_owned(),
            "content-length: 99999999\r\n",
            "413",
        ),
    ];
    for (method, path, headers, want) in &cases {
        let (head, _) = manager.ask(method, path, headers);
        assert_eq!(status(&head), *want, "{method} {path} {headers}");
    }
    assert_eq!(
        manager.counters.refused.load(Ordering::Relaxed),
        cases.len() as u64
    );
    let (head, body) = manager.ask("HEAD", &image, "");
    assert_eq!((status(&head), body.len()), ("200", 0));
    assert!(
        head.contains(&format!("\r\ncontent-length: {}\r\n", manager.image.len())),
        "{head}"
    );
    let (head, _) = manager.ask("GET", &image, &format!("if-none-match: \"{id}\"\r\n"));
    assert_eq!(status(&head), "304");
}

#[test]
fn what_people_look_at_is_for_no_other_page() {
    let manager = Manager::start();
    for path in ["/", "/nodes.json", "/metrics", "/healthz"] {
        let (head, body) = manager.ask("GET", path, "");
        assert_eq!(status(&head), "200", "{path}");
        assert!(!body.is_empty(), "{path}");
        for line in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none'; ",
            "cache-control: no-store",
        ] {
            assert!(
                head.contains(&format!("\r\n{line}")),
                "{path}: {line} in {head}"
            );
        }
        assert!(head.contains("frame-ancestors 'none'"), "{head}");
    }
}

#[test]
fn bytes_that_are_not_http_do_no_harm() {
    let manager = Manager::start();
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for request in [
        &b"\0\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut stream = manager.connect();
        // The server may close before all of it is sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let (head, _) = manager.ask("GET", &manager.image_path(), "");
    assert_eq!(status(&head), "200", "still serving");
}

#[test]
fn a_report_is_taken_and_a_script_is_made_for_the_one_who_asks() {
    let manager = Manager::start();
    let json = format!(
        r#"{{"mac":"52:54:00:00:00:01","image":"{}","line":{{"stage":"dhcp","facts":[["addr","10.0.0.5"]],"ms":3}}}}"#,
        manager.id
    );
    let (head, _) = manager.ask(
        "POST",
        "/report",
        &format!("content-length: {}\r\n\r\n{json}", json.len()),
    );
    assert_eq!(status(&head), "200");
    let (head, body) = manager.ask("GET", "/ipxe/52-54-00-00-00-01", "");
    assert_eq!(
        String::from_utf8_lossy(&body),
        format!("#!ipxe\n# /ipxe/52-54-00-00-00-01 by {}\n", manager.address)
    );
    assert!(head.contains("cache-control: no-store"), "{head}");
}

/// Of a view: more than the buffers of both sides hold.
const LARGE_BYTES: usize = 16 << 20;

/// Who reads something large slowly keeps it in memory, so two of one address do, and others are told to come back.
#[test]
fn few_read_something_large_at_once() {
    let manager = Manager::start();
    let large = "/nodes.json?state=up";
    let slow = || {
        let mut stream = manager.connect();
        let request = format!("GET {large} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("send");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).expect("an answer");
        assert_eq!(&begin, b"HTTP/1.1 200");
        stream
    };
    let (first, _second) = (slow(), slow());
    let (head, body) = manager.ask("GET", large, "");
    assert_eq!(status(&head), "503", "{head}");
    assert!(head.contains("retry-after: 2\r\n"), "{head}");
    let want = "others read something large from this manager: come back in 2 s\n";
    assert_eq!(String::from_utf8_lossy(&body), want);
    // What is small is shown all the same, and a part of what is large is small.
    assert_eq!(status(&manager.ask("GET", "/nodes.json", "").0), "200");
    let part = manager.ask("GET", large, "range: bytes=0-9\r\n");
    assert_eq!((status(&part.0), part.1.len()), ("206", 10));
    drop(first);
    // The manager sees that when it goes on sending.
    while status(&manager.ask("GET", large, "").0) == "503" {}
}

/// A POST to the image's profile; the status and the sentence.
fn record(manager: &Manager, body: &str) -> (String, String) {
    let headers = format!("content-length: {}\r\n\r\n{body}", body.len());
    let path = format!("/images/{}/profile", manager.id);
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}");
    let (head, body) = manager.raw(request.as_bytes());
    let text = String::from_utf8(body).expect("text");
    (status(&head).to_owned(), text)
}

/// The worker at 127.0.0.1 says that it runs the image.
fn runs(manager: &Manager) {
    let beat = Heartbeat {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        image: manager.id,
        hostname: None,
        boot_ms: 1,
        up_s: 1,
        memory: 1,
        available: 1,
        load_percent: 1,
        filling: None,
    };
    let at = std::net::Ipv4Addr::LOCALHOST;
    manager.fleet.saw(Event::Beat(at, beat)).expect("believed");
}

/// The worker fetches the last byte of the image, as every boot does.
fn fetches_the_end(manager: &Manager) {
    let at = std::net::Ipv4Addr::LOCALHOST;
    let (head, _) = manager.ask("GET", &manager.image_path(), "range: bytes=-1\r\n");
    assert_eq!(status(&head), "206");
    // It is told when the body is given up, which the other side does not see.
    while manager.fleet.lock().may_record(at, manager.id).is_err() {
        std::thread::yield_now();
    }
}

fn recording(manager: &Manager, last: u8, touched: &str) -> String {
    format!(
        r#"{{"mac":"02:00:00:00:00:{last:02x}","image":"{}","online_ms":50,"touched":{touched}}}"#,
        manager.id
    )
}

#[test]
fn what_workers_read_is_taken_from_workers_and_served_to_all() {
    let manager = Manager::start();
    let path = format!("/images/{}/profile", manager.id);
    let get = |method: &str, path: &str| manager.ask(method, path, "");
    assert_eq!(status(&get("GET", &path).0), "404", "nothing is known");
    let good = recording(&manager, 1, "[[0,0],[2,50],[1,51]]");
    assert_eq!(record(&manager, &good).0, "403", "of a stranger");
    runs(&manager);
    manager.ask("GET", &manager.image_path(), "range: bytes=0-0\r\n");
    let (code, text) = record(&manager, &good);
    assert_eq!(code, "403", "{text}");
    assert!(
        text.starts_with("the machine of this address has not fetched the end of this image"),
        "{text}"
    );
    fetches_the_end(&manager);
    let (code, text) = record(&manager, &recording(&manager, 2, "[[3,0]]"));
    let want = "the recording is of machine 02:00:00:00:00:02, and this address belongs to machine 02:00:00:00:00:01\n";
    assert_eq!((code.as_str(), text.as_str()), ("403", want));
    assert_eq!(record(&manager, &good), ("204".to_owned(), String::new()));

    let (head, body) = get("GET", &path);
    assert_eq!(status(&head), "200");
    assert!(head.contains("cache-control: no-cache\r\n"), "{head}");
    assert_eq!(head.matches("cache-control").count(), 1, "{head}");
    assert_eq!(body, [0x81, 1, 0x80 + 64, 0]);
    let (head, body) = get("HEAD", &path);
    assert!(
        head.contains("content-length: 4\r\n") && body.is_empty(),
        "{head}"
    );

    let (code, _) = record(&manager, &good);
    assert_eq!(code, "403", "once for each boot");
    fetches_the_end(&manager);
    let (code, text) = record(&manager, &good);
    let want = "a recording of 02:00:00:00:00:01 was taken less than 60 s ago\n";
    assert_eq!((code.as_str(), text.as_str()), ("429", want));

    let other = format!("/images/{}/profile", ImageId([9; 32]));
    assert_eq!(status(&get("GET", &other).0), "404");
    let (head, _) = get("DELETE", &path);
    assert_eq!(status(&head), "405");
    assert!(head.contains("allow: get, head, post\r\n"), "{head}");
}

#[test]
fn a_recording_that_cannot_be_harms_nobody() {
    let manager = Manager::start();
    runs(&manager);
    fetches_the_end(&manager);
    let good = recording(&manager, 1, "[[0,0]]");
    for (body, code, sentence) in [
        (String::new(), "400", "not a recording: "),
        (
            "{}".to_owned(),
            "400",
            "not a recording: missing field `mac`",
        ),
        ("[".repeat(100_000), "400", "not a recording: "),
        (
            good.replace("[[0,0]]", "[[0,-1]]"),
            "400",
            "not a recording: ",
        ),
        (
            good.replace("[[0,0]]", "[[0,1e99]]"),
            "400",
            "not a recording: ",
        ),
        (good.replace("[[0,0]]", "[]"), "422", "0 chunks, 1 to "),
        (
            good.replace("[[0,0]]", "[[4,0]]"),
            "422",
            "chunk 4: the image has 4",
        ),
        (
            good.replace("[[0,0]]", "[[1,0],[1,0]]"),
            "422",
            "chunk 1 stands twice",
        ),
        (
            good.replace(&manager.id.to_string(), &ImageId([9; 32]).to_string()),
            "422",
            "it is of image 0909",
        ),
    ] {
        let (found, text) = record(&manager, &body);
        assert_eq!(found, code, "{body:.80}: {text}");
        assert!(text.starts_with(sentence), "{body:.80}: {text}");
    }
    for (headers, code) in [("content-length: 524289\r\n", "413"), ("", "400")] {
        let path = format!("/images/{}/profile", manager.id);
        let (head, _) = manager.ask("POST", &path, headers);
        assert_eq!(status(&head), code, "{headers}");
    }
    let folder = manager._state.path().join("profiles");
    let names = std::fs::read_dir(&folder).expect("made").count();
    assert_eq!(names, 0, "nothing was kept");

    std::fs::write(
        folder.join(format!("{}.json", manager.id)),
        "{\"recordings\":7}",
    )
    .expect("written");
    let path = format!("/images/{}/profile", manager.id);
    assert_eq!(
        status(&manager.ask("GET", &path, "").0),
        "404",
        "a damaged file"
    );
    assert_eq!(record(&manager, &good).0, "204", "it is begun anew");
    assert_eq!(status(&manager.ask("GET", &path, "").0), "200");
    assert_eq!(
        status(&manager.ask("GET", &manager.image_path(), "").0),
        "200"
    );
}

#[test]
fn stopping_does_not_wait_for_a_slow_client() {
    let manager = Manager::start();
    let mut slow = manager.connect();
    write!(
        slow,
        "GET {} HTTP/1.1\r\nhost: x\r\n\r\n",
        manager.image_path()
    )
    .expect("send");
    let mut byte = [0];
    slow.read_exact(&mut byte).expect("the answer has begun");
    let begin = std::time::Instant::now();
    drop(manager);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
}

/// One of several workers: each has an address of its own.
fn worker(manager: &Manager, number: u8) -> TcpStream {
    from(manager, [127, 0, 1, number])
}

fn from(manager: &Manager, address: [u8; 4]) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    let own = SocketAddr::from((address, 0));
    socket.bind(&own.into()).expect("bind");
    socket.connect(&manager.address.into()).expect("connect");
    let stream: TcpStream = socket.into();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("timeout");
    stream
}

/// Asks for ten bytes of the image on a connection that stays; the head of the answer, its body read.
fn ten_bytes(manager: &Manager, stream: &mut TcpStream, headers: &str) -> String {
    send_ten_bytes(manager, stream, headers);
    head_and_body(stream)
}

fn send_ten_bytes(manager: &Manager, stream: &mut TcpStream, headers: &str) {
    let path = manager.image_path();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-9\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("send");
}

fn head_and_body(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("ascii").to_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length = length.split('\r').next().and_then(|n| n.parse().ok());
    let mut body = vec![0; length.expect("a number")];
    stream.read_exact(&mut body).expect("body");
    head
}

#[test]
fn a_worker_that_would_wait_is_told_its_place_and_gets_its_turn() {
    let manager = Manager::start();
    let mut first: Vec<TcpStream> = (1..=4).map(|number| worker(&manager, number)).collect();
    let would_wait = "prefer: wait=0\r\n";
    for stream in &mut first {
        assert_eq!(status(&ten_bytes(&manager, stream, would_wait)), "206");
    }
    let (mut fifth, mut sixth) = (worker(&manager, 5), worker(&manager, 6));
    for (stream, place) in [(&mut fifth, "1/1"), (&mut sixth, "2/2")] {
        let told = ten_bytes(&manager, stream, would_wait);
        assert_eq!(status(&told), "503", "{told}");
        assert!(told.contains("retry-after: 1\r\n"), "{told}");
        assert!(
            told.contains(&format!("ramboot-queue: {place}\r\n")),
            "{told}"
        );
        assert!(!told.contains("connection: close"), "{told}");
    }
    let impatient = ten_bytes(&manager, &mut worker(&manager, 7), "");
    assert_eq!(
        status(&impatient),
        "206",
        "who does not say that it would wait does not"
    );
    drop(first);
    assert_eq!(
        status(&ten_bytes(&manager, &mut sixth, "prefer: wait=2\r\n")),
        "206"
    );
    assert_eq!(
        status(&ten_bytes(&manager, &mut fifth, "prefer: wait=2\r\n")),
        "206"
    );
}

#[test]
fn the_rest_is_served_behind_all_who_do_not_run_and_what_blocks_at_once() {
    let manager = Manager::start();
    let (whole, hot, rest) = (
        "prefer: wait=0\r\n",
        "prefer: wait=0\r\npriority: u=1\r\n",
        "prefer: wait=0\r\npriority: u=6\r\n",
    );
    let ask = |stream: &mut TcpStream, headers| ten_bytes(&manager, stream, headers);
    let mut first: Vec<TcpStream> = (1..=4).map(|number| worker(&manager, number)).collect();
    for stream in &mut first {
        assert_eq!(status(&ask(stream, hot)), "206");
    }
    let (mut fifth, mut sixth, mut seventh) = (
        worker(&manager, 5),
        worker(&manager, 6),
        worker(&manager, 7),
    );
    for (stream, headers, place) in [
        (&mut fifth, rest, "1/1"),
        (&mut sixth, whole, "1/2"),
        (&mut seventh, hot, "2/3"),
    ] {
        let told = ask(stream, headers);
        assert_eq!(status(&told), "503", "{told}");
        assert!(
            told.contains(&format!("ramboot-queue: {place}\r\n")),
            "{told}"
        );
    }
    // The fifth fetches the rest, so it runs: what it is blocked on does not wait.
    assert_eq!(status(&ask(&mut fifth, hot)), "206");
    // What cannot be is as urgent as what says nothing.
    let told = ask(&mut seventh, "prefer: wait=0\r\npriority: u=-1, i=?x\r\n");
    assert!(told.contains("ramboot-queue: 2/3\r\n"), "{told}");
    // The first has what is hot and goes on with the rest: others have its turn.
    send_ten_bytes(&manager, &mut sixth, "prefer: wait=2\r\n");
    let told = ask(&mut first[0], rest);
    assert!(told.contains("ramboot-queue: "), "{told}");
    assert_eq!(status(&head_and_body(&mut sixth)), "206");
    assert_eq!(status(&ask(&mut first[0], hot)), "206");
    // When nobody is left who does not run, the rest comes.
    drop((first.split_off(1), sixth, seventh));
    let patient = "prefer: wait=2\r\npriority: u=6\r\n";
    for stream in [&mut first[0], &mut fifth] {
        assert_eq!(status(&ask(stream, patient)), "206");
    }
}

#[test]
fn one_connection_too_many_is_told_to_come_back() {
    let manager = Manager::start_with(2);
    let mut open: Vec<TcpStream> = (1..=2).map(|number| worker(&manager, number)).collect();
    for stream in &mut open {
        assert_eq!(status(&ten_bytes(&manager, stream, "")), "206");
    }
    for _ in 0..3 {
        let (head, body) = manager.raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(status(&head), "503", "{head}");
        assert!(
            head.contains("retry-after: 5\r\n") && head.contains("connection: close"),
            "{head}"
        );
        assert_eq!(body, b"too many connections, come back in 5 s\n");
    }
    assert_eq!(
        status(&ten_bytes(&manager, &mut open[0], "")),
        "206",
        "who is in stays in"
    );
    drop(open);
    let (mut answer, begin) = ("none yet".to_owned(), std::time::Instant::now());
    while status(&answer) != "206" {
        assert!(begin.elapsed() < Duration::from_secs(10), "{answer}");
        let mut stream = worker(&manager, 9);
        answer = ten_bytes(&manager, &mut stream, "");
    }
}

/// The status of what comes, or nothing if that is the end of the connection.
fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let head = String::from_utf8_lossy(&answer).into_owned();
    (!head.is_empty()).then(|| status(&head).to_owned())
}

/// Asks and has the connection closed.
fn asked(stream: &mut TcpStream, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    // One that is turned away may be closed by now.
    let _ = stream.write_all(request.as_bytes());
    answer(stream)
}

#[test]
fn an_address_has_its_share_and_others_are_served() {
    let manager = Manager::start_reserving(100, 50);
    // Half a head each; then one whole request, which is answered after the others were counted.
    let mut greedy: Vec<TcpStream> = (0..60).map(|_| from(&manager, [127, 0, 3, 1])).collect();
    for stream in &mut greedy {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHo");
    }
    let ask = |address| asked(&mut from(&manager, address), "/healthz");
    assert_eq!(ask([127, 0, 3, 2]).as_deref(), Some("200"));
    // Of the 50 places for strangers one address gets 9.
    for mut stream in greedy.split_off(9) {
        assert!(matches!(answer(&mut stream).as_deref(), Some("503") | None));
    }
    assert_ne!(
        ask([127, 0, 3, 1]).as_deref(),
        Some("200"),
        "it has its share"
    );

    // Strangers take all they can get: a machine that DHCP knows is served.
    let mut crowd = Vec::new();
    for number in 2..=100 {
        crowd.push(from(&manager, [127, 0, 3, number]));
        crowd.push(from(&manager, [127, 0, 3, number]));
    }
    assert_ne!(ask([127, 0, 3, 200]).as_deref(), Some("200"));
    assert_eq!(ask([127, 0, 2, 1]).as_deref(), Some("200"));
}

#[test]
fn pages_of_one_address_leave_room_for_others() {
    let manager = Manager::start();
    let look = |address| {
        let mut stream = from(&manager, address);
        write!(stream, "GET /events HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        (String::from_utf8_lossy(&head[9..]).into_owned(), stream)
    };
    let mut open: Vec<_> = (0..11).map(|_| look([127, 0, 3, 1])).collect();
    assert!(open.iter().all(|(status, _)| status == "200"));
    assert_eq!(look([127, 0, 3, 1]).0, "503");
    for number in 2..=20 {
        open.push(look([127, 0, 3, number]));
        assert_eq!(open.last().expect("there").0, "200", "{number}");
    }
}

#[test]
fn a_head_of_more_than_8_kib_is_refused() {
    let manager = Manager::start();
    for (length, want) in [(7 * 1024, "200"), (9 * 1024, "431"), (200 * 1024, "431")] {
        let field = "a".repeat(length);
        let (head, _) = manager.ask("GET", "/healthz", &format!("x: {field}\r\n"));
        assert_eq!(status(&head), want, "{length}");
    }
}

#[test]
fn a_request_says_one_host() {
    let manager = Manager::start();
    let one = "connection: close\r\nhost: x\r\n";
    for (version, fields, want) in [
        ("1.1", "connection: close\r\n", "400"),
        ("1.0", "", "200"),
        ("1.1", one, "200"),
        ("1.1", "connection: close\r\nhost:\r\n", "200"),
        ("1.1", "host: x\r\nhost: x\r\n", "400"),
        ("1.1", "host: x\r\nHOST: y\r\n", "400"),
        ("1.0", "host: x\r\nhost: x\r\n", "400"),
        ("1.1", "host: a b\r\n", "400"),
    ] {
        for path in [
            "/healthz",
            "/ipxe/52-54-00-00-00-01",
            "/events",
            &manager.image_path(),
        ] {
            if (path, want) == ("/events", "200") {
                continue;
            }
            let request = format!("GET {path} HTTP/{version}\r\n{fields}\r\n");
            let (head, _) = manager.raw(request.as_bytes());
            assert_eq!(status(&head), want, "{path} {version} {fields}");
        }
    }
    // RFC 9112 §3.2.2: a target with a host of its own is understood, and Host is still wanted.
    let (head, _) = manager.raw(format!("GET http://y/healthz HTTP/1.1\r\n{one}\r\n").as_bytes());
    assert_eq!(status(&head), "200");
    let (head, _) = manager.raw(b"GET http://y/healthz HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&head), "400");
}

#[test]
fn a_condition_that_does_not_hold_is_412() {
    let manager = Manager::start();
    let tag = format!("if-match: \"{}\"\r\n", manager.id);
    let (image, script) = (manager.image_path(), "/ipxe/52-54-00-00-00-01");
    for (path, fields, want) in [
        (image.as_str(), tag.as_str(), "200"),
        (&image, "if-match: *\r\n", "200"),
        (&image, "if-match: \"x\"\r\n", "412"),
        (&image, "if-match: \"x\"\r\nrange: bytes=0-9\r\n", "412"),
        (script, "if-match: \"x\"\r\n", "412"),
        (script, "if-match: *\r\n", "200"),
        ("/healthz", "if-match: \"x\"\r\n", "412"),
        // RFC 9110 §13.2.1: what is not there is not there.
        ("/nothing", "if-match: \"x\"\r\n", "404"),
    ] {
        for method in ["GET", "HEAD"] {
            let (head, body) = manager.ask(method, path, fields);
            assert_eq!(status(&head), want, "{method} {path} {fields}");
            assert!(method == "GET" || body.is_empty(), "{path}");
        }
    }
}

/// RFC 9112 §7.1. Whatever the body is, there is an answer, and after one that cannot be framed the connection ends.
#[test]
fn a_body_that_is_framed_wrongly_is_400() {
    let manager = Manager::start();
    runs(&manager);
    fetches_the_end(&manager);
    let profile = format!("/images/{}/profile", manager.id);
    let chunked = "transfer-encoding: chunked\r\n";
    for body in [
        "x\r\n",
        "\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nnot a field\r\n\r\n",
        "fffffffffffffffff\r\nabc",
        "ffffffffffffffff1\r\n",
    ] {
        for path in ["/report", &profile] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{chunked}\r\n{body}");
            let (head, text) = manager.raw(request.as_bytes());
            let text = String::from_utf8_lossy(&text);
            assert_eq!(status(&head), "400", "{path} {body:?}: {text}");
            assert!(head.contains("connection: close\r\n"), "{head}");
            assert!(
                text.starts_with("the body of this request cannot be read: "),
                "{text}"
            );
        }
    }
    for fields in [
        "transfer-encoding: gzip\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
    ] {
        let request = format!("POST /report HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
        assert_eq!(
            status(&manager.raw(request.as_bytes()).0),
            "400",
            "{fields}"
        );
    }
}

/// However it is framed, what is too long is refused, and the refusal arrives while the client still sends.
#[test]
fn a_body_that_is_too_long_is_413() {
    let manager = Manager::start();
    runs(&manager);
    fetches_the_end(&manager);
    let profile = format!("/images/{}/profile", manager.id);
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    for (path, chunks) in [
        ("/report", 1),
        ("/report", 40),
        (profile.as_str(), 9),
        (&profile, 80),
    ] {
        for end in ["0\r\n\r\n", ""] {
            let mut stream = manager.connect();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut sender = stream.try_clone().expect("a second handle");
            let body = format!("{}{end}", chunk.repeat(chunks));
            // A client that listens only when all is sent would wait for the server's buffers.
            let sends = std::thread::spawn(move || {
                let _ = sender.write_all(head.as_bytes());
                let _ = sender.write_all(body.as_bytes());
            });
            let mut head = [0; 12];
            stream.read_exact(&mut head).expect("an answer");
            assert_eq!(&head, b"HTTP/1.1 413", "{path} {chunks} {end:?}");
            let _ = stream.read_to_end(&mut Vec::new());
            sends.join().expect("no panic");
        }
    }
}

/// What is made for one machine may take long, and there is one thread that serves: the others are answered meanwhile. An
/// address has one thing made at a time.
#[test]
fn who_waits_for_a_disk_keeps_nobody_waiting() {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    let ((begins, begun), (go, wait)) = (channel(), channel::<()>());
    let wait = Mutex::new(wait);
    let made: Box<Made> = Box::new(move |resource, _| {
        if resource.path().starts_with("/ipxe/02-") {
            begins.send(()).expect("somebody counts");
            wait.lock().expect("whole").recv().expect("goes on");
        }
        Ok(Some(content("made\n".to_owned())))
    });
    let manager = Manager::start_making(MAX_CONNECTIONS, 0, made);
    let ask = |stream: &mut TcpStream, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
    };
    let mut slow: Vec<TcpStream> = (0..3).map(|_| from(&manager, [127, 0, 3, 1])).collect();
    for stream in &mut slow {
        ask(stream, "/ipxe/02-00-00-00-00-01");
    }
    begun.recv().expect("it is being made");
    for path in ["/ipxe/52-54-00-00-00-01", "/healthz", &manager.image_path()] {
        let mut other = from(&manager, [127, 0, 3, 2]);
        assert_eq!(asked(&mut other, path).as_deref(), Some("200"), "{path}");
    }
    assert!(begun.try_recv().is_err(), "one at a time");
    for _ in 0..3 {
        go.send(()).expect("it waits");
    }
    for stream in &mut slow {
        assert_eq!(answer(stream).as_deref(), Some("200"));
    }
}

/// A body that does not end is answered well before the time is over that a long one may take.
#[test]
fn a_body_that_pauses_is_408() {
    let manager = Manager::start();
    runs(&manager);
    fetches_the_end(&manager);
    let profile = format!("/images/{}/profile", manager.id);
    let mut waiting = Vec::new();
    for (path, fields, body) in [
        ("/report", "content-length: 100", "abc"),
        ("/report", "transfer-encoding: chunked", "3\r\nabc\r\n"),
        (
            profile.as_str(),
            "transfer-encoding: chunked",
            "3\r\nabc\r\n",
        ),
    ] {
        let mut stream = manager.connect();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n{body}"
        )
        .expect("sent");
        waiting.push(stream);
    }
    for stream in &mut waiting {
        assert_eq!(answer(stream).as_deref(), Some("408"));
    }
}
