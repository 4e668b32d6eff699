//! Which Pi is simulated: model, identity, firmware version, and the bugs that version has.

use std::net::Ipv4Addr;
use std::time::Duration;

/// A MAC.
pub type Mac = [u8; 6];

/// Of a bootloader: year, month, day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub u16, pub u8, pub u8);

/// Which firmware asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Model {
    /// 3B (and 2B v1.2): mask ROM, then bootcode.bin's own client.
    Rom3b,
    /// 3B+: a ROM with fewer bugs, then bootcode.bin's own client.
    Rom3bPlus,
    /// 3B whose SD card holds bootcode.bin and nothing else: without the ROM's part.
    Bc3,
    /// 4B, 400, CM4: bootloader in EEPROM, then start4.elf's own client.
    Ee4,
    /// 5, 500, CM5: bootloader in EEPROM.
    Ee5,
}

/// `TFTP_PREFIX`: the folder asked for before the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// 0, the default: the serial number, eight lower-case hex digits.
    Serial,
    /// 1: `TFTP_PREFIX_STR`, with its own `/` at the end.
    Text(String),
    /// 2: the MAC, `dc-a6-32-01-36-c2/`.
    Mac,
}

/// What is in option 97 after its type 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guid {
    /// Four letters (`RPi4`, `4iPR`, `RPi5`, or what `DHCP_OPTION97` says), revision, MAC, serial.
    Board([u8; 4]),
    /// The serial four times: bootcode.bin, the 3B+, and EEPROMs with `DHCP_OPTION97=0`.
    Serials,
    /// 16 × 0x44: the 3B's ROM.
    Fours,
}

/// Addresses from the EEPROM (`TFTP_IP CLIENT_IP SUBNET`): DHCP is skipped wholly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// `CLIENT_IP`.
    pub client: Ipv4Addr,
    /// `SUBNET`.
    pub mask: Ipv4Addr,
    /// `GATEWAY`.
    pub gateway: Option<Ipv4Addr>,
    /// `TFTP_IP`.
    pub tftp: Ipv4Addr,
}

/// What some firmware does, and others do not. In brackets the row of the evidence table in the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// The ROM wants three spaces behind "Raspberry Pi Boot", or as many letters (Q1).
    pub three_spaces: bool,
    /// The ROM loses an option 43 that comes sooner than this after its DISCOVER; zero: none (Q3).
    pub deaf_after_discover: Duration,
    /// The ROM does not answer ARP once TFTP began (Q4).
    pub no_arp_while_loading: bool,
    /// The ROM takes only a TFTP server on its own subnet (Q5).
    pub same_subnet_only: bool,
    /// start.elf takes a file for missing, if its transfer does not begin with an OACK (Q10).
    pub needs_oack: bool,
    /// Existence is probed by a request that is ended with ERROR 0 (Q11); without it, files are just read.
    pub early_terminate: bool,
    /// Some paths have `//` behind the prefix (Q12).
    pub double_slash: bool,
    /// A file of more than 65 535 blocks fails (Q14).
    pub no_rollover: bool,
    /// Options end at the first padding, option 0 (EEPROMs before 2020-01-17).
    pub stops_at_padding: bool,
    /// Option 66 is misread unless each number has three digits (EEPROMs before 2020-01-09).
    pub misreads_short_numbers: bool,
    /// REQUEST is without option 60 (EEPROMs of January 2020).
    pub request_without_60: bool,
    /// Option 97 has zeros for the MAC (EEPROMs before 2020-03-16).
    pub guid_without_mac: bool,
    /// Option 43 must have sub-option 6 (seen on a Pi 5, 2026-08).
    pub wants_discovery_control: bool,
}

/// One Pi.
#[derive(Debug, Clone)]
pub struct Params {
    /// Firmware.
    pub model: Model,
    /// MAC.
    pub mac: Mac,
    /// The low 32 bits of the serial number.
    pub serial: u32,
    /// Revision code.
    pub revision: u32,
    /// `TFTP_PREFIX`.
    pub prefix: Prefix,
    /// Option 97; the 3B's ROM has its own.
    pub guid: Guid,
    /// `blksize` in requests; `None` for firmware that asks for `tsize` alone.
    pub block_size: Option<u16>,
    /// `PXE_OPTION43`: what is looked for in option 43.
    pub option_43: String,
    /// Addresses that are not asked for.
    pub fixed: Option<Fixed>,
    /// `NET_BOOT_MAX_RETRIES`: how often a 4 or 5 begins again, five seconds after a failure.
    pub retries: u32,
    /// `TFTP_FILE_TIMEOUT`. Without progress: 114 MB in more than 100 s were fine with the default (rpi-eeprom#720).
    pub file_timeout: Duration,
    /// `DHCP_TIMEOUT`.
    pub dhcp_timeout: Duration,
    /// A 5 with D0 silicon asks for its overlay.
    pub d0_silicon: bool,
    /// Bugs.
    pub quirks: Quirks,
    /// Files up to so many bytes are kept whole in the outcome; of others length and digest.
    pub keep: usize,
    /// For transaction ids, source ports.
    pub seed: u64,
}

impl Params {
    /// A 3B with its ROM's bugs. `n` makes MAC and serial.
    #[must_use]
    pub fn pi3b(n: u16) -> Self {
        let quirks = Quirks {
            three_spaces: true,
            deaf_after_discover: ROM_DEAF,
            no_arp_while_loading: true,
            same_subnet_only: true,
            needs_oack: true,
            early_terminate: true,
            no_rollover: true,
            ..Quirks::default()
        };
        Self::new(Model::Rom3b, n, quirks)
    }

    /// A 3B+.
    #[must_use]
    pub fn pi3b_plus(n: u16) -> Self {
        Self::new(Model::Rom3bPlus, n, Quirks::bootcode())
    }

    /// A 3B that starts from bootcode.bin on an SD card.
    #[must_use]
    pub fn pi3_with_card(n: u16) -> Self {
        Self::new(Model::Bc3, n, Quirks::bootcode())
    }

    /// A 4B with the bootloader of a day.
    #[must_use]
    pub fn pi4(n: u16, date: Date) -> Self {
        let this = Self::new(Model::Ee4, n, Quirks::eeprom(date));
        Self {
            block_size: Some(if date < Date(2022, 10, 3) { 1024 } else { 1468 }),
            ..this
        }
    }

    /// A 5 with the bootloader of a day.
    #[must_use]
    pub fn pi5(n: u16, date: Date) -> Self {
        let quirks = Quirks {
            double_slash: true,
            wants_discovery_control: true,
            ..Quirks::eeprom(date)
        };
        let this = Self::new(Model::Ee5, n, quirks);
        let magic = if date < Date(2023, 10, 30) {
            *b"RPi4"
        } else {
            *b"RPi5"
        };
        Self {
            guid: Guid::Board(magic),
            ..this
        }
    }

    fn new(model: Model, n: u16, quirks: Quirks) -> Self {
        let [hi, lo] = n.to_be_bytes();
        let (oui, revision, top, guid, block_size) = match model {
            Model::Rom3b | Model::Bc3 => {
                ([0xb8, 0x27, 0xeb], 0x00a0_2082, 0xb6, Guid::Serials, None)
            }
            Model::Rom3bPlus => {
                let size = Some(1024);
                ([0xb8, 0x27, 0xeb], 0x00a0_20d3, 0x52, Guid::Serials, size)
            }
            Model::Ee4 => {
                let guid = Guid::Board(*b"RPi4");
                ([0xdc, 0xa6, 0x32], 0x00a0_3111, 0x5b, guid, Some(1468))
            }
            Model::Ee5 => {
                let guid = Guid::Board(*b"RPi5");
                ([0x2c, 0xcf, 0x67], 0x00c0_4170, 0xe1, guid, Some(1468))
            }
        };
        // Two models with one `n` are two machines.
        let family = match model {
            Model::Rom3b => 0x30,
            Model::Rom3bPlus => 0x31,
            Model::Bc3 => 0x32,
            Model::Ee4 => 0x40,
            Model::Ee5 => 0x50,
        };
        Self {
            model,
            mac: [oui[0], oui[1], oui[2], family, hi, lo],
            // BCM2837: the low 24 bits are those of the MAC.
            serial: u32::from_be_bytes([top, family, hi, lo]),
            revision,
            prefix: Prefix::Serial,
            guid,
            block_size,
            option_43: "Raspberry Pi Boot".to_owned(),
            fixed: None,
            retries: 0,
            file_timeout: Duration::from_secs(30),
            dhcp_timeout: Duration::from_secs(45),
            d0_silicon: false,
            quirks,
            keep: usize::MAX,
            seed: u64::from(n) + 1,
        }
    }

    /// The folder it asks for, with `/` at its end.
    #[must_use]
    pub fn folder(&self) -> String {
        let [a, b, c, d, e, f] = self.mac;
        match &self.prefix {
            Prefix::Serial => format!("{:08x}/", self.serial),
            Prefix::Text(text) => text.clone(),
            Prefix::Mac => format!("{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}/"),
        }
    }
}

/// How soon is too soon for the 3B's ROM: "1 to 2 s" (raspberrypi/firmware#934, #859, #862).
const ROM_DEAF: Duration = Duration::from_millis(1500);

impl Quirks {
    /// bootcode.bin and start.elf since 2020-04-16.
    #[must_use]
    pub fn bootcode() -> Self {
        Self {
            needs_oack: true,
            early_terminate: true,
            no_rollover: true,
            ..Self::default()
        }
    }

    /// The EEPROM of a day; the dates are those of rpi-eeprom's release notes.
    #[must_use]
    pub fn eeprom(date: Date) -> Self {
        Self {
            early_terminate: true,
            no_rollover: date < Date(2025, 9, 23),
            stops_at_padding: date < Date(2020, 1, 17),
            misreads_short_numbers: date < Date(2020, 1, 9),
            request_without_60: date < Date(2020, 2, 1),
            guid_without_mac: date < Date(2020, 3, 16),
            ..Self::default()
        }
    }
}

impl Params {
    /// The board's type, from the revision code.
    pub(crate) const fn board(&self) -> u32 {
        (self.revision >> 4) & 0xff
    }
}
