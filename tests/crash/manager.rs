//! A `ramboot serve` on loopback, and a machine that asks it for its script again and again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ramboot_wire::{ChunkList, ImageId};

const PORT: u16 = 8067;
/// Between two questions. The manager is to be asked often, not to be kept from working.
const BETWEEN: Duration = Duration::from_millis(20);

pub(crate) struct Manager {
    process: Child,
    machine: Option<JoinHandle<usize>>,
    stop: Sender<()>,
    /// What the machine holds while it asks and fetches.
    pub(crate) asking: Arc<Mutex<Machine>>,
    log: Option<JoinHandle<Vec<String>>>,
}

impl Manager {
    /// Starts both and returns when the manager serves.
    pub(crate) fn start(state: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ramboot"))
            .args(["serve", "--dhcp=off", "--interface=lo", "--state"])
            .arg(state)
            .args(["--http-port", &PORT.to_string()])
            .env("RAMBOOT_LOG", "warn,ramboot::serve=info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("UTF-8");
        assert!(first.contains("serving on lo"), "{first}");
        let log = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        let asking = Arc::new(Mutex::new(Machine::default()));
        let (stop, stopped) = mpsc::channel();
        let machine = Arc::clone(&asking);
        let machine = std::thread::spawn(move || {
            let mut rounds = 0;
            while stopped.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
                machine.lock().expect("no panic elsewhere").boot();
                rounds += 1;
            }
            rounds
        });
        Self {
            process,
            machine: Some(machine),
            stop,
            asking,
            log: Some(log),
        }
    }

    /// What the machine boots at this moment, fetched anew and whole.
    pub(crate) fn boots(&self) -> Option<(ImageId, String)> {
        let mut machine = self.asking.lock().expect("the machine did not panic");
        machine.script.clear();
        machine.boot()
    }

    /// Ends both; the number of rounds and what the manager had to say.
    pub(crate) fn end(mut self) -> (usize, Vec<String>) {
        self.stop.send(()).expect("the machine runs until told");
        let machine = self.machine.take().expect("started");
        let rounds = machine.join().expect("nothing torn was served");
        self.kill();
        let log = self.log.take().expect("started");
        (rounds, log.join().expect("read"))
    }

    fn kill(&mut self) {
        self.process.kill().expect("not waited for yet, or ended");
        self.process.wait().expect("ended");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Machine {
    script: String,
}

impl Machine {
    /// Asks for the script; fetches and verifies all it names if it is another one than before. `None` if there is nothing
    /// to boot, else the image and the name of the initramfs.
    fn boot(&mut self) -> Option<(ImageId, String)> {
        let script = String::from_utf8(get("/ipxe/52-54-00-12-34-56")).expect("a script");
        let base = format!("http://127.0.0.1:{PORT}");
        let urls: Vec<&str> = script
            .split_whitespace()
            .filter_map(|word| {
                word.strip_prefix(&base)
                    .filter(|path| path.contains("/boot/"))
            })
            .collect();
        if script == self.script || script.contains("has nothing to boot yet") {
            return None;
        }
        assert_eq!(urls.len(), 2, "kernel and initramfs: {script}");
        for path in &urls {
            let digest = blake3::hash(&get(path)).to_hex();
            let (_, named) = path.rsplit_once('-').expect("a digest in the name");
            assert_eq!(named, &digest[..16], "{path}");
        }
        let word = |key: &str| {
            let found = script.split_whitespace().find_map(|w| w.strip_prefix(key));
            found.unwrap_or_else(|| panic!("{key} in {script}"))
        };
        let id: ImageId = word("ramboot.image=").parse().expect("an id");
        let size: u64 = word("ramboot.size=").parse().expect("a size");
        let chunks = get(&format!("/images/{id}/chunks"));
        ChunkList::prove(id, size, &chunks).expect("the image's chunk list");
        let image = get(&format!("/images/{id}/image.sqfs"));
        assert_eq!(*blake3::hash(&image).as_bytes(), id.0, "a torn image");
        let initrd = urls[1].to_owned();
        self.script = script;
        Some((id, initrd))
    }
}

/// The body of an answer, which must be 200 and as long as it says.
fn get(path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).expect("connects");
    let timeout = Some(Duration::from_secs(30));
    stream.set_read_timeout(timeout).expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("received");
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let body = answer.split_off(at.expect("a head") + 4);
    let head = String::from_utf8(answer).expect("ASCII").to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    assert_eq!(body.len(), length, "{path}");
    body
}
