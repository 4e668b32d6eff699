//! `BOOT_ORDER`: which ways to boot a bootloader tries, one hexadecimal digit each, read from the right. Pure.
//!
//! Source: "Raspberry Pi bootloader configuration", BOOT_ORDER.

use std::fmt;
use std::str::FromStr;

/// What the digits stand for. 8 to d stand for nothing.
const MODES: [(u8, &str); 10] = [
    (0x0, "SD card, waiting for one"),
    (0x1, "SD card or eMMC"),
    (0x2, "network"),
    (0x3, "USB from another computer (rpiboot)"),
    (0x4, "USB stick or disk"),
    (0x5, "USB stick or disk at the USB 2.0 socket"),
    (0x6, "NVMe"),
    (0x7, "HTTP, signed images only"),
    (0xe, "stop"),
    (0xf, "again from the first"),
];

const NETWORK: u8 = 2;
const HTTP: u8 = 7;
const RPIBOOT: u8 = 3;
const STOP: u8 = 0xe;
const RESTART: u8 = 0xf;

/// A boot order whose digits all stand for something and can all be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootOrder(u32);

/// The text is no boot order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// Not a number of that form.
    #[error(
        "{0:?} is not a boot order such as 0xf2: 0x and one to eight hexadecimal digits, read from the right"
    )]
    Form(String),
    /// A digit that no bootloader knows.
    #[error("{order:#x}: the digit {digit:x} stands for nothing; there are {modes}", modes = modes())]
    NoSuchMode {
        /// What was said.
        order: u32,
        /// The digit.
        digit: u8,
    },
    /// Digits left of one that never goes on.
    #[error(
        "{order:#x}: digits are read from the right, and {end:x} ({}) is the last that is tried: nothing may stand left of it",
        name(*.end)
    )]
    Unreachable {
        /// What was said.
        order: u32,
        /// The digit that ends it.
        end: u8,
    },
}

impl BootOrder {
    /// A worker without storage: the network, for ever.
    pub const NETWORK_ONLY: Self = Self(0xf2);
    /// The network, then an SD card, and again.
    pub const NETWORK_FIRST: Self = Self(0xf12);
    /// An SD card, then the network, and again.
    pub const SD_FIRST: Self = Self(0xf21);

    /// What a bootloader does without the key, as Raspberry Pi documents it.
    pub const DEFAULT: Self = Self(0xf41);

    /// The digits as they are tried.
    fn digits(self) -> impl Iterator<Item = u8> {
        digits(self.0)
    }

    /// Whether it ever asks the network.
    #[must_use]
    pub fn has_network(self) -> bool {
        self.digits().any(|digit| matches!(digit, NETWORK | HTTP))
    }

    /// Whether there is nothing else to be tried than the network.
    #[must_use]
    pub fn is_network_only(self) -> bool {
        self.digits()
            .all(|digit| matches!(digit, NETWORK | STOP | RESTART))
            && self.has_network()
    }

    /// In words: `network, again from the first`.
    #[must_use]
    pub fn words(self) -> String {
        let names: Vec<&str> = self.digits().map(name).collect();
        names.join(", ")
    }
}

impl FromStr for BootOrder {
    type Err = BadOrder;

    fn from_str(text: &str) -> Result<Self, BadOrder> {
        let form = || BadOrder::Form(text.chars().take(80).collect());
        let hex = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .ok_or_else(form)?;
        if hex.is_empty() || hex.len() > 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(form());
        }
        let order = u32::from_str_radix(hex, 16).map_err(|_| form())?;
        let mut end = None;
        for digit in digits(order) {
            if let Some(end) = end {
                return Err(BadOrder::Unreachable { order, end });
            }
            if !MODES.iter().any(|(known, _)| *known == digit) {
                return Err(BadOrder::NoSuchMode { order, digit });
            }
            end = matches!(digit, RPIBOOT | STOP | RESTART).then_some(digit);
        }
        Ok(Self(order))
    }
}

impl fmt::Display for BootOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// From the right; zeros on the left are none.
fn digits(order: u32) -> impl Iterator<Item = u8> {
    let count = (32 - order.leading_zeros()).div_ceil(4).max(1);
    (0..count).map(move |place| {
        let [low, ..] = (order >> (4 * place) & 0xf).to_le_bytes();
        low
    })
}

fn name(digit: u8) -> &'static str {
    let found = MODES.iter().find(|(known, _)| *known == digit);
    found.map_or("nothing", |(_, name)| name)
}

fn modes() -> String {
    let all: Vec<String> = MODES
        .iter()
        .map(|(digit, name)| format!("{digit:x} {name}"))
        .collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_row_per_order() {
        for (text, want) in [
            ("0xf2", Ok("network, again from the first")),
            ("0xF2", Ok("network, again from the first")),
            (
                "0xf12",
                Ok("network, SD card or eMMC, again from the first"),
            ),
            (
                "0xf461",
                Ok("SD card or eMMC, NVMe, USB stick or disk, again from the first"),
            ),
            (
                "0xf27",
                Ok("HTTP, signed images only, network, again from the first"),
            ),
            ("0x0", Ok("SD card, waiting for one")),
            ("0x00000021", Ok("SD card or eMMC, network")),
            (
                "0x35",
                Ok("USB stick or disk at the USB 2.0 socket, USB from another computer (rpiboot)"),
            ),
            (
                "0x8",
                Err(
                    "0x8: the digit 8 stands for nothing; there are 0 SD card, waiting for one; 1 SD card or eMMC; 2 network; 3 USB from another computer (rpiboot); 4 USB stick or disk; 5 USB stick or disk at the USB 2.0 socket; 6 NVMe; 7 HTTP, signed images only; e stop; f again from the first",
                ),
            ),
            (
                "0x2f",
                Err(
                    "0x2f: digits are read from the right, and f (again from the first) is the last that is tried: nothing may stand left of it",
                ),
            ),
            (
                "0xf3",
                Err(
                    "0xf3: digits are read from the right, and 3 (USB from another computer (rpiboot)) is the last that is tried: nothing may stand left of it",
                ),
            ),
            (
                "f2",
                Err(
                    "\"f2\" is not a boot order such as 0xf2: 0x and one to eight hexadecimal digits, read from the right",
                ),
            ),
        ] {
            let found = text.parse::<BootOrder>();
            let found = found
                .map(BootOrder::words)
                .map_err(|error| error.to_string());
            assert_eq!(
                found,
                want.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
        for text in ["", "0x", "0x123456789", "0x+1", "0xg", "21", "0x 2"] {
            assert!(
                matches!(text.parse::<BootOrder>(), Err(BadOrder::Form(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn which_orders_reach_the_network() {
        for (text, network, only) in [
            ("0xf2", true, true),
            ("0x2", true, true),
            ("0xf12", true, false),
            ("0xf27", true, false),
            ("0xf7", true, false),
            ("0xf41", false, false),
            ("0xf", false, false),
        ] {
            let order: BootOrder = text.parse().expect(text);
            assert_eq!(
                (order.has_network(), order.is_network_only()),
                (network, only),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_printed_as_it_was_said(order in any::<u32>(), noise in ".{0,12}") {
            let _ = noise.parse::<BootOrder>();
            if let Ok(parsed) = format!("{order:#010x}").parse::<BootOrder>() {
                prop_assert_eq!(parsed.to_string().parse(), Ok(parsed));
                prop_assert_eq!(parsed.to_string(), format!("{order:#x}"));
            }
        }
    }
}
