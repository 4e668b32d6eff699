//! The folder each Pi believes to boot from, which is nowhere: a path and who asks for it in, bytes out. Pure.
//!
//! `<serial>/`, `<mac-with-dashes>/`, a prefix of the operator's and the root are the same folder of one machine (bootloader
//! settings `TFTP_PREFIX` 0, 2, 1 and the fallback). Its kernel, initramfs and command line have names made of their
//! content, so config.txt decides what boots; but firmware reads config.txt up to six times in one boot, and firmware
//! files and device trees have fixed names. So what was chosen for a machine when its boot began is kept until its next
//! one begins: a publish in between changes nothing. How a boot begins depends on the board; see [`pin`].
//!
//! A machine without an image gets no file at all, not even `start4.elf` and `start.elf`: its bootloader tries again.

mod path;
mod pin;

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::board;
use super::choice::PiChoice;
use crate::store::rope::Rope;
use path::{Asked, Class};
use pin::Pins;

/// Publications before the current one that are searched for a name made of content.
const MAX_BACK: usize = 8;

/// Which machine it is, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its source address.
    pub address: Ipv4Addr,
    /// From the path.
    pub mac: Option<Mac>,
    /// From the path: the low 32 bits.
    pub serial: Option<u32>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A file.
    Found(Rope),
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

/// The trees of all machines, and what each of them is in the middle of. A value: time is an argument.
#[derive(Debug, Default)]
pub struct Tree {
    prefix: String,
    pins: Pins,
}

impl Tree {
    /// `prefix` is the folder that bootloaders with `TFTP_PREFIX=1` ask in; empty if there are none.
    #[must_use]
    pub const fn new(prefix: String) -> Self {
        Self {
            prefix,
            pins: Pins::new(),
        }
    }

    /// The operator's folder is another one from now on; boots under way go on with their pins.
    pub fn set_prefix(&mut self, prefix: &str) {
        if self.prefix != prefix {
            prefix.clone_into(&mut self.prefix);
        }
    }

    /// How many machines are booting, or were two minutes ago.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.pins.len()
    }

    /// What `path` is for the machine that asks, `now` after any moment that stays the same. `choose` gives what a machine boots now (0) or what it would have booted so many
    /// publications ago; its error is a sentence.
    pub fn resolve(
        &mut self,
        path: &str,
        address: Ipv4Addr,
        now: Duration,
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
        let who = Who {
            address,
            mac: asked.by.mac,
            serial: asked.by.serial,
        };
        let chosen = || choose(&who, 0);
        let pin = match self.pins.step(who.address, asked.by, class, now, chosen) {
            Ok(pin) => pin,
            Err(reason) => return Answer::Missing(Why::NoImage(reason)),
        };
        let by_content = matches!(class, Class::Named | Class::Cmdline);
        if !by_content || pin.choice.get(&asked.name).is_some() {
            return look_up(&pin.choice, &asked.name);
        }
        // A config.txt of before a publish, and no pin: another run of this manager began the boot. The rest goes with it.
        let older = (1..=MAX_BACK).filter_map(|back| choose(&who, back).ok());
        match older
            .into_iter()
            .find(|choice| choice.get(&asked.name).is_some())
        {
            Some(choice) => {
                pin.choice = choice;
                look_up(&pin.choice, &asked.name)
            }
            None => Answer::Missing(Why::Loud(format!(
                "config.txt named {}, which no stored image has; without it the kernel does not start, or panics: switch the Pi off and on",
                asked.name
            ))),
        }
    }
}

/// The file, or what can stand for it. Most files of the firmware are optional. A device tree is not; but a board whose name
/// for it nobody used in this image is content with another that fits.
fn look_up(choice: &PiChoice, name: &str) -> Answer {
    let found = |parts: &Rope| Answer::Found(parts.clone());
    if let Some(parts) = choice.get(name) {
        return found(parts);
    }
    let Some(board) = board::of_tree(name) else {
        return Answer::Missing(Why::Expected);
    };
    match board.trees().find_map(|tree| choice.get(tree)) {
        Some(parts) => found(parts),
        None => Answer::Missing(Why::Loud(format!(
            "the image has no device tree for a {}: {name}",
            board.name
        ))),
    }
}

#[cfg(test)]
mod tests;
