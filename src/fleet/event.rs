//! What the manager sees of machines: each thing that it hears or hands out, as a value.

use std::net::Ipv4Addr;

use ramboot_wire::{Arch, Heartbeat, ImageId, Mac, Report, Uuid};

use crate::control::SIMULATED;
use crate::pi::id::Identity;

/// One thing that was seen.
#[derive(Debug, Clone)]
pub enum Event {
    /// A machine that boots from the network asked DHCP.
    Asked(Asked),
    /// What a machine will boot was decided: the host name it gets, if any, and the image.
    Chosen(Who, Option<String>, ImageId),
    /// A machine begins to load something.
    Begins(Who, Part),
    /// It has loaded it, whole.
    Loaded(Who, Part),
    /// There is nothing for a machine to boot, and why.
    Nothing(Who, String),
    /// Bytes of images went to an address.
    Sent(Ipv4Addr, u64),
    /// The last bytes of an image went to an address.
    Ended(Ipv4Addr, ImageId),
    /// `/init` says how a stage ended.
    Reported(Ipv4Addr, Report),
    /// A running worker is alive.
    Beat(Ipv4Addr, Heartbeat),
}

/// A DHCP request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its hardware address.
    pub mac: Mac,
    /// What it is, in words: `PC with BIOS`.
    pub model: String,
    /// What a Raspberry Pi says of itself.
    pub pi: Option<Identity>,
    /// Option 97 of a PC.
    pub uuid: Option<Uuid>,
    /// Option 93.
    pub arch: Option<Arch>,
    /// The address that it has now: given by this manager, or brought along.
    pub address: Option<Ipv4Addr>,
    /// Who asks.
    pub asker: AskedBy,
    /// It looks for a server, and has not chosen one.
    pub discover: bool,
}

impl Asked {
    /// The address that a machine says it has (`ciaddr`), if its packet comes from there: who has one sends from it (RFC 2131
    /// §4.1), and anybody can write another machine's hardware address into an INFORM of his own.
    #[must_use]
    pub fn brought(ciaddr: Ipv4Addr, source: Ipv4Addr) -> Option<Ipv4Addr> {
        (ciaddr == source && !ciaddr.is_unspecified()).then_some(ciaddr)
    }
}

/// What an event says of the address of a machine, for who gives addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The machine is there: it reports, or its heartbeat came from there.
    Lives {
        /// Where.
        address: Ipv4Addr,
        /// Who.
        mac: Mac,
    },
    /// A boot file went there, whole.
    Booted {
        /// Where.
        address: Ipv4Addr,
        /// Who, if that is known.
        mac: Option<Mac>,
    },
}

impl Event {
    /// What it says of a machine's address.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        let lives = |address: &Ipv4Addr, mac| Sign::Lives {
            address: *address,
            mac,
        };
        match self {
            _ if self.is_simulated() => None,
            Self::Beat(from, beat) => Some(lives(from, beat.mac)),
            Self::Reported(from, report) => Some(lives(from, report.mac)),
            // Everybody can have any machine's script, and write its hardware address into a URL.
            Self::Loaded(who, Part::Loader) if who.named => None,
            Self::Loaded(who, _) => Some(Sign::Booted {
                address: who.address?,
                mac: who.mac.filter(|_| !who.named),
            }),
            _ => None,
        }
    }

    /// Of a machine that is not there.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        let mac = match self {
            Self::Asked(asked) => Some(asked.mac),
            Self::Chosen(who, ..)
            | Self::Begins(who, _)
            | Self::Loaded(who, _)
            | Self::Nothing(who, _) => who.mac,
            Self::Reported(_, report) => Some(report.mac),
            Self::Beat(_, beat) => Some(beat.mac),
            Self::Sent(..) | Self::Ended(..) => None,
        };
        mac.is_some_and(|mac| mac.0.starts_with(&SIMULATED))
    }
}

/// What of a machine asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// Its firmware, or a loader: it boots.
    Firmware,
    /// `/init`.
    Init,
    /// An operating system, which may be the image's.
    System,
}

/// A machine, as far as it is known at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its hardware address, if it said so.
    pub mac: Option<Mac>,
    /// Where it asked from; `None` if only the server that talks to it knows that.
    pub address: Option<Ipv4Addr>,
    /// Its hardware address is only what a URL says, which anybody can write.
    pub named: bool,
}

/// What a machine loads before Linux runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// iPXE, a Raspberry Pi's firmware files, a menu or a script.
    Loader,
    /// The kernel.
    Kernel,
    /// The initramfs.
    Initramfs,
    /// Both in one EFI program.
    Uki,
}

impl Part {
    /// What a file is, by its name.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with("vmlinuz") {
            Self::Kernel
        } else if name.starts_with("initrd") {
            Self::Initramfs
        } else if name == "boot.efi" {
            Self::Uki
        } else {
            Self::Loader
        }
    }

    /// As a bar of the waterfall is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Uki => "kernel+initramfs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_brought_by_who_sends_from_it() {
        let [none, own, other] = [0, 1, 2].map(|last| Ipv4Addr::from(last * 0x0a00_0001));
        for (ciaddr, source, want) in [
            (none, none, None),
            (none, own, None),
            (own, own, Some(own)),
            (own, other, None),
            (own, none, None),
        ] {
            assert_eq!(
                Asked::brought(ciaddr, source),
                want,
                "{ciaddr} from {source}"
            );
        }
    }

    #[test]
    fn a_name_says_what_it_is() {
        for (path, want) in [
            ("undionly.kpxe", Part::Loader),
            ("5b154510/start4.elf", Part::Loader),
            ("5b154510/vmlinuz-0123456789abcdef", Part::Kernel),
            ("initrd-0123456789abcdef", Part::Initramfs),
            ("efi/x/boot.efi", Part::Uki),
            ("", Part::Loader),
        ] {
            assert_eq!(Part::of(path), want, "{path}");
        }
    }

    #[test]
    fn what_an_event_says_of_an_address() {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        let lives = |mac| Event::Beat(address, beat(mac)).sign();
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        assert_eq!(lives(mac), Some(Sign::Lives { address, mac }));
        let [a, b, c] = SIMULATED;
        assert_eq!(lives(Mac([a, b, c, 0, 0, 7])), None, "it is not there");
        let mac = Some(mac);
        let who = Who {
            mac,
            address: Some(address),
            named: false,
        };
        let loaded = Event::Loaded(who, Part::Kernel).sign();
        assert_eq!(loaded, Some(Sign::Booted { address, mac }));
        let named = Who { named: true, ..who };
        assert_eq!(Event::Loaded(named, Part::Loader).sign(), None);
        let loaded = Event::Loaded(named, Part::Uki).sign();
        assert_eq!(loaded, Some(Sign::Booted { address, mac: None }));
        let nowhere = Who {
            address: None,
            ..who
        };
        assert_eq!(Event::Loaded(nowhere, Part::Kernel).sign(), None);
        // Anybody can ask for a file of any machine.
        assert_eq!(Event::Begins(who, Part::Kernel).sign(), None);
    }

    fn beat(mac: Mac) -> Heartbeat {
        Heartbeat {
            mac,
            image: ImageId([7; 32]),
            hostname: None,
            boot_ms: 1,
            up_s: 1,
            memory: 1,
            available: 1,
            load_percent: 0,
            filling: None,
        }
    }
}
