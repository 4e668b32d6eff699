//! Whether the kernel can read the image as it is packed: by its .config, else by what its squashfs module asks the kernel for.

use std::collections::BTreeSet;

use memchr::memmem;

use super::config::Config;
use super::{Check, Finding, error, fine, warning};
use crate::formats::squashfs::Compressor;

/// Each with its option of the kernel (fs/squashfs/Kconfig) and the symbols by which squashfs.ko unpacks it
/// (fs/squashfs/*_wrapper.c): zstd's are named anew since 5.16.
const ALL: [(Compressor, &str, &[&str]); 3] = [
    (
        Compressor::Zstd,
        "SQUASHFS_ZSTD",
        &["zstd_init_dstream", "ZSTD_initDStream"],
    ),
    (Compressor::Gzip, "SQUASHFS_ZLIB", &["zlib_inflate"]),
    (Compressor::Xz, "SQUASHFS_XZ", &["xz_dec_run"]),
];

/// What packs an image so that the kernels of Debian, Ubuntu, Fedora and Raspberry Pi OS read it.
pub const REMEDY: &str = "mksquashfs ROOT image.sqfs -comp zstd";

/// What is known of a kernel's squashfs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// What it unpacks.
    compressors: BTreeSet<&'static str>,
    /// How this is known.
    by: String,
}

impl Reads {
    /// By the .config; `None` if it does not say that there is squashfs.
    #[must_use]
    pub fn by_config(config: &Config) -> Option<Self> {
        if !config.has("SQUASHFS") {
            return None;
        }
        let read = ALL.iter().filter(|(_, option, _)| config.has(option));
        Some(Self {
            compressors: read.map(|(_, option, _)| *option).collect(),
            by: config.origin().to_owned(),
        })
    }

    /// By the module, unpacked; `None` if it names nothing that is known here.
    #[must_use]
    pub fn by_module(module: &[u8]) -> Option<Self> {
        let asks = |symbol: &&str| {
            let name = format!("\0{symbol}\0");
            memmem::find(module, name.as_bytes()).is_some()
        };
        let read = ALL
            .iter()
            .filter(|(_, _, symbols)| symbols.iter().any(asks));
        let compressors: BTreeSet<&str> = read.map(|(_, option, _)| *option).collect();
        (!compressors.is_empty()).then(|| Self {
            compressors,
            by: "what its squashfs.ko is linked with".to_owned(),
        })
    }
}

/// Whether a kernel of which this is known reads an image that is packed so.
#[must_use]
pub fn check(version: &str, image: Compressor, reads: Option<&Reads>) -> Finding {
    let Some(reads) = reads else {
        let sentence = format!(
            "whether the kernel {version} reads {image}, which the image is packed with, cannot be seen: there is no \
             /boot/config-{version}, and its squashfs is built in; zstd is what most kernels read"
        );
        return warning(Check::Compressor, &sentence);
    };
    let reads_it =
        |&(_, option, _): &&(Compressor, &str, &[&str])| reads.compressors.contains(option);
    let by = &reads.by;
    if ALL
        .iter()
        .filter(reads_it)
        .any(|(known, ..)| *known == image)
    {
        let sentence = format!("{image}, which the kernel {version} reads ({by})");
        return fine(Check::Compressor, &sentence);
    }
    let others: Vec<String> = ALL
        .iter()
        .filter(reads_it)
        .map(|(known, ..)| known.to_string())
        .collect();
    let remedy = match others.first() {
        None => "take a kernel with CONFIG_SQUASHFS_ZSTD".to_owned(),
        Some(first) if first == "zstd" => {
            format!("pack it with zstd, which all kernels of distributions read: {REMEDY}")
        }
        Some(first) => format!(
            "pack it with {first} (mksquashfs ROOT image.sqfs -comp {first}), or take a kernel with CONFIG_SQUASHFS_ZSTD"
        ),
    };
    let sentence = format!(
        "the image is packed with {image}, which the kernel {version} does not read: {} it does ({by}); {remedy}",
        if others.is_empty() {
            "nothing".to_owned()
        } else {
            others.join(" and ")
        }
    );
    error(Check::Compressor, &sentence)
}

/// Filters for machine code that an image packed with xz may use (mksquashfs -Xbcj), as its superblock numbers them, and the
/// kernel's option for each (lib/xz/Kconfig): a kernel without it fails at the first block that uses it.
const FILTERS: [(u32, &str, &str); 8] = [
    (1, "x86", "XZ_DEC_X86"),
    (2, "powerpc", "XZ_DEC_POWERPC"),
    (4, "ia64", "XZ_DEC_IA64"),
    (8, "arm", "XZ_DEC_ARM"),
    (16, "armthumb", "XZ_DEC_ARMTHUMB"),
    (32, "sparc", "XZ_DEC_SPARC"),
    (64, "arm64", "XZ_DEC_ARM64"),
    (128, "riscv", "XZ_DEC_RISCV"),
];

/// Whether the kernel undoes the filters that the image is packed with.
#[must_use]
pub fn filters(version: &str, filters: u32, config: Option<&Config>) -> Option<Finding> {
    let used = FILTERS.iter().filter(|(bit, ..)| filters & bit != 0);
    let lacking =
        |(_, _, option): &&(u32, &str, &str)| !config.is_some_and(|config| config.has(option));
    let lacking: Vec<_> = used.filter(lacking).collect();
    let names: Vec<&str> = lacking.iter().map(|(_, name, _)| *name).collect();
    let options: Vec<String> = lacking
        .iter()
        .map(|(.., option)| format!("CONFIG_{option}"))
        .collect();
    let (names, options) = (names.join(", "), options.join(" and "));
    if names.is_empty() {
        return None;
    }
    let remedy = format!("pack it without -Xbcj, or with zstd: {REMEDY}");
    Some(match config {
        Some(config) => error(
            Check::Compressor,
            &format!(
                "the image is packed with xz and its filter {names}, and the kernel {version} is without {options} ({}): it would read no \
                 program; {remedy}",
                config.origin()
            ),
        ),
        None => warning(
            Check::Compressor,
            &format!(
                "the image is packed with xz and its filter {names}; whether the kernel {version} has {options} cannot be seen; {remedy}"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;

    #[test]
    fn one_row_for_each_source() {
        let config = |text: &str| {
            let config = Config::parse(text.as_bytes(), "/boot/config-6").expect("a config");
            Reads::by_config(&config)
        };
        let module = |text: &str| Reads::by_module(text.as_bytes());
        let zstd = "CONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_ZSTD=y\n# CONFIG_SQUASHFS_XZ is not set\n";
        for (reads, image, want) in [
            (config(zstd), Compressor::Zstd, Severity::Fine),
            (config(zstd), Compressor::Xz, Severity::Error),
            (config(zstd), Compressor::Gzip, Severity::Error),
            (
                config("CONFIG_EXT4_FS=y\n"),
                Compressor::Zstd,
                Severity::Warning,
            ),
            (
                module("\0zlib_inflate\0xz_dec_run\0"),
                Compressor::Xz,
                Severity::Fine,
            ),
            (
                module("\0zlib_inflate\0"),
                Compressor::Zstd,
                Severity::Error,
            ),
            (
                module("\0ZSTD_initDStream\0"),
                Compressor::Zstd,
                Severity::Fine,
            ),
            (
                module("my_zlib_inflate\0"),
                Compressor::Gzip,
                Severity::Warning,
            ),
            (None, Compressor::Gzip, Severity::Warning),
        ] {
            let found = check("6", image, reads.as_ref());
            assert_eq!(found.severity, want, "{found:?}");
        }
    }

    #[test]
    fn filters_need_their_options() {
        let config = Config::parse(
            b"CONFIG_SQUASHFS_XZ=y\nCONFIG_XZ_DEC_X86=y\n",
            "/boot/config-6",
        );
        let said =
            |bits, config| filters("6", bits, config).map(|found| (found.severity, found.sentence));
        assert_eq!(said(0, config.as_ref()), None);
        assert_eq!(said(1, config.as_ref()), None);
        let (severity, sentence) = said(1 | 8, config.as_ref()).expect("arm");
        assert_eq!(severity, Severity::Error);
        assert!(
            sentence.contains(
                "filter arm, and the kernel 6 is without CONFIG_XZ_DEC_ARM (/boot/config-6)"
            ),
            "{sentence}"
        );
        let (severity, sentence) = said(1 | 8, None).expect("unknown");
        assert_eq!(severity, Severity::Warning);
        assert!(
            sentence.contains("CONFIG_XZ_DEC_X86 and CONFIG_XZ_DEC_ARM"),
            "{sentence}"
        );
    }
}
