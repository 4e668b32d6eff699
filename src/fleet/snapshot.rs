//! The fleet at one moment, for people and programs: `/nodes.json`, `ramboot nodes --json`, and what the page is made of.
//!
//! A field more does not change its form, a field less or with another meaning does ([`VERSION`]). All times are in seconds
//! or milliseconds before the moment it was made.

use std::net::Ipv4Addr;

use ramboot_wire::stage::Bar;
use ramboot_wire::{Arch, ImageId, Mac};
use serde::{Deserialize, Serialize};

use crate::control::Served;

/// The form of the JSON.
pub const VERSION: u32 = 1;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// Who says it.
    pub manager: Manager,
    /// What is published.
    pub images: Vec<ImageRow>,
    /// The machines, by name, then by MAC.
    pub workers: Vec<WorkerRow>,
}

/// The manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manager {
    /// Of `ramboot`.
    pub version: String,
    /// Seconds it runs.
    pub up_s: u64,
    /// Bytes it sends a second, by HTTP and TFTP together.
    pub bytes_per_s: u64,
    /// Bytes it has sent.
    pub bytes: u64,
    /// Reports and heartbeats it did not believe.
    pub refused: u64,
    /// Machines that only asked for something, took no boot file, and are too many to stand among the workers.
    #[serde(default)]
    pub unlisted: usize,
    /// The interfaces it serves; a manager of before this field says none.
    #[serde(default)]
    pub interfaces: Vec<Served>,
}

impl Snapshot {
    /// The same with only the workers in one state; with all of them for `None`.
    #[must_use]
    pub fn only(&self, state: Option<Standing>) -> Part<'_> {
        let is_of = |row: &&WorkerRow| state.is_none_or(|state| row.state == state);
        Part {
            version: self.version,
            manager: &self.manager,
            images: &self.images,
            workers: self.workers.iter().filter(is_of).collect(),
        }
    }
}

/// A part of a [`Snapshot`], which becomes the same JSON.
#[derive(Debug, Serialize)]
pub struct Part<'a> {
    version: u32,
    manager: &'a Manager,
    images: &'a [ImageRow],
    workers: Vec<&'a WorkerRow>,
}

/// One published name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// The name.
    pub name: String,
    /// What it stands for now.
    pub id: ImageId,
    /// Bytes.
    pub size: u64,
    /// `uname -r`.
    pub kernel: String,
    /// Machines that can boot it.
    pub arch: Arch,
    /// Seconds since it was published.
    pub published_s: u64,
    /// What the publisher wanted to remember.
    pub note: String,
    /// What the name stood for before.
    pub previous: Option<ImageId>,
    /// Machines that run it.
    pub running: usize,
    /// Machines that run what the name stood for before.
    pub running_previous: usize,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its hardware address.
    pub mac: Mac,
    /// Its host name, if it is given one.
    pub name: Option<String>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// What it is: `Raspberry Pi 4B with 4 GB`, `QEMU Standard PC`.
    pub model: String,
    /// Of a Raspberry Pi, as its TFTP folder is called.
    pub serial: Option<String>,
    /// Of a PC.
    pub uuid: Option<String>,
    /// What it runs.
    pub arch: Option<Arch>,
    /// Bytes of RAM.
    pub memory: Option<u64>,
    /// What it boots or runs.
    pub image: Option<ImageUse>,
    /// What it would boot if it were switched off and on.
    pub next: Option<ImageUse>,
    /// `image` and `next` are known and differ: a reboot would change what it runs.
    pub would_change: bool,
    /// Where it stands.
    pub state: Standing,
    /// The stage `/init` works on, or stopped in.
    pub stage: Option<String>,
    /// The same in words: `fetches the image: 37 of 139 MB, 92 MB/s`.
    pub sentence: String,
    /// Seconds since it is in this state.
    pub since_s: u64,
    /// Seconds since its kernel started, of one that is up.
    pub up_s: Option<u64>,
    /// Milliseconds from its firmware's first question to the image's init; from its kernel's start, where this manager
    /// did not see its firmware.
    pub boot_ms: Option<u64>,
    /// Bytes of RAM that programs could still have.
    pub available: Option<u64>,
    /// Load average over one minute, in hundredths.
    pub load_percent: Option<u32>,
    /// Seconds since it was last heard of.
    pub seen_s: u64,
    /// What it did when, in milliseconds since its boot began.
    pub boot: Vec<Bar>,
    /// How far the image has come, while it is fetched.
    pub fetch: Option<Fetch>,
    /// How far its image has come, of one that runs before all of it is there.
    pub filling: Option<Filling>,
    /// What is wrong, or went wrong last in this boot.
    pub problem: Option<Trouble>,
}

impl WorkerRow {
    /// The image's init runs, as far as is known; a program of it may wait.
    #[must_use]
    pub fn runs(&self) -> bool {
        match self.state {
            Standing::Up => true,
            Standing::Failed => self.filling.is_some(),
            _ => false,
        }
    }

    /// It runs, and needs a manager until all of its image is there.
    #[must_use]
    pub fn is_tethered(&self) -> bool {
        let misses = self.filling.is_some_and(|filling| filling.percent < 100);
        misses && self.state != Standing::Silent
    }
}

/// An image, and the name it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// Which.
    pub id: ImageId,
    /// A name that stands for it now.
    pub name: Option<String>,
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It stopped, or does not go on.
    Failed,
    /// It was up, and is not heard of any more.
    Silent,
    /// Its firmware asks for an address.
    Asking,
    /// It loads kernel and initramfs.
    Loading,
    /// `/init` works.
    Booting,
    /// The image's init runs.
    Up,
}

impl Standing {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::Silent,
        Self::Asking,
        Self::Loading,
        Self::Booting,
        Self::Up,
    ];

    /// As it stands in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Asking => "asking",
            Self::Loading => "loading",
            Self::Booting => "booting",
            Self::Up => "up",
        }
    }
}

/// A fetch that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes of the image, if it is a published one.
    pub size: Option<u64>,
    /// Bytes a second, of late.
    pub bytes_per_s: u64,
}

/// The image of a machine that runs already, and needs a manager until all of it is in its RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// Of a hundred, what is in its RAM.
    pub percent: u8,
    /// The same in bytes, once it said so.
    pub resident: Option<u64>,
    /// Bytes of the image.
    pub size: Option<u64>,
    /// Bytes a second, of late.
    pub bytes_per_s: u64,
    /// Seconds until it needs nobody; `None` if nothing comes.
    pub independent_s: Option<u64>,
    /// Seconds that one of its programs has been waiting for a part of the image.
    pub blocked_s: u64,
    /// Seconds since it said all this.
    pub heard_s: u64,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In one sentence.
    pub sentence: String,
    /// What helps.
    pub remedy: String,
    /// Seconds since it was found.
    pub since_s: u64,
}
