//! What stands behind a key: a base, a size of the writable layer, what a streaming boot waits for.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

use super::{CmdlineError, bad};
use crate::paths::is_boot_name;

/// `ramboot.mode=stream`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streaming {
    /// `ramboot.gate`.
    pub gate: Gate,
}

/// `ramboot.boot=KERNEL,INITRD`: what was booted, by the names it has in the image's `boot` folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: String,
    /// The initramfs.
    pub initrd: String,
}

/// What of an image must be there before its init starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// All that recorded boots read before their network was as it stays. Without a recording that is everything.
    #[default]
    Hot,
    /// The file system's tables. For experiments: an image that changes its network settings may stop for ever.
    Tables,
    /// Nothing. Likewise.
    None,
}

impl Gate {
    /// As it stands on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Tables => "tables",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Gate {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        [Self::Hot, Self::Tables, Self::None]
            .into_iter()
            .find(|gate| gate.name() == text)
            .ok_or_else(|| bad("ramboot.gate", text, "hot, tables or none is wanted"))
    }
}

/// `http://address[:port][/prefix]`, without a trailing slash. An address, because a name needs DNS, and DNS that
/// is not up yet is a known way for a boot to fail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Base {
    /// Where to connect.
    pub addr: SocketAddrV4,
    /// Path before `/images/…`; empty or starting with `/`.
    pub prefix: String,
}

/// How large the writable layer over the image may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Of the RAM that is left.
    Percent(u8),
    /// An absolute size.
    Bytes(u64),
}

impl FromStr for Base {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        let bad = |want| bad("ramboot.url", text, want);
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| bad("http://ADDRESS[:PORT] is wanted"))?;
        let (authority, prefix) = rest
            .find('/')
            .map_or((rest, ""), |slash| rest.split_at(slash));
        let addr = match authority.parse::<SocketAddrV4>() {
            Ok(addr) => addr,
            Err(_) => SocketAddrV4::new(
                authority
                    .parse()
                    .map_err(|_| bad("an IPv4 address is wanted after http://"))?,
                80,
            ),
        };
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'~');
        if !prefix.bytes().all(plain) {
            return Err(bad(
                "only letters, digits, '.', '-', '_' and '~' can stand in the path",
            ));
        }
        Ok(Self {
            addr,
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr.port() {
            80 => write!(f, "http://{}{}", self.addr.ip(), self.prefix),
            port => write!(f, "http://{}:{port}{}", self.addr.ip(), self.prefix),
        }
    }
}

impl FromStr for BootFiles {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        let names = text.split_once(',');
        match names.filter(|(kernel, initrd)| is_boot_name(kernel) && is_boot_name(initrd)) {
            Some((kernel, initrd)) => Ok(Self {
                kernel: kernel.to_owned(),
                initrd: initrd.to_owned(),
            }),
            None => Err(bad("ramboot.boot", text, "KERNEL,INITRD is wanted")),
        }
    }
}

impl fmt::Display for BootFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.kernel, self.initrd)
    }
}

impl FromStr for Overlay {
    type Err = CmdlineError;

    fn from_str(text: &str) -> Result<Self, CmdlineError> {
        let bad = || {
            bad(
                "ramboot.overlay",
                text,
                "a size such as 512M or 2G, or a percentage such as 50%, is wanted",
            )
        };
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(bad()),
            };
        }
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if bytes > 0 => Ok(Self::Bytes(bytes)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}
