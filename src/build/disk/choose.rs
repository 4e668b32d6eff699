//! Which partition is the root, and where the others belong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::gpt::guid;
use super::remedy::Remedy;

/// A partition, as far as the choice goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// As `--partition` names it; 0 if there is no table.
    pub(super) number: u32,
    /// In bytes.
    pub(super) len: u64,
    /// Its type in a GPT.
    pub(super) guid: Option<[u8; 16]>,
    /// What is in it.
    pub(super) is: Is,
}

/// What is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Is {
    /// ext2, ext3 or ext4.
    Ext {
        /// Volume name.
        label: String,
        /// It has an operating system's files.
        root: bool,
        /// It has a kernel or boot loader at its top.
        boot: bool,
    },
    /// FAT, and where it belongs.
    Fat(Option<Firmware>),
    /// A squashfs: what is in it is not looked at.
    Squashfs,
    /// It cannot be read, and why.
    Broken(String),
    /// A name of what is not read here, and what helps.
    Other(&'static str, Remedy),
}

/// Who reads a FAT partition before Linux does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmware {
    /// Debian and Raspberry Pi OS mount it at `/boot/firmware`.
    RaspberryPi,
    /// An EFI system partition, at `/boot/efi`.
    Efi,
}

/// What the user is told of a choice that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChoiceError {
    #[error("there is no partition {wanted}: it has {all}")]
    NoSuch { wanted: u32, all: String },
    #[error("partition {number} is {what}: only ext2, ext3, ext4 and squashfs can be read")]
    NotExt { number: u32, what: String },
    #[error("it is {what}, which is not read here")]
    Whole { what: &'static str },
    #[error("it has no ext2, ext3, ext4 or squashfs partition with an operating system, but {all}")]
    None { all: String },
    #[error("no operating system is found in {all}")]
    Broken { all: String },
    #[error("{all} could each be the root: say which with --partition")]
    Several { all: String },
}

/// Which partition may hold what is looked for, by index, where none can be read: the one that was named, or the largest that
/// something helps with.
pub(super) fn helped(seen: &[Seen], wanted: Option<u32>) -> Option<usize> {
    let may = |seen: &&(usize, &Seen)| match (&seen.1.is, wanted) {
        (Is::Other(_, remedy), None) => *remedy != Remedy::None,
        (_, wanted) => wanted == Some(seen.1.number),
    };
    let all: Vec<(usize, &Seen)> = seen.iter().enumerate().collect();
    let found = all.iter().filter(may).max_by_key(|(_, seen)| seen.len);
    found.map(|(index, _)| *index)
}

/// Types of a root partition, for x86-64, arm64, arm, x86 and riscv64 (Discoverable Partitions Specification).
const ROOT_GUIDS: [[u8; 16]; 5] = [
    guid(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709),
    guid(0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae),
    guid(0x69da_d710_2ce4_4e3c_b16c_21a1_d49a_bed3),
    guid(0x4447_9540_f297_41b2_9af7_d131_d5f0_458a),
    guid(0x72ec_70a6_cf74_40e6_bd49_4bda_08e8_f224),
];

/// Which of them is the root, by index.
///
/// # Errors
/// None is, or it is not clear which.
pub(super) fn root(seen: &[Seen], wanted: Option<u32>) -> Result<usize, ChoiceError> {
    let name = |index: &usize| seen.get(*index).map(name).unwrap_or_default();
    let list = |indices: &[usize]| indices.iter().map(name).collect::<Vec<_>>().join(", ");
    let all: Vec<usize> = (0..seen.len()).collect();
    if let Some(wanted) = wanted {
        return match seen.iter().position(|seen| seen.number == wanted) {
            None => Err(ChoiceError::NoSuch {
                wanted,
                all: list(&all),
            }),
            Some(index) => match seen.get(index).map(|seen| &seen.is) {
                // Why it cannot be read is said by who opens it.
                Some(Is::Ext { .. } | Is::Squashfs | Is::Broken(_)) => Ok(index),
                _ => Err(ChoiceError::NotExt {
                    number: wanted,
                    what: name(&index),
                }),
            },
        };
    }
    if let [
        Seen {
            number: 0,
            is: Is::Other(what, _),
            ..
        },
    ] = seen
    {
        return Err(ChoiceError::Whole { what });
    }
    let has = |index: &usize, test: fn(&Seen) -> bool| seen.get(*index).is_some_and(test);
    let is_root = |seen: &Seen| matches!(seen.is, Is::Ext { root: true, .. });
    let is_typed = |seen: &Seen| seen.guid.is_some_and(|guid| ROOT_GUIDS.contains(&guid));
    let those = |test: fn(&Seen) -> bool| -> Vec<usize> {
        all.iter()
            .copied()
            .filter(|index| has(index, test))
            .collect()
    };
    let roots = match those(is_root) {
        // What it holds is found out when it is read.
        none if none.is_empty() => those(|seen| seen.is == Is::Squashfs),
        roots => roots,
    };
    let typed: Vec<usize> = roots
        .iter()
        .copied()
        .filter(|index| has(index, is_typed))
        .collect();
    match (roots.as_slice(), typed.as_slice()) {
        ([only], _) | (_, [only]) => Ok(*only),
        ([], _) => Err(
            if seen.iter().any(|seen| matches!(seen.is, Is::Broken(_))) {
                ChoiceError::Broken { all: list(&all) }
            } else {
                ChoiceError::None { all: list(&all) }
            },
        ),
        _ => Err(ChoiceError::Several { all: list(&roots) }),
    }
}

/// Where the others are folded in, by index and with outer folders first; and a sentence on each that is left out.
pub(super) fn others(seen: &[Seen], root: usize) -> (BTreeMap<PathBuf, usize>, Vec<String>) {
    let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut notes = Vec::new();
    for (index, partition) in seen.iter().enumerate().filter(|(index, _)| *index != root) {
        let place = match &partition.is {
            Is::Ext {
                root: false,
                boot: true,
                ..
            } => "boot",
            Is::Fat(Some(Firmware::RaspberryPi)) => "boot/firmware",
            Is::Fat(Some(Firmware::Efi)) => "boot/efi",
            // Nobody misses it.
            Is::Other(name, _) if *name == NOTHING => continue,
            _ => {
                notes.push(format!("left out: {}", name(partition)));
                continue;
            }
        };
        match places
            .get(&PathBuf::from(place))
            .and_then(|first| seen.get(*first))
        {
            Some(first) => notes.push(format!(
                "left out: {}, for {} is in /{place} already",
                name(partition),
                name(first)
            )),
            None => {
                places.insert(place.into(), index);
            }
        }
    }
    (places, notes)
}

/// Of a partition without anything that is known, such as GRUB's own.
pub(super) const NOTHING: &str = "nothing known";

/// `partition 2 (ext, named rootfs, 3100 MB)`
fn name(seen: &Seen) -> String {
    let mut what = match &seen.is {
        Is::Ext { label, .. } if label.is_empty() => "ext".to_owned(),
        Is::Ext { label, .. } => format!("ext, named {label}"),
        Is::Fat(_) => "FAT".to_owned(),
        Is::Squashfs => "squashfs".to_owned(),
        Is::Broken(_) => String::new(),
        Is::Other(what, _) => (*what).to_owned(),
    };
    if !what.is_empty() {
        what.push_str(", ");
    }
    let megabytes = seen.len.div_ceil(1_000_000);
    let named = match seen.number {
        0 => format!("no partitions ({what}{megabytes} MB)"),
        number => format!("partition {number} ({what}{megabytes} MB)"),
    };
    match &seen.is {
        Is::Broken(why) => format!("{named}, which cannot be read: {why}"),
        _ => named,
    }
}
