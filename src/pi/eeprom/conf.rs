//! `bootconf.txt`, the settings of a bootloader: text that its parser reads as it stands. Pure.
//!
//! The parser is config.txt's: ASCII, LF, 98 columns; it stops at the first byte that is not ASCII. So such a text is refused
//! here, and a boot order that cannot be meant, since a board with a wrong one needs somebody who goes there.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::order::{BadOrder, BootOrder};
use crate::pi::config_txt::MAX_COLUMNS;

/// Of `NETCONSOLE`, by Raspberry Pi's documentation.
const MAX_NETCONSOLE: usize = 32;

/// A text that a bootloader reads as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf(String);

/// The text is no such one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConf {
    /// Without a setting.
    #[error("no line of it sets anything: \"ramboot eeprom conf\" prints one to begin with")]
    Empty,
    /// Windows' ends of lines.
    #[error(
        "line {0} ends with CR LF, and bootloaders want LF alone: sed -i 's/\\r$//' takes it away"
    )]
    Cr(usize),
    /// The bootloader would stop reading there.
    #[error(
        "line {line} has the byte {byte:#04x}: bootloaders read printable ASCII, and nothing after such a byte"
    )]
    Byte {
        /// Counted from 1.
        line: usize,
        /// The first of that kind.
        byte: u8,
    },
    /// The bootloader would cut it.
    #[error("line {line} has {columns} columns, and bootloaders read {MAX_COLUMNS}")]
    Long {
        /// Counted from 1.
        line: usize,
        /// Of the line.
        columns: usize,
    },
    /// A boot order that cannot be meant.
    #[error("line {line}: BOOT_ORDER={why}")]
    Order {
        /// Counted from 1.
        line: usize,
        /// Why not; it begins with the value.
        why: BadOrder,
    },
}

impl Conf {
    /// Takes the bytes of a file as they are.
    ///
    /// # Errors
    /// A bootloader would read something else, or nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadConf> {
        for (line, number) in bytes.split(|&b| b == b'\n').zip(1..) {
            if line.last() == Some(&b'\r') {
                return Err(BadConf::Cr(number));
            }
            if let Some(&byte) = line.iter().find(|b| !matches!(b, b' '..=b'~')) {
                return Err(BadConf::Byte { line: number, byte });
            }
            if line.len() > MAX_COLUMNS {
                return Err(BadConf::Long {
                    line: number,
                    columns: line.len(),
                });
            }
        }
        // Printable ASCII, so nothing is replaced.
        let conf = Self(String::from_utf8_lossy(bytes).into_owned());
        if !conf.settings().any(|(_, line)| line.contains('=')) {
            return Err(BadConf::Empty);
        }
        for (number, value) in conf.values("BOOT_ORDER") {
            if let Err(why) = value.parse::<BootOrder>() {
                return Err(BadConf::Order { line: number, why });
            }
        }
        Ok(conf)
    }

    /// As it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether some boot order in it, under whatever filter, asks the network.
    #[must_use]
    pub fn has_network(&self) -> bool {
        let mut orders = self.orders().peekable();
        if orders.peek().is_none() {
            return BootOrder::DEFAULT.has_network();
        }
        orders.any(BootOrder::has_network)
    }

    /// The boot orders that stand in it, of which the last counts unless a filter is over it; none, and the bootloader
    /// takes its own.
    pub fn orders(&self) -> impl Iterator<Item = BootOrder> {
        self.values("BOOT_ORDER")
            .filter_map(|(_, value)| value.parse().ok())
    }

    /// Whether a bootloader with it still takes another one by the network.
    #[must_use]
    pub fn takes_updates(&self) -> bool {
        let is = |key, wanted| self.values(key).any(|(_, value)| value == wanted);
        !is("ENABLE_SELF_UPDATE", "0") && !is("FREEZE_VERSION", "1")
    }

    /// Lines that are no comments, with their numbers.
    fn settings(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.0.lines().map(str::trim));
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }

    fn values(&self, wanted: &str) -> impl Iterator<Item = (usize, &str)> {
        self.settings().filter_map(move |(number, line)| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == wanted).then_some((number, value.trim()))
        })
    }
}

/// What a bootloader logs to, beside its serial line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netconsole(String);

/// The text is no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither an IPv4 address nor PORT@FROM/,PORT@TO/MAC of at most {MAX_NETCONSOLE} characters, with all its separators and the address FROM"
)]
pub struct BadNetconsole(String);

impl FromStr for Netconsole {
    type Err = BadNetconsole;

    /// An address alone is the one to send to; the sender's is then that of the documentation's example.
    fn from_str(text: &str) -> Result<Self, BadNetconsole> {
        if let Ok(to) = text.parse::<Ipv4Addr>() {
            return Ok(Self(format!("@169.254.1.1/,@{to}/")));
        }
        // src_port@src_ip/dev_name,dst_port@dst_ip/dst_mac: only the sender's address has no default.
        let parsed = || {
            let (from, to) = text.split_once(',')?;
            let (address, _) = from.split_once('@')?.1.split_once('/')?;
            to.split_once('@')?.1.split_once('/')?;
            address.parse::<Ipv4Addr>().ok()
        };
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        if plain && text.len() <= MAX_NETCONSOLE && parsed().is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(BadNetconsole(text.chars().take(80).collect()))
    }
}

/// The settings of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommended<'a> {
    /// Where it boots from.
    pub order: BootOrder,
    /// Where it logs to.
    pub netconsole: Option<&'a Netconsole>,
}

impl fmt::Display for Recommended<'_> {
    /// Time limits are the documented defaults: they are here to be found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // -1 is for ever: what stands behind the network would never be tried.
        let retries = if self.order.is_network_only() { -1 } else { 0 };
        writeln!(f, "[all]\nBOOT_UART=1\nBOOT_ORDER={}", self.order)?;
        writeln!(f, "NET_INSTALL_ENABLED=0\nDHCP_TIMEOUT=45000")?;
        writeln!(f, "DHCP_REQ_TIMEOUT=4000\nTFTP_FILE_TIMEOUT=30000")?;
        writeln!(f, "NET_BOOT_MAX_RETRIES={retries}\nENABLE_SELF_UPDATE=1")?;
        writeln!(f, "BOOT_WATCHDOG_TIMEOUT=300")?;
        match self.netconsole {
            Some(Netconsole(text)) => writeln!(f, "NETCONSOLE={text}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recommended(order: &str, netconsole: Option<&str>) -> String {
        let netconsole = netconsole.map(|text| text.parse().expect(text));
        Recommended {
            order: order.parse().expect(order),
            netconsole: netconsole.as_ref(),
        }
        .to_string()
    }

    #[test]
    fn a_worker_s_settings() {
        let want = "[all]\nBOOT_UART=1\nBOOT_ORDER=0xf2\nNET_INSTALL_ENABLED=0\nDHCP_TIMEOUT=45000\n\
                    DHCP_REQ_TIMEOUT=4000\nTFTP_FILE_TIMEOUT=30000\nNET_BOOT_MAX_RETRIES=-1\n\
                    ENABLE_SELF_UPDATE=1\nBOOT_WATCHDOG_TIMEOUT=300\n";
        assert_eq!(recommended("0xf2", None), want);
        // For ever at the network, the card behind it would never be tried.
        assert_eq!(
            recommended("0xf12", None),
            want.replace("0xf2", "0xf12").replace("=-1", "=0")
        );
        assert_eq!(
            recommended("0xf2", Some("192.168.100.100")),
            want.to_owned() + "NETCONSOLE=@169.254.1.1/,@192.168.100.100/\n"
        );
    }

    #[test]
    fn what_is_recommended_is_taken() {
        for order in ["0xf2", "0xf12", "0xf21", "0xf27"] {
            let text = recommended(order, Some("10.0.0.1"));
            let conf = Conf::parse(text.as_bytes()).expect("a conf");
            assert_eq!(conf.as_str(), text);
            assert!(conf.has_network() && conf.takes_updates());
        }
    }

    #[test]
    fn one_row_per_refusal() {
        let long = format!("[all]\n#{}\nBOOT_UART=1\n", "x".repeat(98));
        for (text, want) in [
            (
                &b""[..],
                "no line of it sets anything: \"ramboot eeprom conf\" prints one to begin with",
            ),
            (
                b"# BOOT_UART=1\n\n[all]\n",
                "no line of it sets anything: \"ramboot eeprom conf\" prints one to begin with",
            ),
            (
                b"[all]\nBOOT_UART=1\r\n",
                "line 2 ends with CR LF, and bootloaders want LF alone: sed -i 's/\\r$//' takes it away",
            ),
            (
                b"[all]\n# \xc3\xbcber\nBOOT_UART=1\n",
                "line 2 has the byte 0xc3: bootloaders read printable ASCII, and nothing after such a byte",
            ),
            (
                b"BOOT_UART=1\n\tBOOT_ORDER=0xf2\n",
                "line 2 has the byte 0x09: bootloaders read printable ASCII, and nothing after such a byte",
            ),
            (
                long.as_bytes(),
                "line 2 has 99 columns, and bootloaders read 98",
            ),
            (
                b"[all]\nBOOT_ORDER=0x2f\n",
                "line 2: BOOT_ORDER=0x2f: digits are read from the right, and f (again from the first) is the last that is tried: nothing may stand left of it",
            ),
            (
                b"BOOT_ORDER=f2",
                "line 1: BOOT_ORDER=\"f2\" is not a boot order such as 0xf2: 0x and one to eight hexadecimal digits, read from the right",
            ),
        ] {
            let error = Conf::parse(text).expect_err("refused").to_string();
            assert_eq!(error, want, "{text:?}");
        }
    }

    #[test]
    fn what_a_conf_does() {
        for (text, network, updates) in [
            ("BOOT_ORDER=0xf2", true, true),
            ("BOOT_UART=1\n", false, true),
            ("BOOT_ORDER=0xf41\n", false, true),
            ("BOOT_ORDER=0xf1\n[gpio7=0]\nBOOT_ORDER=0xf2\n", true, true),
            ("#BOOT_ORDER=0xf2\nA=1", false, true),
            ("BOOT_ORDER=0xf2\nENABLE_SELF_UPDATE=0\n", true, false),
            ("BOOT_ORDER=0xf2\nFREEZE_VERSION=1\n", true, false),
        ] {
            let conf = Conf::parse(text.as_bytes()).expect(text);
            assert_eq!(
                (conf.has_network(), conf.takes_updates()),
                (network, updates),
                "{text}"
            );
        }
    }

    #[test]
    fn one_row_per_netconsole() {
        for (text, want) in [
            ("10.0.0.1", Some("@169.254.1.1/,@10.0.0.1/")),
            ("6665@169.254.1.1/,6666@/", Some("6665@169.254.1.1/,6666@/")),
            (
                "@10.0.0.9/,@/dc:a6:32:01:02:03",
                Some("@10.0.0.9/,@/dc:a6:32:01:02:03"),
            ),
            // The sender's address has no default.
            ("6665@/,6666@192.168.1.1/", None),
            ("@10.0.0.9/,@10.0.0.10/dc:a6:32:01:02:03", None),
            ("@10.0.0.9,@/", None),
            ("@10.0.0.9/ ,@/", None),
            ("", None),
            ("manager", None),
        ] {
            let found = text.parse().ok().map(|Netconsole(text)| text);
            assert_eq!(found.as_deref(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,200}") {
            let _ = Conf::parse(&bytes);
            if let Ok(conf) = Conf::parse(text.as_bytes()) {
                prop_assert_eq!(conf.as_str(), text.as_str());
            }
            let _ = text.parse::<Netconsole>();
        }
    }
}
