//! The folder each Pi believes to boot from, which is nowhere: a path and who asks for it in, bytes out. Pure.
//!
//! `<serial>/`, `<mac-with-dashes>/`, a prefix of the operator's and the root are the same folder of one machine (bootloader
//! settings `TFTP_PREFIX` 0, 2, 1 and the fallback). Its kernel, initramfs and command line have names made of their
//! content, so config.txt decides what boots; but firmware reads config.txt up to six times in one boot, and firmware
//! files and device trees have fixed names. So what was chosen for a machine when its boot began is kept until its next
//! one begins: a publish in between changes nothing. How a boot begins depends on the board; see [`Pin::is_over`].
//!
//! A machine without an image gets no file at all, not even `start4.elf` and `start.elf`: its bootloader tries again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ramboot_wire::{BootArgs, Mac};

use super::board;
use super::config_txt::{Cmdline, ConfigTxtError, Names, config_txt};
use super::files::{Files, is_wanted};
use crate::parts::Parts;
use crate::store::PiBoot;

/// Longest path a bootloader asks for: a prefix of 32, a name of 64.
const MAX_PATH_BYTES: usize = 160;
/// Machines booting at the same time; past that, who was silent longest loses its pin, and boots what is chosen anew.
const MAX_PINS: usize = 1024;
/// No boot pauses that long: files take seconds, and a bootloader gives one up after 30 s (`TFTP_FILE_TIMEOUT`).
const IDLE: Duration = Duration::from_secs(120);
/// A Pi 5 asks for config.txt first and again later, but gives up a file after this time: then it begins anew.
const SILENCE: Duration = Duration::from_secs(30);
/// Publications before the current one that are searched for a name made of content.
const MAX_BACK: usize = 8;

/// What one machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PiChoice {
    files: Arc<Files>,
    /// Names made of content, and the content; and the two fixed names.
    own: [(String, Bytes); 5],
}

/// The boot files of an image as they are mapped.
#[derive(Debug, Clone)]
pub struct Content {
    /// [`PiBoot::files`], read.
    pub files: Arc<Files>,
    /// [`PiBoot::kernel`]
    pub kernel: Bytes,
    /// [`PiBoot::initrd`]
    pub initrd: Bytes,
}

impl PiChoice {
    /// Writes config.txt and the command line for one machine.
    ///
    /// # Errors
    /// The publication or the command line holds what firmware would not read as it is.
    pub fn new(
        pi: &PiBoot,
        content: Content,
        args: &BootArgs,
        extra: &str,
    ) -> Result<Self, ConfigTxtError> {
        let cmdline = Cmdline::new(args, extra, pi.upstream)?;
        let names = Names {
            kernel: &pi.kernel.name,
            initrd: &pi.initrd.name,
            cmdline: &cmdline.name,
        };
        let config = config_txt(&pi.config, pi.upstream, &names)?;
        let text = Bytes::from(cmdline.text);
        Ok(Self {
            files: content.files,
            own: [
                (CONFIG.to_owned(), config.into()),
                // The default of `cmdline=`, for who does not know the key.
                (CMDLINE.to_owned(), text.clone()),
                (cmdline.name, text),
                (pi.kernel.name.clone(), content.kernel),
                (pi.initrd.name.clone(), content.initrd),
            ],
        })
    }

    fn get(&self, name: &str) -> Option<&Bytes> {
        let own = self.own.iter().find(|(own, _)| own == name);
        own.map(|(_, bytes)| bytes).or_else(|| self.files.get(name))
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its source address.
    pub address: Ipv4Addr,
    /// Of this address, if DHCP or the neighbour table knows.
    pub mac: Option<Mac>,
}

/// Which machine it is, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its source address.
    pub address: Ipv4Addr,
    /// From the path, else by the serial number, else by the address.
    pub mac: Option<Mac>,
    /// From the path: the low 32 bits.
    pub serial: Option<u32>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A file.
    Found(Parts),
    /// RFC 1350 error 1, at once: bootloaders take another one, or silence, for a broken network.
    Missing(Why),
}

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No path of a Raspberry Pi.
    #[error("no file of a Raspberry Pi")]
    NotOurs,
    /// One of the files that a bootloader looks for and that normally is not there: half of all requests.
    #[error("not there, as in most boots")]
    Expected,
    /// The machine has nothing to boot.
    #[error("nothing to boot: {0}")]
    NoImage(String),
    /// The boot fails for it.
    #[error("{0}")]
    Loud(String),
}

impl Why {
    /// Somebody should see it. [`Why::NoImage`] comes for each of the files a bootloader then tries.
    #[must_use]
    pub const fn is_loud(&self) -> bool {
        matches!(self, Self::NoImage(_) | Self::Loud(_))
    }
}

const CONFIG: &str = "config.txt";
const CMDLINE: &str = "cmdline.txt";

/// Files by what they say about how far a boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `bootcode.bin`, which only a mask ROM asks for.
    Bootcode,
    /// `start*.elf`
    StartElf,
    Config,
    Cmdline,
    /// Kernel and initramfs.
    Named,
    /// Fixup files, device trees, overlays.
    Other,
}

impl Class {
    fn of(name: &str) -> Option<Self> {
        match name {
            "bootcode.bin" => Some(Self::Bootcode),
            CONFIG => Some(Self::Config),
            CMDLINE => Some(Self::Cmdline),
            _ if name.starts_with("cmdline-") => Some(Self::Cmdline),
            _ if name.starts_with("vmlinuz-") || name.starts_with("initrd-") => Some(Self::Named),
            _ if !is_wanted(name) => None,
            _ if name.starts_with("start") => Some(Self::StartElf),
            _ => Some(Self::Other),
        }
    }
}

/// A path, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    serial: Option<u32>,
    mac: Option<Mac>,
    /// Without what stands for the machine.
    name: String,
    at_root: bool,
}

impl Asked {
    /// `None` for what no bootloader asks for. Several slashes are one (a Pi 5 asks for `5b154510//config.txt`).
    fn parse(path: &str, prefix: &str) -> Option<Self> {
        if path.len() > MAX_PATH_BYTES || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let parts = |path| str::split(path, '/').filter(|part| !part.is_empty());
        let all: Vec<&str> = parts(path).collect();
        if all.is_empty()
            || path.ends_with('/')
            || all.iter().any(|part| matches!(*part, "." | ".."))
        {
            return None;
        }
        let prefix: Vec<&str> = parts(prefix).collect();
        let (mut serial, mut mac, mut rest) = (None, None, all.as_slice());
        if let Some(inside) = all
            .strip_prefix(prefix.as_slice())
            .filter(|_| !prefix.is_empty())
        {
            rest = inside;
        } else if let [first, inside @ ..] = all.as_slice() {
            serial = serial_number(first);
            mac = first.contains('-').then(|| first.parse().ok()).flatten();
            if serial.is_some() || mac.is_some() {
                rest = inside;
            }
        }
        Some(Self {
            serial,
            mac,
            name: rest.join("/"),
            at_root: rest.len() == all.len(),
        })
    }
}

/// Eight hexadecimal digits.
fn serial_number(text: &str) -> Option<u32> {
    let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// How far a machine's boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It looked whether there is a start.elf.
    Begun,
    /// It read config.txt to find out which start.elf.
    Configured,
    /// start.elf runs, or (Pi 5) nothing of the kind is to come.
    Loaded,
    /// It read the command line: what it asks for after this, but armstub and kernel, belongs to the next boot.
    Last,
}

/// What was chosen for a machine when its boot began.
#[derive(Debug, Clone)]
struct Pin {
    choice: PiChoice,
    serial: Option<u32>,
    stage: Stage,
    has_start_elf: bool,
    last: Duration,
}

impl Pin {
    /// Whether this request begins another boot. By board: a ROM asks for bootcode.bin; then, as on a Pi 4, start.elf is
    /// asked for, config.txt read, start.elf read. A Pi 5 begins with config.txt. All of them end with the command
    /// line and the kernel.
    fn is_over(&self, class: Class, serial: Option<u32>, now: Duration) -> bool {
        let silence = now.saturating_sub(self.last);
        let another = matches!((self.serial, serial), (Some(a), Some(b)) if a != b);
        another
            || silence > IDLE
            || match class {
                Class::Bootcode => true,
                Class::StartElf => self.stage != Stage::Configured,
                Class::Config => {
                    self.stage == Stage::Last || (!self.has_start_elf && silence > SILENCE)
                }
                Class::Cmdline | Class::Named | Class::Other => false,
            }
    }

    fn step(&mut self, class: Class, now: Duration) {
        self.last = now;
        self.has_start_elf |= class == Class::StartElf;
        self.stage = match (class, self.stage) {
            (Class::Config, Stage::Begun) => Stage::Configured,
            (Class::StartElf, Stage::Configured) => Stage::Loaded,
            (Class::Cmdline, _) => Stage::Last,
            (_, stage) => stage,
        };
    }

    const fn first_stage(class: Class) -> Stage {
        match class {
            Class::Bootcode | Class::StartElf => Stage::Begun,
            _ => Stage::Loaded,
        }
    }
}

/// The trees of all machines, and what each of them is in the middle of. A value: time is an argument.
#[derive(Debug, Default)]
pub struct Tree {
    prefix: String,
    pins: BTreeMap<Ipv4Addr, Pin>,
}

impl Tree {
    /// `prefix` is the folder that bootloaders with `TFTP_PREFIX=1` ask in; empty if there are none.
    #[must_use]
    pub const fn new(prefix: String) -> Self {
        Self {
            prefix,
            pins: BTreeMap::new(),
        }
    }

    /// What `path` is for the machine that asks. `mac_of` knows machines by the low 32 bits of their serial number.
    /// `choose` gives what a machine boots now (0) or what it booted so many publications ago; its error is a sentence.
    pub fn resolve(
        &mut self,
        path: &str,
        asker: &Asker,
        now: Duration,
        mac_of: impl Fn(u32) -> Option<Mac>,
        choose: impl Fn(&Who, usize) -> Result<PiChoice, String>,
    ) -> Answer {
        let Some(asked) = Asked::parse(path, &self.prefix) else {
            return Answer::Missing(Why::NotOurs);
        };
        let Some(class) = Class::of(&asked.name) else {
            return Answer::Missing(if asked.at_root {
                Why::NotOurs
            } else {
                Why::Expected
            });
        };
        let by_serial = asked.serial.and_then(mac_of);
        let who = Who {
            address: asker.address,
            mac: asked.mac.or(by_serial).or(asker.mac),
            serial: asked.serial,
        };
        let over = |pin: &Pin| pin.is_over(class, who.serial, now);
        if self.pins.get(&who.address).is_none_or(over) {
            match choose(&who, 0) {
                Ok(choice) => self.begin(&who, class, choice, now),
                Err(reason) => {
                    self.pins.remove(&who.address);
                    return Answer::Missing(Why::NoImage(reason));
                }
            }
        }
        let Some(pin) = self.pins.get_mut(&who.address) else {
            return Answer::Missing(Why::Expected);
        };
        pin.step(class, now);
        if let Some(bytes) = pin.choice.get(&asked.name) {
            return Answer::Found(bytes.clone().into());
        }
        match class {
            // A config.txt of before a publish, and no pin: this manager is not the one that began the boot.
            Class::Named | Class::Cmdline => {
                let older = (1..=MAX_BACK).map_while(|back| choose(&who, back).ok());
                match older.into_iter().find_map(|choice| {
                    let bytes = choice.get(&asked.name)?.clone();
                    Some((choice, bytes))
                }) {
                    Some((choice, bytes)) => {
                        pin.choice = choice;
                        Answer::Found(bytes.into())
                    }
                    None => Answer::Missing(Why::Loud(format!(
                        "config.txt named {}, which no stored image has; without it the Pi's kernel does not start or panics: switch the Pi off and on",
                        asked.name
                    ))),
                }
            }
            _ => instead(&pin.choice.files, &asked.name),
        }
    }

    /// How many machines are booting.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.pins.len()
    }

    fn begin(&mut self, who: &Who, class: Class, choice: PiChoice, now: Duration) {
        self.pins
            .retain(|_, pin| now.saturating_sub(pin.last) <= IDLE);
        if self.pins.len() >= MAX_PINS
            && let Some((&idlest, _)) = self.pins.iter().min_by_key(|(_, pin)| pin.last)
        {
            self.pins.remove(&idlest);
        }
        let pin = Pin {
            choice,
            serial: who.serial,
            stage: Pin::first_stage(class),
            has_start_elf: false,
            last: now,
        };
        self.pins.insert(who.address, pin);
    }
}

/// Most files of the firmware are optional. A device tree is not; but a board whose name for it nobody used in this image
/// is content with another that fits.
fn instead(files: &Files, name: &str) -> Answer {
    let Some(board) = board::of_tree(name) else {
        return Answer::Missing(Why::Expected);
    };
    match board.trees().find_map(|tree| files.get(tree)) {
        Some(bytes) => Answer::Found(bytes.clone().into()),
        None => Answer::Missing(Why::Loud(format!(
            "the image has no device tree for a {}: {name}",
            board.name
        ))),
    }
}

#[cfg(test)]
mod tests;
