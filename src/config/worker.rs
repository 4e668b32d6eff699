//! `[[worker]]`: which machines a rule is for, and what they get.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ramboot_wire::cmdline::Gate;
use ramboot_wire::{Arch, Mac, Uuid};

use super::words::{cmdline, gate, host, image_name, mode};
use super::{Checker, ConfigError, Mode, form, span};

/// One `[[worker]]` table. The first one that fits a machine counts, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Whom it is for.
    pub which: Matcher,
    /// Name of its image, if it is not the one of `[boot]`.
    pub image: Option<String>,
    /// Its host name; only in a rule for one machine.
    pub hostname: Option<String>,
    /// The address it always gets, in full mode; only in a rule for one MAC.
    pub address: Option<Ipv4Addr>,
    /// Kernel parameters that come after those of `[boot]`.
    pub cmdline: Option<String>,
    /// Folders of worker files instead of those of `[boot]`, each over the one before.
    pub overlays: Option<Vec<String>>,
    /// When it starts the image's init, if not as `[boot]` says.
    pub mode: Option<Mode>,
    /// What it waits for before that, if not what `[boot]` says.
    pub gate: Option<Gate>,
}

/// What must be true of a machine; at least one of them stands there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Of the NIC it boots from.
    pub mac: Option<MacPattern>,
    /// The low 32 bits of a Raspberry Pi's serial number.
    pub serial: Option<u32>,
    /// Of the product, as `dmidecode -s system-uuid` prints it.
    pub uuid: Option<Uuid>,
    /// What its processor runs.
    pub arch: Option<Arch>,
}

/// What is known of a machine that asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Of the NIC it boots from.
    pub mac: Option<Mac>,
    /// The low 32 bits of a Raspberry Pi's serial number.
    pub serial: Option<u32>,
    /// Of the product, in either byte order.
    pub uuid: Option<Uuid>,
    /// What its processor runs.
    pub arch: Option<Arch>,
}

/// A MAC address, with `*` for octets that do not matter; one `*` at the end stands for all that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacPattern([Option<u8>; 6]);

/// The text is no such pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a MAC address such as 52:54:00:12:34:56, or the beginning of one such as 52:54:00:*"
)]
pub struct BadMacPattern(String);

impl Matcher {
    /// It is for this machine. What is not known of a machine fits nothing.
    #[must_use]
    pub fn fits(&self, asker: &Machine) -> bool {
        self.mac
            .is_none_or(|pattern| asker.mac.is_some_and(|mac| pattern.fits(mac)))
            && self
                .serial
                .is_none_or(|serial| asker.serial == Some(serial))
            && self
                .uuid
                .is_none_or(|uuid| asker.uuid == Some(uuid) || asker.uuid == Some(uuid.swapped()))
            && self.arch.is_none_or(|arch| asker.arch == Some(arch))
    }

    /// The MAC of the one NIC it is for.
    #[must_use]
    pub fn one_mac(&self) -> Option<Mac> {
        self.mac.and_then(MacPattern::exact)
    }

    fn is_one_machine(&self) -> bool {
        self.one_mac().is_some() || self.serial.is_some() || self.uuid.is_some()
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.mac.map(|mac| mac.to_string()),
            self.serial.map(|serial| format!("serial {serial:08x}")),
            self.uuid.map(|uuid| uuid.to_string()),
            self.arch.map(|arch| arch.to_string()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(", "))
    }
}

impl MacPattern {
    fn fits(self, mac: Mac) -> bool {
        let mut pairs = self.0.iter().zip(mac.0);
        pairs.all(|(wanted, octet)| wanted.is_none_or(|wanted| wanted == octet))
    }

    fn exact(self) -> Option<Mac> {
        let mut mac = [0; 6];
        for (octet, wanted) in mac.iter_mut().zip(self.0) {
            *octet = wanted?;
        }
        Some(Mac(mac))
    }
}

impl fmt::Display for MacPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, octet) in self.0.iter().enumerate() {
            let colon = if i > 0 { ":" } else { "" };
            match octet {
                Some(octet) => write!(f, "{colon}{octet:02x}")?,
                None => write!(f, "{colon}*")?,
            }
        }
        Ok(())
    }
}

impl FromStr for MacPattern {
    type Err = BadMacPattern;

    fn from_str(text: &str) -> Result<Self, BadMacPattern> {
        let bad = || BadMacPattern(text.chars().take(80).collect());
        let words: Vec<&str> = text.split([':', '-']).collect();
        let open = words.len() < 6 && words.last() == Some(&"*");
        if words.len() > 6 || (words.len() < 6 && !open) {
            return Err(bad());
        }
        let mut pattern = [None; 6];
        for (octet, word) in pattern.iter_mut().zip(&words) {
            *octet = match word.as_bytes() {
                b"*" => None,
                [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                    Some(u8::from_str_radix(word, 16).map_err(|_| bad())?)
                }
                _ => return Err(bad()),
            };
        }
        Ok(Self(pattern))
    }
}

/// The low 32 bits of a Raspberry Pi's serial number, written as eight digits or as sixteen.
///
/// # Errors
/// A sentence: it is none.
pub fn serial(text: String) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    // A Pi 5 has sixteen digits; its firmware asks with the last eight.
    let low = match digits.len() {
        8 if hex => Some(digits),
        16 if hex => digits.get(8..),
        _ => None,
    };
    low.and_then(|low| u32::from_str_radix(low, 16).ok())
        .ok_or_else(|| {
            format!(
                "{text:?} is not a Raspberry Pi's serial number such as 5b154510, as /proc/cpuinfo ends with"
            )
        })
}

impl Checker<'_> {
    pub(super) fn workers(
        &self,
        forms: Vec<toml::Spanned<form::Worker>>,
    ) -> Result<Vec<Worker>, ConfigError> {
        let (mut rules, mut names, mut addresses) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        let mut workers = Vec::with_capacity(forms.len());
        for form in forms {
            let place = form.span();
            let form = form.into_inner();
            let (name_at, address_at) = (span(&form.hostname), span(&form.address));
            let first_key = form.mac.as_ref().map(toml::Spanned::span);
            let which = Matcher {
                mac: self.check(form.mac, |text| text.parse::<MacPattern>())?,
                serial: self.check(form.serial, serial)?,
                uuid: self.check(form.uuid, |text| text.parse::<Uuid>())?,
                arch: self.check(form.arch, |text| text.parse::<Arch>())?,
            };
            if which == Matcher::default() {
                return Err(self.error(place, "names no machine: give mac, serial, uuid or arch; what is for all stands in [boot]"));
            }
            self.once(
                &mut rules,
                which.to_string(),
                first_key.unwrap_or(place),
                "rule for",
            )?;
            let worker = Worker {
                which,
                image: self.check(form.image, image_name)?,
                hostname: self
                    .check(form.hostname, |text| ramboot_wire::cmdline::hostname(&text))?,
                address: self.check(form.address, host)?,
                cmdline: self.check(form.cmdline, cmdline)?,
                overlays: form
                    .overlays
                    .map(|names| self.overlays(names))
                    .transpose()?,
                mode: self.check(form.mode, mode)?,
                gate: self.check(form.gate, gate)?,
            };
            if let (Some(name), Some(at)) = (&worker.hostname, name_at) {
                if !which.is_one_machine() {
                    return Err(self.error(at, format_args!("the rule for {which} is for many machines, which cannot all be {name}: give a whole mac, serial or uuid")));
                }
                self.once(&mut names, name.to_ascii_lowercase(), at, "host name")?;
            }
            if let (Some(address), Some(at)) = (worker.address, address_at) {
                if which.one_mac().is_none() {
                    return Err(self.error(
                        at,
                        format_args!(
                            "an address can be reserved for a whole mac only, not for {which}"
                        ),
                    ));
                }
                self.once(&mut addresses, address, at, "address")?;
            }
            workers.push(worker);
        }
        Ok(workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    #[test]
    fn patterns() {
        for (text, shown, fits) in [
            ("52:54:00:12:34:56", Some("52:54:00:12:34:56"), true),
            ("52-54-00-12-34-57", Some("52:54:00:12:34:57"), false),
            ("52:54:00:*", Some("52:54:00:*:*:*"), true),
            ("b8:27:eb:*", Some("b8:27:eb:*:*:*"), false),
            ("*:54:*:12:*:56", Some("*:54:*:12:*:56"), true),
            ("*", Some("*:*:*:*:*:*"), true),
            ("52:54", None, false),
            ("52:54:00:12:34:56:78", None, false),
            ("52:54:0*:*", None, false),
            ("52:+4:*", None, false),
            ("", None, false),
        ] {
            let pattern = text.parse::<MacPattern>().ok();
            assert_eq!(pattern.map(|p| p.to_string()).as_deref(), shown, "{text}");
            assert_eq!(pattern.is_some_and(|p| p.fits(MAC)), fits, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_fits_nothing() {
        let uuid: Uuid = "4c4c4544-0042-4810-8056-b4c04f395332"
            .parse()
            .expect("a UUID");
        let all = Machine {
            mac: Some(MAC),
            serial: Some(0x5b15_4510),
            uuid: Some(uuid.swapped()),
            arch: Some(Arch::X86_64),
        };
        let which = Matcher {
            mac: "52:*".parse().ok(),
            serial: Some(0x5b15_4510),
            uuid: Some(uuid),
            arch: Some(Arch::X86_64),
        };
        assert!(which.fits(&all));
        assert!(!which.fits(&Machine { mac: None, ..all }));
        assert!(!which.fits(&Machine {
            serial: None,
            ..all
        }));
        assert!(!which.fits(&Machine { uuid: None, ..all }));
        assert!(!which.fits(&Machine {
            arch: Some(Arch::Aarch64),
            ..all
        }));
    }

    #[test]
    fn serial_numbers() {
        for (text, want) in [
            ("5b154510", Some(0x5b15_4510)),
            ("100000005B154510", Some(0x5b15_4510)),
            ("0x5b154510", Some(0x5b15_4510)),
            ("5b15451", None),
            ("+b154510", None),
            ("5b15451g", None),
            ("x00000005b15451é", None),
            ("0000000é0000000", None),
            ("", None),
        ] {
            assert_eq!(serial(text.to_owned()).ok(), want, "{text}");
        }
    }
}
