//! What stays of `/init` on a running worker: a process that says now and then, in one UDP packet, that the worker is alive.
//!
//! It is `/init` itself, started anew just before the roots are exchanged, so it needs nothing of the image: its program
//! lies in the initramfs's RAM, and its standard input is `/proc/meminfo`. A manager that is away is not waited for and not
//! asked twice: the next packet goes to the next base, if there is one, and nothing else happens.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ramboot_wire::heartbeat::{Filling, INTERVAL_SECONDS, JITTER_SECONDS};
use ramboot_wire::{BootArgs, Heartbeat, ImageId, Mac, cmdline};
use rustix::stdio::stdin;

use crate::clock;
use crate::root::ram::{self, mem_available};

/// How it is called in a list of processes.
pub const NAME: &str = "ramboot-heartbeat";

/// What the process is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// The NIC the worker booted by.
    pub mac: Mac,
    image: ImageId,
    boot_ms: u64,
    hostname: Option<String>,
    /// Where to send, in order of preference.
    pub to: Vec<SocketAddrV4>,
}

impl Orders {
    /// For the worker that `args` describe, whose `mac` carried the boot.
    #[must_use]
    pub fn new(args: &BootArgs, mac: Mac) -> Self {
        let since_kernel = clock::since_kernel().as_millis();
        Self {
            mac,
            image: args.image,
            boot_ms: u64::try_from(since_kernel).unwrap_or(u64::MAX),
            hostname: args.hostname.clone(),
            to: args.bases.iter().map(|base| base.addr).collect(),
        }
    }

    /// Starts the process; it goes on when this one becomes the image's init.
    ///
    /// # Errors
    /// It cannot be started. A worker does without.
    pub fn start(&self) -> io::Result<()> {
        // Both are gone once the mounts have moved.
        let (meminfo, null) = (
            File::open("/proc/meminfo")?,
            File::options().write(true).open("/dev/null")?,
        );
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .args(self.words())
            .env_clear()
            .current_dir("/")
            .stdin(meminfo)
            .stdout(null.try_clone()?)
            .stderr(null)
            .spawn()?;
        // Whoever is the first process then reaps it.
        drop(child);
        Ok(())
    }

    /// As arguments of a program.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            self.mac.to_string(),
            self.image.to_string(),
            self.boot_ms.to_string(),
            // No host name is one hyphen.
            self.hostname.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        words.extend(self.to.iter().map(SocketAddrV4::to_string));
        words
    }

    /// Understands them.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Self> {
        let [mac, image, boot_ms, hostname, to @ ..] = words else {
            return None;
        };
        let hostname = match hostname.as_str() {
            "-" => None,
            name => Some(cmdline::hostname(name).ok()?),
        };
        let to: Vec<SocketAddrV4> = to.iter().map(|to| to.parse().ok()).collect::<Option<_>>()?;
        Some(Self {
            mac: mac.parse().ok()?,
            image: image.parse().ok()?,
            boot_ms: boot_ms.parse().ok()?,
            hostname,
            to,
        })
        .filter(|orders| !orders.to.is_empty())
    }
}

/// What this process is to do, if it is the one that stays.
#[must_use]
pub fn called(args: &[OsString]) -> Option<Orders> {
    let (name, words) = args.split_first()?;
    let words: Option<Vec<String>> = words
        .iter()
        .map(|word| word.to_str().map(str::to_owned))
        .collect();
    (name == NAME).then(|| Orders::parse(&words?)).flatten()
}

/// Sends heartbeats until the machine ends.
#[must_use]
pub fn run(orders: &Orders) -> ExitCode {
    // Away from the first process's terminal. Refused only to who leads a session already.
    let _ = rustix::process::setsid();
    let mut turn = 0;
    // Those who were switched on together are not in step from the first one on.
    clock::sleep(jitter(clock::chance()));
    loop {
        let to = orders.to[turn % orders.to.len()];
        // A socket for each: the image may give the machine another address.
        let socket = send(&orders.beat(stdin(), None), to);
        clock::sleep(Duration::from_secs(INTERVAL_SECONDS) + jitter(clock::chance()));
        if is_away(&socket) {
            turn += 1;
        }
    }
}

impl Orders {
    /// What there is to say now; `meminfo` is /proc/meminfo.
    pub fn beat(&self, meminfo: impl AsFd, filling: Option<Filling>) -> Heartbeat {
        let system = rustix::system::sysinfo();
        let mut text = [0; MEMINFO_BYTES];
        let length = rustix::io::pread(meminfo, &mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        let up_s = clock::since_kernel().as_secs();
        Heartbeat {
            mac: self.mac,
            image: self.image,
            hostname: self.hostname.clone(),
            boot_ms: self.boot_ms,
            up_s,
            memory: ram::total(),
            available: mem_available(&text).unwrap_or(0),
            load_percent: load_percent(system.loads[0]),
            filling,
        }
    }
}

/// Sends one.
///
/// # Errors
/// It did not leave.
pub fn send(beat: &Heartbeat, to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.send(&beat.encode())?;
    Ok(socket)
}

/// The packet did not leave, or ICMP or ARP said since then that nobody is there.
fn is_away(sent: &io::Result<UdpSocket>) -> bool {
    match sent {
        Ok(socket) => !matches!(socket.take_error(), Ok(None)),
        Err(_) => true,
    }
}

fn jitter(chance: u32) -> Duration {
    Duration::from_secs(JITTER_SECONDS).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// sysinfo(2) counts in units of 1/65536.
fn load_percent(load: u64) -> u32 {
    u32::try_from(load.saturating_mul(100) >> 16).unwrap_or(u32::MAX)
}

/// `MemAvailable` is in the third line.
const MEMINFO_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        Orders {
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            image: ImageId([7; 32]),
            boot_ms: 5_812,
            hostname: Some("worker-1".to_owned()),
            to: vec![
                "10.0.0.1:8067".parse().expect("an address"),
                "10.0.0.2:80".parse().expect("an address"),
            ],
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        let nameless = Orders {
            hostname: None,
            ..orders()
        };
        for orders in [orders(), nameless] {
            let mut args = vec![OsString::from(NAME)];
            args.extend(orders.words().into_iter().map(OsString::from));
            assert_eq!(called(&args), Some(orders));
        }
    }

    #[test]
    fn nobody_else_is_taken_for_it() {
        let mut words = orders().words();
        let as_args = |name: &str, words: &[String]| -> Vec<OsString> {
            let words = words.iter().map(OsString::from);
            [OsString::from(name)].into_iter().chain(words).collect()
        };
        assert_eq!(called(&[]), None);
        assert_eq!(called(&as_args("/init", &words)), None);
        assert_eq!(called(&as_args(NAME, &words[..4])), None, "no base");
        words[3] = "a b".to_owned();
        assert_eq!(called(&as_args(NAME, &words)), None, "no host name");
    }

    #[test]
    fn a_load_is_in_hundredths() {
        for (load, want) in [(0, 0), (65_536, 100), (98_304, 150), (u64::MAX, u32::MAX)] {
            assert_eq!(load_percent(load), want, "{load}");
        }
    }

    #[test]
    fn jitter_has_bounds() {
        assert_eq!(jitter(0), Duration::ZERO);
        assert_eq!(jitter(u32::MAX), Duration::from_secs(JITTER_SECONDS));
    }
}
