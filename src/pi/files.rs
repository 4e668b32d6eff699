//! The firmware files of an image: one cpio archive, opened once, handed out in slices. `cpio -t` lists it.
//!
//! Takes bytes that anybody may have written and a disk may refuse to give. Gives names that [`is_wanted`] and slices inside the archive, at most
//! [`MAX_FILES`] of at most [`MAX_FILE_BYTES`]; anything else is refused by name, and nothing is copied.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ramboot_wire::cpio::{FILE, FOLDER, HEAD_BYTES, Head, TRAILER, TYPE};

use crate::formats::cpio::{self, CpioError};
use crate::store::rope::Rope;

/// Raspberry Pi OS has 330 overlays.
pub const MAX_FILES: usize = 1024;
/// What TFTP carries in 65 535 blocks of 1024 bytes: block numbers of bootloaders before 2025-09-23 do not wrap.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024 - 1024;
/// Raspberry Pi OS has 40 MB in eight variants of start.elf.
pub const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;
const MAX_NAME_BYTES: usize = 80;
/// Images that boot at the same time, and the ones before them.
const MAX_OPENED: usize = 8;
const OVERLAYS: &str = "overlays";

/// Why an archive cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFiles {
    /// Not what [`pack`] writes.
    #[error("Raspberry Pi files: at byte {at}: {what}")]
    Entry {
        /// Where.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A name that firmware does not ask for, or would not be found by.
    #[error("Raspberry Pi files: {0:?} does not belong there")]
    Name(String),
    /// One too large.
    #[error("{name} has {bytes} bytes; bootloaders of before 2025-09 load {MAX_FILE_BYTES}")]
    File {
        /// Which.
        name: String,
        /// How many.
        bytes: usize,
    },
    /// All together.
    #[error(
        "{files} Raspberry Pi files of {bytes} bytes; {MAX_FILES} of {MAX_TOTAL_BYTES} together are possible"
    )]
    Total {
        /// How many.
        files: usize,
        /// Together.
        bytes: usize,
    },
    /// It cannot be read.
    #[error("Raspberry Pi files: {0}")]
    Unread(String),
    /// Not possible in a cpio archive.
    #[error(transparent)]
    Cpio(#[from] CpioError),
}

/// Whether firmware asks for a file of this name and it belongs to the firmware or the device tree: no kernel, no
/// initramfs, no configuration.
#[must_use]
pub fn is_wanted(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let (folder, file) = match name.split_once('/') {
        Some((folder, file)) => (Some(folder), file),
        None => (None, name),
    };
    let is = |begin: &[&str], end: &str| {
        file.ends_with(end) && begin.iter().any(|begin| file.starts_with(begin))
    };
    name.len() <= MAX_NAME_BYTES
        && file.bytes().all(plain)
        && !file.starts_with('.')
        && match folder {
            None => {
                file == "bootcode.bin"
                    || is(&["start"], ".elf")
                    || is(&["fixup"], ".dat")
                    || is(&["bcm27", "bcm28"], ".dtb")
            }
            // Firmware believes in a folder of overlays if it has a README.
            Some(OVERLAYS) => {
                is(&[""], ".dtbo") || matches!(file, "README" | "overlay_map.dtb" | "hat_map.dtb")
            }
            Some(_) => false,
        }
}

/// Files by name, each a slice of one archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Rope>);

impl Files {
    /// Reads the archive's headers.
    ///
    /// # Errors
    /// It is not one that [`pack`] writes, or cannot be read.
    pub fn open(archive: &Rope) -> Result<Self, BadFiles> {
        let mut files = BTreeMap::new();
        let (mut at, mut total) = (0, 0);
        loop {
            let mut head = [0; HEAD_BYTES + MAX_NAME_BYTES + 1];
            let read = archive.read_at(at, &mut head);
            let read = read.map_err(|error| BadFiles::Unread(error.to_string()))?;
            let entry = Entry::read(&head[..read], at, archive.len())?;
            if entry.name == TRAILER {
                return Ok(Self(files));
            }
            if entry.is_folder && entry.name == OVERLAYS && entry.content.is_empty() {
                at = entry.next;
                continue;
            }
            let bytes = entry.content.end - entry.content.start;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if entry.is_folder || !is_wanted(entry.name) {
                return Err(BadFiles::Name(entry.name.to_owned()));
            }
            if bytes > MAX_FILE_BYTES {
                let name = entry.name.to_owned();
                return Err(BadFiles::File { name, bytes });
            }
            total += bytes;
            let content = archive.range(entry.content.clone());
            if files.insert(entry.name.to_owned(), content).is_some() {
                return Err(BadFiles::Name(entry.name.to_owned()));
            }
            if files.len() > MAX_FILES || total > MAX_TOTAL_BYTES {
                let (files, bytes) = (files.len(), total);
                return Err(BadFiles::Total { files, bytes });
            }
            at = entry.next;
        }
    }

    /// One file's content.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Rope> {
        self.0.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Archives opened lately, by a name made of their content: machines that boot one image share one.
#[derive(Debug, Default)]
pub struct Opened(VecDeque<(String, Arc<Files>)>);

impl Opened {
    /// The files of `archive`, which is the only content that anything of this name has.
    ///
    /// # Errors
    /// See [`Files::open`]; nothing is kept then.
    pub fn get(&mut self, name: &str, archive: &Rope) -> Result<Arc<Files>, BadFiles> {
        if let Some((_, files)) = self.0.iter().find(|(known, _)| known == name) {
            return Ok(Arc::clone(files));
        }
        let files = Arc::new(Files::open(archive)?);
        // The mapping of an image that was removed lives as long as somebody has it.
        self.0.truncate(MAX_OPENED - 1);
        self.0.push_front((name.to_owned(), Arc::clone(&files)));
        Ok(files)
    }
}

/// Writes the archive; the same files give the same bytes.
///
/// # Errors
/// [`Files::open`] would refuse it.
pub fn pack(files: BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, BadFiles> {
    let total = files.values().map(Vec::len).sum();
    if files.len() > MAX_FILES || total > MAX_TOTAL_BYTES {
        let (files, bytes) = (files.len(), total);
        return Err(BadFiles::Total { files, bytes });
    }
    let mut archive = cpio::Archive::default();
    for (name, content) in files {
        if !is_wanted(&name) {
            return Err(BadFiles::Name(name));
        }
        if content.len() > MAX_FILE_BYTES {
            let bytes = content.len();
            return Err(BadFiles::File { name, bytes });
        }
        archive.file(&name, content);
    }
    Ok(archive.bytes()?)
}

/// What one header says, checked against the archive's length.
struct Entry<'a> {
    name: &'a str,
    is_folder: bool,
    content: Range<u64>,
    next: u64,
}

impl<'a> Entry<'a> {
    /// `head` is what stands at `at` of an archive of `len` bytes, as much of it as a header and the longest name are.
    fn read(head: &'a [u8], at: u64, len: u64) -> Result<Self, BadFiles> {
        let bad = |what| BadFiles::Entry { at, what };
        let Head {
            meta,
            name_len,
            content_len,
        } = Head::parse(head).ok_or_else(|| bad("no header of a newc archive"))?;
        let (mode, size) = (meta.mode, content_len);
        let name_bytes = usize::try_from(name_len).unwrap_or(usize::MAX);
        if !(2..=MAX_NAME_BYTES + 1).contains(&name_bytes) {
            return Err(bad("no name that firmware would ask for"));
        }
        let name = head
            .get(HEAD_BYTES..HEAD_BYTES + name_bytes)
            .and_then(|name| std::str::from_utf8(name.strip_suffix(b"\0")?).ok())
            .ok_or_else(|| bad("the name is cut off"))?;
        // Numbers of 32 bits, and an offset inside a file: their sums are far from a u64's end.
        let start = (at + (HEAD_BYTES + name_bytes) as u64).next_multiple_of(4);
        let end = start + u64::from(size);
        if end > len {
            return Err(bad("the content is cut off"));
        }
        let is_folder = mode & TYPE == FOLDER;
        if !is_folder && mode & TYPE != FILE && name != TRAILER {
            return Err(bad("neither a file nor a folder"));
        }
        Ok(Self {
            name,
            is_folder,
            content: start..end,
            next: end.next_multiple_of(4),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn some() -> BTreeMap<String, Vec<u8>> {
        [
            ("bootcode.bin", &b"rom"[..]),
            ("start4.elf", b"elf4"),
            ("fixup4.dat", b""),
            ("bcm2711-rpi-4-b.dtb", b"tree!"),
            ("overlays/README", b"x"),
            ("overlays/vc4-kms-v3d.dtbo", b"overlay"),
        ]
        .map(|(name, content)| (name.to_owned(), content.to_vec()))
        .into()
    }

    #[test]
    fn what_is_packed_is_read_in_place() {
        let archive = Bytes::from(pack(some()).expect("packed"));
        let files = Files::open(&archive.clone().into()).expect("read");
        assert_eq!(files.names().count(), 6);
        for (name, content) in some() {
            let slices = files.get(&name).expect("there").slices();
            assert_eq!(slices.concat(), content, "{name}");
            let inside = archive.as_ptr_range();
            assert!(
                slices.iter().all(|slice| inside.contains(&slice.as_ptr())),
                "{name}"
            );
        }
        assert_eq!(files.get("overlays"), None);
        let empty = Bytes::from(pack(BTreeMap::new()).expect("packed"));
        assert_eq!(Files::open(&empty.into()), Ok(Files::default()));
    }

    #[test]
    fn machines_share_what_is_open_and_not_much_is() {
        let archive = Rope::from(pack(some()).expect("packed"));
        let mut opened = Opened::default();
        let first = opened.get("pi-0", &archive).expect("read");
        assert!(Arc::ptr_eq(
            &first,
            &opened.get("pi-0", &archive).expect("read")
        ));
        let damaged = opened.get("pi-1", &archive.range(1..archive.len()));
        assert!(matches!(damaged, Err(BadFiles::Entry { at: 0, .. })));
        for i in 1..=MAX_OPENED {
            opened.get(&format!("pi-{i}"), &archive).expect("read");
        }
        assert_eq!(opened.0.len(), MAX_OPENED);
        assert!(!Arc::ptr_eq(
            &first,
            &opened.get("pi-0", &archive).expect("read")
        ));
    }

    #[test]
    fn only_what_firmware_asks_for_belongs() {
        for good in [
            "bootcode.bin",
            "start.elf",
            "start4cd.elf",
            "fixup_x.dat",
            "bcm2710-rpi-3-b-plus.dtb",
            "bcm2837-rpi-3-b.dtb",
            "overlays/README",
            "overlays/overlay_map.dtb",
            "overlays/rpi-poe.dtbo",
        ] {
            assert!(is_wanted(good), "{good}");
        }
        for bad in [
            "",
            "config.txt",
            "cmdline.txt",
            "kernel8.img",
            "initramfs8",
            "vmlinuz",
            "bcm2835-rpi-b.dtb/",
            "am335x.dtb",
            "../start.elf",
            "overlays/../start.elf",
            "overlays/a/b.dtbo",
            "/start.elf",
            "start .elf",
            "start\u{e9}.elf",
            "overlays/.dtbo",
            "overlays/",
            "other/x.dtbo",
            &format!("start{}.elf", "x".repeat(80)),
        ] {
            assert!(!is_wanted(bad), "{bad}");
            let packed = pack(BTreeMap::from([(bad.to_owned(), vec![])]));
            assert_eq!(packed, Err(BadFiles::Name(bad.to_owned())));
            let mut archive = cpio::Archive::default();
            archive.file(bad, b"x".to_vec());
            let archive = archive.bytes().expect("made").into();
            assert!(Files::open(&archive).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let name = "start.elf".to_owned();
        let too_large = vec![0; MAX_FILE_BYTES + 1];
        let error = pack(BTreeMap::from([(name, too_large.clone())])).expect_err("too large");
        assert!(matches!(error, BadFiles::File { bytes, .. } if bytes == MAX_FILE_BYTES + 1));
        let mut archive = cpio::Archive::default();
        archive.file("start.elf", too_large);
        let archive = archive.bytes().expect("made").into();
        assert_eq!(Files::open(&archive), Err(error));
        let many = (0..=MAX_FILES).map(|i| (format!("overlays/{i}.dtbo"), Vec::new()));
        assert!(matches!(pack(many.collect()), Err(BadFiles::Total { .. })));
        let mut archive = cpio::Archive::default();
        (0..=MAX_FILES).for_each(|i| archive.file(&format!("overlays/{i}.dtbo"), Vec::new()));
        let archive = archive.bytes().expect("made").into();
        assert!(matches!(Files::open(&archive), Err(BadFiles::Total { .. })));
    }

    #[test]
    fn devices_folders_and_doubles_do_not_belong() {
        let mut archive = cpio::Archive::default();
        archive.device("start.elf", 1, 1);
        let device = Files::open(&archive.bytes().expect("made").into());
        assert!(matches!(device, Err(BadFiles::Entry { at: 0, .. })));
        let mut archive = cpio::Archive::default();
        archive.folder("start.elf");
        let folder = Files::open(&archive.bytes().expect("made").into());
        assert_eq!(folder, Err(BadFiles::Name("start.elf".to_owned())));
        let one = pack(BTreeMap::from([("start.elf".to_owned(), b"abcd".to_vec())])).expect("made");
        let entry = &one[..HEAD_BYTES + 10 + 4];
        let twice = [entry, &one].concat();
        assert_eq!(
            Files::open(&twice.into()),
            Err(BadFiles::Name("start.elf".to_owned()))
        );
    }

    #[test]
    fn a_cut_or_flipped_archive_is_no_panic_and_no_escape() {
        let whole = pack(some()).expect("packed");
        for cut in 0..whole.len() - 4 {
            assert!(Files::open(&whole[..cut].to_vec().into()).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            for value in [0, b'0', b'f', b'/', 0xff] {
                let mut lying = whole.clone();
                lying[at] = value;
                if let Ok(files) = Files::open(&lying.into()) {
                    assert!(files.names().all(is_wanted));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), fields in prop::collection::vec("[0-9a-fA-F+ ]{8}", 13), name in "\\PC{0,12}") {
            let _ = Files::open(&bytes.clone().into());
            let header = format!("070701{}{name}\0", fields.concat());
            let _ = Files::open(&[header.as_bytes(), &bytes].concat().into());
        }
    }
}
