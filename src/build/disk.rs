//! A disk image as a source: its root file system, and what belongs into `/boot` from its other partitions.
//!
//! Takes an image of a disk (GPT, or MBR with logical partitions) or of one file system. The root is ext2, ext3, ext4 or a
//! squashfs, as mkosi, Yocto and OpenWrt write it; a `/boot` of its own is folded in, and so are FAT partitions: a Raspberry Pi's at `/boot/firmware`, an EFI system
//! partition at `/boot/efi`. What the root has below such a folder is hidden when that system runs, and is left out here.
//! Other file systems are refused by name, with the command that makes something readable of them. The image is read only, and nothing in it is trusted.

mod choose;
mod crc;
mod ext4;
mod fat;
mod gpt;
mod kind;
mod le;
mod remedy;
mod squashfs;
mod table;
mod walk;
mod window;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::entry::Sink;
use choose::{ChoiceError, Firmware, Is, Seen};
use ext4::{Ext4, Unclean};
use fat::Fat;
use kind::Kind;
use remedy::Remedy;
use table::Partition;
use walk::Out;
use window::Window;

/// What the user may say of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// The number of the root partition, where it cannot be told otherwise.
    pub partition: Option<u32>,
    /// Where temporary files go; the system's folder for them if it is not said.
    pub folder: Option<&'a Path>,
}

/// Gives everything in an image to `sink`, always in the same order, and tells `progress` how many bytes of content were
/// given so far; messages call it `image`. Returns what the user should know of what was taken or left out, one sentence
/// each.
///
/// # Errors
/// It has no root that can be read, or it is not clear which; it is damaged or cut short; or the sink refused something.
pub fn read(
    file: File,
    image: &Path,
    options: Options<'_>,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Vec<String>> {
    let mut out = Out::new(sink, progress);
    let given = give_all(file, image, options, &mut out);
    given.map_err(|error| {
        let told = || format!("reading disk image {}", image.display());
        out.refused.take().unwrap_or_else(|| error.context(told()))
    })
}

fn give_all(
    file: File,
    image: &Path,
    options: Options<'_>,
    out: &mut Out<'_>,
) -> anyhow::Result<Vec<String>> {
    let whole = Window::whole(file)?;
    let (partitions, mut notes) = partitions(&whole)?;
    let mut seen = Vec::new();
    let mut windows = Vec::new();
    for partition in partitions {
        let Partition {
            number,
            start,
            len,
            guid,
        } = partition;
        let window = whole
            .part(start, len)
            .with_context(|| format!("partition {number} leaves the image"))?;
        let is = look(&window, image);
        seen.push(Seen {
            number,
            len,
            guid,
            is,
        });
        windows.push((number, window));
    }
    let root = choose::root(&seen, options.partition)
        .map_err(|error| helpful(error, image, &seen, &windows, options.partition))?;
    let (places, left_out) = choose::others(&seen, root);
    notes.extend(left_out);

    out.leave(places.keys().cloned());
    for (place, index) in std::iter::once((PathBuf::new(), root)).chain(places) {
        let (number, window) = windows.get(index).context("there is no such partition")?;
        give(window.clone(), image, options, &place, out).with_context(|| match number {
            0 => "its file system".to_owned(),
            number => format!("partition {number}"),
        })?;
    }
    if out.sockets > 0 {
        notes.push(format!(
            "left out: {} sockets, which those who listen on them make",
            out.sockets
        ));
    }
    Ok(notes)
}

/// With what helps, if anything does.
fn helpful(
    error: ChoiceError,
    image: &Path,
    seen: &[Seen],
    windows: &[(u32, Window)],
    wanted: Option<u32>,
) -> anyhow::Error {
    if matches!(
        error,
        ChoiceError::NoSuch { .. } | ChoiceError::Broken { .. } | ChoiceError::Several { .. }
    ) {
        return error.into();
    }
    let helped = choose::helped(seen, wanted);
    let found = helped.and_then(|index| Some((&seen.get(index)?.is, &windows.get(index)?.1)));
    match found {
        Some((Is::Other(_, remedy), window)) => {
            let does = remedy::sentence(*remedy, image, window.start(), window.len());
            anyhow!("{error}: {does}")
        }
        _ => anyhow!("{error}: {}", remedy::TAR),
    }
}

/// Whether this is a file system that is known, without a partition table.
pub(super) fn is_known(file: File) -> bool {
    Window::whole(file).is_ok_and(|window| kind::kind(&window) != Kind::Unknown)
}

/// All of an image, or one without a number that is all of it.
fn partitions(whole: &Window) -> anyhow::Result<(Vec<Partition>, Vec<String>)> {
    if let Some(table) = table::read(whole)? {
        ensure!(!table.partitions.is_empty(), "its partition table is empty");
        return Ok((table.partitions, table.notes));
    }
    ensure!(
        kind::kind(whole) != Kind::Unknown,
        "it has neither a partition table nor a file system that is known"
    );
    let all = Partition {
        number: 0,
        start: 0,
        len: whole.len(),
        guid: None,
    };
    Ok((vec![all], Vec::new()))
}

/// One file system, below a place.
fn give(
    window: Window,
    image: &Path,
    options: Options<'_>,
    place: &Path,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let is_root = place.as_os_str().is_empty();
    if !is_root {
        out.mount_point(place)?;
    }
    match kind::kind(&window) {
        Kind::Ext => walk::ext4(&open(window, image)?, place, out),
        Kind::Fat if !is_root => walk::fat(&Fat::open(window)?, place, out),
        Kind::Squashfs if is_root => squashfs::give(&window, options.folder, out),
        _ => bail!("it is neither ext2, ext3, ext4 nor FAT"),
    }
}

/// Opens an ext file system, or says what helps.
fn open(window: Window, image: &Path) -> anyhow::Result<Ext4> {
    let (start, len) = (window.start(), window.len());
    Ext4::open(window).map_err(|error| {
        if error.is::<Unclean>() {
            anyhow!("{error}: {}", replay(image, start, len))
        } else {
            error
        }
    })
}

/// How the journal of a file system is replayed. With its `?offset=`, e2fsck 1.47 loses its way after the replay.
fn replay(image: &Path, start: u64, len: u64) -> String {
    let image = image.display();
    if start == 0 {
        return format!("run `e2fsck -fy '{image}'` first");
    }
    format!(
        "take it out with `dd if='{image}' of=PART.img bs=1M iflag=skip_bytes,count_bytes skip={start} count={len}`, run \
         `e2fsck -fy PART.img`, and put it back with `dd if=PART.img of='{image}' bs=1M oflag=seek_bytes seek={start} \
         conv=notrunc`"
    )
}

fn look(window: &Window, image: &Path) -> Is {
    let seen = match kind::kind(window) {
        Kind::Ext => open(window.clone(), image).and_then(|fs| look_at_ext(&fs)),
        Kind::Fat => Fat::open(window.clone()).and_then(|fs| look_at_fat(&fs)),
        Kind::Squashfs => Ok(Is::Squashfs),
        Kind::Other(name, remedy) => Ok(Is::Other(name, remedy)),
        Kind::Unknown => Ok(Is::Other(choose::NOTHING, Remedy::None)),
    };
    seen.unwrap_or_else(|error| Is::Broken(format!("{error:#}")))
}

/// Any of these makes a root: all distributions have the first, and a chroot that somebody made by hand the last.
const ROOT_MARKS: [&[&str]; 4] = [
    &["etc", "os-release"],
    &["usr", "lib", "os-release"],
    &["sbin", "init"],
    &["usr", "sbin", "init"],
];

/// Names at the top of a partition for `/boot`, or what they begin with.
const BOOT_MARKS: [&str; 5] = ["vmlinuz-", "vmlinux-", "Image-", "grub", "extlinux"];

fn look_at_ext(fs: &Ext4) -> anyhow::Result<Is> {
    let mut root = false;
    for path in ROOT_MARKS {
        root = root || has(fs, path)?;
    }
    let names = fs.names(&fs.inode(ext4::ROOT)?)?;
    let is_mark = |name: &Vec<u8>| {
        BOOT_MARKS
            .iter()
            .any(|mark| name.starts_with(mark.as_bytes()))
    };
    Ok(Is::Ext {
        label: fs.label().to_owned(),
        root,
        boot: names.keys().any(is_mark),
    })
}

/// Whether there is such a path; symbolic links are not followed.
fn has(fs: &Ext4, path: &[&str]) -> anyhow::Result<bool> {
    let mut inode = fs.inode(ext4::ROOT)?;
    for name in path {
        if !ext4::is_folder(inode.mode) {
            return Ok(false);
        }
        match fs.names(&inode)?.get(name.as_bytes()) {
            Some(number) => inode = fs.inode(*number)?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

fn look_at_fat(fs: &Fat) -> anyhow::Result<Is> {
    let (names, _) = fs.root()?;
    let mut firmware = None;
    for entry in names {
        let name = entry.name.to_ascii_lowercase();
        let is_pi = ["config.txt", "cmdline.txt", "bootcode.bin"].contains(&name.as_str())
            || (name.starts_with("start") && name.ends_with(".elf"))
            || (name.starts_with("bcm2") && name.ends_with(".dtb"));
        if is_pi && !entry.is_folder {
            // With EFI firmware for the Pi beside it, it is nevertheless what the Pi reads first.
            firmware = Some(Firmware::RaspberryPi);
            break;
        }
        if name == "efi" && entry.is_folder {
            firmware = Some(Firmware::Efi);
        }
    }
    Ok(Is::Fat(firmware))
}
