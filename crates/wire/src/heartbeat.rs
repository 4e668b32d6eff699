//! The heartbeat of a worker that runs: one UDP packet now and then, to the port number that the manager serves HTTP on.
//!
//! It says that the worker is alive and how it does. Nobody answers, and all that is decided by it is that its address is
//! given to no other machine in the next minutes: anybody on the network can send one.

use serde::{Deserialize, Serialize};

use crate::cmdline;
use crate::image::ImageId;
use crate::mac::Mac;

/// A heartbeat's JSON is never longer; a longer packet is none.
pub const MAX_HEARTBEAT_BYTES: usize = 768;

/// Seconds between two heartbeats, at least.
pub const INTERVAL_SECONDS: u64 = 30;

/// Seconds between two heartbeats of a worker that streams and does not have all of its image yet.
pub const FILLING_SECONDS: u64 = 2;

/// To [`INTERVAL_SECONDS`], up to so many seconds are added, by chance: a rack that was switched on at once does not stay in step.
pub const JITTER_SECONDS: u64 = 10;

/// What one says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The NIC the worker booted by.
    pub mac: Mac,
    /// The image it runs.
    pub image: ImageId,
    /// The host name it was given, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Milliseconds from the start of its kernel to the start of the image's init.
    pub boot_ms: u64,
    /// Seconds since the start of its kernel.
    pub up_s: u64,
    /// Bytes of RAM.
    pub memory: u64,
    /// Of these, bytes that programs could still have (`MemAvailable` of proc(5)).
    pub available: u64,
    /// Load average over one minute, in hundredths.
    pub load_percent: u32,
    /// How far the image is, of a worker that streams and does not have all of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filling: Option<Filling>,
}

/// How much of its image a worker has that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filling {
    /// Bytes of the image that are in its RAM, verified.
    pub resident: u64,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes a second, lately.
    pub per_second: u64,
    /// Milliseconds that a program has been waiting for a part of the image; 0 if none does.
    pub blocked_ms: u64,
}

/// Why a packet is no heartbeat.
#[derive(Debug, thiserror::Error)]
pub enum BadHeartbeat {
    /// Longer than any.
    #[error("{0} bytes, a heartbeat has at most {MAX_HEARTBEAT_BYTES}")]
    TooLong(usize),
    /// No JSON, or not of this form.
    #[error("not a heartbeat: {0}")]
    Form(#[from] serde_json::Error),
    /// A name that no worker is given.
    #[error("a host name that is none")]
    Hostname,
}

impl Heartbeat {
    /// Reads a packet.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(packet: &[u8]) -> Result<Self, BadHeartbeat> {
        if packet.len() > MAX_HEARTBEAT_BYTES {
            return Err(BadHeartbeat::TooLong(packet.len()));
        }
        let beat: Self = serde_json::from_slice(packet)?;
        match &beat.hostname {
            Some(name) if cmdline::hostname(name).is_err() => Err(BadHeartbeat::Hostname),
            _ => Ok(beat),
        }
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A struct of numbers and texts has no way to fail; an empty packet would be refused on the other side.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beat() -> Heartbeat {
        Heartbeat {
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            image: ImageId([7; 32]),
            hostname: Some("worker-123456".to_owned()),
            boot_ms: 5_812,
            up_s: 86_400,
            memory: 1_033_375_744,
            available: 871_239_680,
            load_percent: 12,
            filling: None,
        }
    }

    #[test]
    fn the_packet_is_an_interface() {
        let want = format!(
            r#"{{"mac":"52:54:00:12:34:56","image":"{}","hostname":"worker-123456","boot_ms":5812,"up_s":86400,"memory":1033375744,"available":871239680,"load_percent":12}}"#,
            ImageId([7; 32])
        );
        assert_eq!(String::from_utf8(beat().encode()).expect("text"), want);
        assert_eq!(Heartbeat::parse(want.as_bytes()).expect("parses"), beat());
    }

    #[test]
    fn the_longest_fits() {
        let longest = Heartbeat {
            hostname: Some(["x".repeat(63), "y".repeat(63), "z".repeat(63)].join(".")),
            boot_ms: u64::MAX,
            up_s: u64::MAX,
            memory: u64::MAX,
            available: u64::MAX,
            load_percent: u32::MAX,
            filling: Some(Filling {
                resident: u64::MAX,
                size: u64::MAX,
                per_second: u64::MAX,
                blocked_ms: u64::MAX,
            }),
            ..beat()
        };
        let packet = longest.encode();
        assert!(packet.len() <= MAX_HEARTBEAT_BYTES, "{}", packet.len());
        assert_eq!(Heartbeat::parse(&packet).expect("parses"), longest);
    }

    #[test]
    fn hostile_packets_are_refused() {
        let good = String::from_utf8(beat().encode()).expect("text");
        for bad in [
            String::new(),
            "{}".to_owned(),
            good.replace("worker-123456", "<script>alert(1)</script>"),
            good.replace("worker-123456", ""),
            good.replace("5812", "-1"),
            good.replace("5812", "1e999"),
            good.replace("\"load_percent\":12", "\"load_percent\":12,\"more\":1"),
            format!("{good}{}", " ".repeat(MAX_HEARTBEAT_BYTES)),
        ] {
            Heartbeat::parse(bad.as_bytes()).expect_err(&bad);
        }
    }

    proptest! {
        #[test]
        fn never_panics(packet: Vec<u8>) {
            let _ = Heartbeat::parse(&packet);
        }
    }
}
