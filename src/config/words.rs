//! Values of the config file that are one word or one line: each check takes the text and says what would be right.

use std::net::Ipv4Addr;
use std::str::FromStr;

use clap::ValueEnum;
use ramboot_wire::cmdline::Gate;
use ramboot_wire::paths::is_boot_name;

use super::Mode;
use crate::text::template;

/// Below a minute, T1 of RFC 2131 §4.4.5 comes round faster than some clients can renew.
const MIN_LEASE_SECONDS: u32 = 60;

/// Leaves a third of the kernel command line to what ramboot itself must say there.
pub(super) const MAX_CMDLINE_BYTES: usize = 1_000;

/// What would keep a text from arriving as it is on a kernel command line that iPXE writes; `None` if nothing would.
///
/// iPXE (`src/core/exec.c`) splits at blanks, expands `${…}`, takes a word that begins with `#` as a comment and the
/// words `||`, `&&` and `;` as ends of a command; it has no quoting.
#[must_use]
pub fn cmdline_fault(text: &str) -> Option<String> {
    if let Some(c) = text.chars().find(|c| !matches!(c, ' '..='~')) {
        return Some(format!(
            "{c:?} cannot stand on a kernel command line: use printable ASCII"
        ));
    }
    if text.contains("${") {
        return Some("\"${\" would be expanded by iPXE: leave it out".to_owned());
    }
    text.split_ascii_whitespace()
        .find(|word| word.starts_with('#') || matches!(*word, "||" | "&&" | ";"))
        .map(|word| format!("the word {word:?} would end the line in iPXE: leave it out"))
}

pub(super) fn host(text: String) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an IPv4 address such as 10.0.0.1"))?;
    if address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
    {
        Err(format!(
            "{address} is not the address of a machine on a network"
        ))
    } else {
        Ok(address)
    }
}

pub(super) fn lease(seconds: u32) -> Result<u32, String> {
    if seconds < MIN_LEASE_SECONDS {
        Err(format!(
            "a lease of {seconds} s; at least {MIN_LEASE_SECONDS} are needed"
        ))
    } else {
        Ok(seconds)
    }
}

pub(super) fn image_name(name: String) -> Result<String, String> {
    if is_boot_name(&name) {
        Ok(name)
    } else {
        Err(format!(
            "{name:?} is not a name of an image: letters, digits, '.', '-', '_' and '+', at most 100"
        ))
    }
}

/// The folder whose files every worker gets, before those of other overlays.
pub const COMMON: &str = "common";

pub(super) fn overlay_name(name: String) -> Result<String, String> {
    if name == COMMON {
        Err(format!(
            "every worker gets overlays/{COMMON}, without its name standing anywhere: leave it out"
        ))
    } else if is_boot_name(&name) {
        Ok(name)
    } else {
        Err(format!(
            "{name:?} is not a name of a folder in overlays/: letters, digits, '.', '-', '_' and '+', at most 100"
        ))
    }
}

/// What it becomes is known only when a worker asks; whether it is a template can be told now.
pub(super) fn hostname_template(text: String) -> Result<String, String> {
    template::check("hostname", &text)
        .map(|()| text)
        .map_err(|error| error.to_string())
}

pub(super) fn cmdline(text: String) -> Result<String, String> {
    if text.len() > MAX_CMDLINE_BYTES {
        return Err(format!(
            "{} bytes of kernel parameters, {MAX_CMDLINE_BYTES} are possible",
            text.len()
        ));
    }
    if let Some(fault) = cmdline_fault(&text) {
        return Err(fault);
    }
    // /init refuses a key that stands twice, so a machine would not boot with one of these.
    match text.split_ascii_whitespace().find(|word| {
        word.starts_with("ramboot.") || word.starts_with("BOOTIF=") || word.starts_with("initrd=")
    }) {
        None => Ok(text),
        Some(word) => Err(format!(
            "{word:?} is written by ramboot itself: use the keys hostname, overlay, tmpfs, deadline, debug, heartbeat, mode or gate"
        )),
    }
}

pub(super) fn mode(text: String) -> Result<Mode, String> {
    [Mode::Full, Mode::Stream]
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(|| {
            format!(
                "{text:?} is no mode: \"full\" starts an image when all of it is there, \"stream\" before that"
            )
        })
}

pub(super) fn gate(text: String) -> Result<Gate, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no gate: \"hot\" waits for what boots read before their network is up, \"tables\" for the file system's tables, \"none\" for nothing"
        )
    })
}

/// `TFTP_PREFIX_STR` of a Raspberry Pi's bootloader holds 32 characters, its last slash among them.
pub(super) fn pi_prefix(text: String) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
    let parts = || text.split('/').any(|part| part == "." || part == "..");
    if text.is_empty() || text.len() > 32 || !text.bytes().all(plain) || parts() {
        return Err(format!(
            "{text:?} is not a TFTP_PREFIX_STR: letters, digits, '.', '-', '_' and '/', at most 32"
        ));
    }
    Ok(text)
}

/// Who gives out addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// proxyDHCP: another server gives addresses, we say what to boot.
    Proxy,
    /// We give addresses, too.
    Full,
    /// Nothing on UDP 67 and 4011.
    Off,
}

impl DhcpMode {
    /// As the user writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Full => "full",
            Self::Off => "off",
        }
    }
}

impl FromStr for DhcpMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(text, false)
    }
}

/// A range of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Lowest.
    pub first: Ipv4Addr,
    /// Highest; not below `first`.
    pub last: Ipv4Addr,
}

/// The text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// Not two addresses.
    #[error("{0:?} is not a range of addresses such as 10.0.0.100-10.0.0.199")]
    Form(String),
    /// Two addresses, but none between them.
    #[error("the range ends ({last}) before it begins ({first})")]
    Order {
        /// As given.
        first: Ipv4Addr,
        /// As given.
        last: Ipv4Addr,
    },
}

impl FromStr for Pool {
    type Err = BadPool;

    fn from_str(text: &str) -> Result<Self, BadPool> {
        let form = || BadPool::Form(text.chars().take(80).collect());
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let first = first.trim().parse().map_err(|_| form())?;
        let last = last.trim().parse().map_err(|_| form())?;
        if first > last {
            Err(BadPool::Order { first, last })
        } else {
            Ok(Self { first, last })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_two_ends_in_order() {
        assert_eq!(
            "10.0.0.5-10.0.0.9".parse(),
            Ok(Pool {
                first: Ipv4Addr::new(10, 0, 0, 5),
                last: Ipv4Addr::new(10, 0, 0, 9)
            })
        );
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.9-10.0.0.5",
            "10.0.0.5-10.0.0.256",
            "10.0.0.5-10.0.0.9-10.0.0.10",
            "a-b",
        ] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
    }
}
