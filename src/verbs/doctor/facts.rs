//! What is asked of this machine: interfaces, nft, files, the store. A shell; what it means is said in `checks`.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use ramboot_wire::Arch;

use crate::boot::ipxe_binaries;
use crate::store::{Generation, Store};

/// A ruleset with some ten thousand rules.
const MAX_RULESET_BYTES: u64 = 32 << 20;

/// What the kernel says of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LinkFacts {
    /// Something is plugged in and on.
    pub(super) carrier: Option<bool>,
    /// Seconds of each of the two waits of a bridge with spanning tree.
    pub(super) stp_delay: Option<u64>,
}

/// Netfilter's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ruled {
    /// Those that nftables has.
    Rules {
        /// nft's JSON.
        json: String,
        /// Tables of iptables of before nftables are there, too.
        legacy: bool,
    },
    /// The program is not there.
    NoNft,
    /// They are not shown.
    NotRoot,
    /// nft says this.
    Failed(String),
}

/// iPXE's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ipxe {
    /// Where they are looked for.
    pub(super) folder: PathBuf,
    /// For which firmware, the file's name, and how long it is.
    pub(super) files: Vec<(&'static str, String, Option<u64>)>,
}

/// A name, and what it stands for.
#[derive(Debug)]
pub(super) struct Published {
    /// As workers get it.
    pub(super) name: String,
    /// What it boots, or what is wrong with it.
    pub(super) state: anyhow::Result<ImageState>,
}

/// An image that is whole, as far as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageState {
    /// The first digits.
    pub(super) id: String,
    /// Bytes.
    pub(super) size: u64,
    /// Version.
    pub(super) kernel: String,
    /// Of the machines that boot it.
    pub(super) arch: Arch,
    /// Raspberry Pis boot it, too.
    pub(super) pis: bool,
    /// All of it was read.
    pub(super) deep: bool,
}

/// Carrier and spanning tree.
#[must_use]
pub(super) fn link(interface: &str) -> LinkFacts {
    let read = |name: &str| {
        let path = Path::new("/sys/class/net").join(interface).join(name);
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    };
    let stp = read("bridge/stp_state").is_some_and(|state| state != 0);
    LinkFacts {
        carrier: read("carrier").map(|carrier| carrier != 0),
        // In hundredths of a second.
        stp_delay: stp.then(|| read("bridge/forward_delay").unwrap_or(0) / 100),
    }
}

/// `nft --json list ruleset`, which changes nothing.
#[must_use]
pub(super) fn rules() -> Ruled {
    if !rustix::process::geteuid().is_root() {
        return Ruled::NotRoot;
    }
    let run = || -> anyhow::Result<Ruled> {
        let child = Command::new("nft")
            .args(["--json", "list", "ruleset"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ruled::NoNft),
            child => child.context("starting nft")?,
        };
        let mut text = String::new();
        let stdout = child.stdout.take().context("nft's output")?;
        let read = stdout.take(MAX_RULESET_BYTES).read_to_string(&mut text);
        let status = child.wait().context("waiting for nft")?;
        read.context("reading nft's output")?;
        anyhow::ensure!(status.success(), "nft --json list ruleset: {status}");
        // There once somebody used it; it lists tables.
        let legacy = fs::read_to_string("/proc/net/ip_tables_names");
        Ok(Ruled::Rules {
            json: text,
            legacy: legacy.is_ok_and(|names| !names.trim().is_empty()),
        })
    };
    run().unwrap_or_else(|error| Ruled::Failed(format!("{error:#}")))
}

/// Which of iPXE's files are there.
#[must_use]
pub(super) fn ipxe(folder: &Path) -> Ipxe {
    let length = |name: &&str| fs::metadata(folder.join(name)).ok().map(|file| file.len());
    let best = |firmware, names: &[&str]| {
        let found = names.iter().find_map(|name| Some((*name, length(name)?)));
        match found {
            Some((name, bytes)) => (firmware, name.to_owned(), Some(bytes)),
            None => (firmware, names.join(" or "), None),
        }
    };
    Ipxe {
        folder: folder.to_owned(),
        files: vec![
            best("BIOS", &[ipxe_binaries::BIOS]),
            best("UEFI x86_64", ipxe_binaries::names(Arch::X86_64)),
            best("UEFI arm64", ipxe_binaries::names(Arch::Aarch64)),
        ],
    }
}

/// All names, each with what it stands for; read wholly if `deep`.
///
/// # Errors
/// The store itself cannot be read.
pub(super) fn published(state: &Path, deep: bool) -> anyhow::Result<Vec<Published>> {
    let store = Store::open(state)?;
    let mut all = Vec::new();
    for name in store.names()? {
        let looked = match store.current(&name) {
            Ok(Some(generation)) => image(&store, &generation, deep),
            // It was taken away just now.
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        all.push(Published {
            name: name.to_string(),
            state: looked,
        });
    }
    Ok(all)
}

fn image(store: &Store, generation: &Generation, deep: bool) -> anyhow::Result<ImageState> {
    let image = store.image(generation.image)?;
    let id = generation.image;
    let image = image.with_context(|| format!("image {} is gone", id.short()))?;
    for file in generation.boot_files() {
        let found = image.boot(&file.name)?;
        found.with_context(|| format!("{} of image {} is gone", file.name, id.short()))?;
    }
    if deep {
        image.verify(|_| {})?;
    }
    Ok(ImageState {
        id: id.short(),
        size: generation.size,
        kernel: generation.kernel_version.clone(),
        arch: generation.arch,
        pis: generation.pi.is_some(),
        deep,
    })
}
