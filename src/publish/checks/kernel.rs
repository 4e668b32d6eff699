//! What a kernel's file says of itself: its version, and with what it was built.
//!
//! Takes the file and unpacks at most [`MAX_UNPACKED`] bytes of it. What cannot be found out is not held against it.

use std::io::Read;

use memchr::memmem;

use super::{Check, Finding, error, fine, some_of, warning};
use crate::publish::choose::Why;
use crate::publish::kernel::{Form, kernel_form};

/// An arm64 kernel with everything built in has 60 MB.
const MAX_UNPACKED: u64 = 160 * 1024 * 1024;
/// Debian's has 260 KB.
const MAX_CONFIG: u64 = super::config::MAX_CONFIG_BYTES;
/// `__NEW_UTS_LEN`
const MAX_VERSION: usize = 64;
/// `linux_banner` (init/version-timestamp.c).
const BANNER: &[u8] = b"Linux version ";
/// Around the .config of a kernel with CONFIG_IKCONFIG, under gzip (kernel/configs.c).
const IKCONFIG: [&[u8]; 2] = [b"IKCFG_ST", b"IKCFG_ED"];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// As `uname -r` will print it.
    pub version: Option<String>,
    /// The text of its .config.
    pub config: Option<Vec<u8>>,
}

/// Asks a kernel's file.
#[must_use]
pub fn told(kernel: &[u8]) -> Told {
    match kernel_form(kernel) {
        Some(Form::BzImage) => Told {
            version: bzimage_version(kernel),
            // It lies in what is compressed, in one of seven ways.
            config: None,
        },
        Some(Form::Image) => image(kernel),
        Some(Form::Gzip) => image(&unpack(flate2::read::GzDecoder::new(kernel))),
        Some(Form::Zboot) => zboot(kernel).unwrap_or_default(),
        None => Told::default(),
    }
}

/// `kernel_version` of the boot protocol 2.00 (Documentation/arch/x86/boot.rst): a pointer, less 0x200.
fn bzimage_version(kernel: &[u8]) -> Option<String> {
    let pointer = u16::from_le_bytes(*kernel.get(0x20e..)?.first_chunk()?);
    if pointer == 0 {
        return None;
    }
    word(kernel.get(usize::from(pointer) + 0x200..)?)
}

fn image(kernel: &[u8]) -> Told {
    // "%s version" and the like are other strings; the banner's version begins with a digit.
    let version = memmem::find_iter(kernel, BANNER)
        .filter_map(|at| word(kernel.get(at + BANNER.len()..)?))
        .find(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    Told {
        version,
        config: ikconfig(kernel),
    }
}

/// The .config in a kernel or in its module `configs`.
#[must_use]
pub fn ikconfig(file: &[u8]) -> Option<Vec<u8>> {
    let [start, end] = IKCONFIG;
    let from = memmem::find(file, start)? + start.len();
    let packed = file.get(from..)?;
    let packed = packed.get(..memmem::find(packed, end)?)?;
    let mut text = Vec::new();
    let read = flate2::read::GzDecoder::new(packed)
        .take(MAX_CONFIG)
        .read_to_end(&mut text);
    read.ok().map(|_| text)
}

/// drivers/firmware/efi/libstub/zboot-header.S: where the Image is, and how it is packed.
fn zboot(kernel: &[u8]) -> Option<Told> {
    let number = |at: usize| {
        let bytes = kernel.get(at..)?.first_chunk();
        usize::try_from(u32::from_le_bytes(*bytes?)).ok()
    };
    let packed = kernel.get(number(8)?..)?.get(..number(12)?)?;
    let how = kernel.get(24..)?.get(..32)?;
    let unpacked = match how.split(|&b| b == 0).next()? {
        b"gzip" => unpack(flate2::read::GzDecoder::new(packed)),
        b"zstd" | b"zstd22" => unpack(zstd::stream::read::Decoder::with_buffer(packed).ok()?),
        _ => return None,
    };
    Some(image(&unpacked))
}

/// What can be unpacked; an error ends it, since the rest may say enough.
fn unpack(reader: impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    let _ = reader.take(MAX_UNPACKED).read_to_end(&mut content);
    content
}

/// Up to the first blank or end, if that is a version.
fn word(text: &[u8]) -> Option<String> {
    let text = text.get(..=MAX_VERSION).unwrap_or(text);
    let end = text.iter().position(|b| matches!(b, b' ' | 0))?;
    let word = std::str::from_utf8(text.get(..end)?).ok()?;
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| word.to_owned())
}

/// Whether the kernel at `path` is the one whose modules are in /lib/modules/`version`.
#[must_use]
pub fn check(path: &str, version: &str, told: &Told) -> Finding {
    match told.version.as_deref() {
        Some(own) if own != version => {
            let sentence = format!(
                "the kernel {path} is version {own}, the modules beside it are for {version}: it would load none of them; \
                 install the kernel's package again, or give --kernel and --modules that belong together"
            );
            error(Check::Kernel, &sentence)
        }
        Some(_) => fine(Check::Kernel, &format!("{version}, as {path} says itself")),
        None => fine(
            Check::Kernel,
            &format!("{version} by its name; {path} does not say it"),
        ),
    }
}

/// That a kernel was taken of several of one release, and why.
#[must_use]
pub fn several(version: &str, instead_of: Option<&(Vec<String>, Why)>) -> Option<Finding> {
    let (others, why) = instead_of?;
    let others = some_of(others);
    let pick = "--kernel-version picks another";
    Some(match why {
        Why::Plainest => warning(
            Check::Kernel,
            &format!(
                "{version} and {others} are of one release, and neither /vmlinuz nor a package names one: {version} is taken; {pick}"
            ),
        ),
        Why::Wanted => return None,
        Why::Linked | Why::Package => {
            let by = if *why == Why::Linked {
                "/vmlinuz leads to it"
            } else {
                "a package depends on it"
            };
            fine(
                Check::Kernel,
                &format!("{version} is taken instead of {others}, as {by}; {pick}"),
            )
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(content).expect("packed");
        packer.finish().expect("packed")
    }

    fn bzimage(version: &str) -> Vec<u8> {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x236] = 1;
        kernel[0x20e..0x210].copy_from_slice(&[0, 1]);
        kernel[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
        kernel
    }

    fn arm64(banner: &str) -> Vec<u8> {
        let mut kernel = vec![0; 64];
        kernel[56..60].copy_from_slice(b"ARM\x64");
        kernel.extend(b"Linux version %s (x)\0");
        kernel.extend(banner.as_bytes());
        kernel.extend(b"\0IKCFG_ST");
        kernel.extend(gzip(b"CONFIG_A=y\n"));
        kernel.extend(b"IKCFG_ED");
        kernel
    }

    fn zboot(how: &[u8], packed: &[u8]) -> Vec<u8> {
        let mut kernel = vec![0; 0x80];
        kernel[..2].copy_from_slice(b"MZ");
        kernel[4..8].copy_from_slice(b"zimg");
        kernel[8] = 0x80;
        kernel[12..16].copy_from_slice(&u32::try_from(packed.len()).expect("small").to_le_bytes());
        kernel[24..24 + how.len()].copy_from_slice(how);
        kernel[0x3c] = 0x40;
        kernel[0x40..0x46].copy_from_slice(b"PE\0\0\x64\xaa");
        kernel.extend(packed);
        kernel
    }

    #[test]
    fn each_form_says_its_version() {
        let config = Some(b"CONFIG_A=y\n".to_vec());
        let image = arm64("Linux version 6.12.3-arm64 (debian-kernel@lists.debian.org) #1 SMP");
        let version = Some("6.12.3-arm64".to_owned());
        let zstd = zstd::encode_all(&image[..], 1).expect("packed");
        for kernel in [
            image.clone(),
            gzip(&image),
            zboot(b"gzip", &gzip(&image)),
            zboot(b"zstd22", &zstd),
        ] {
            let told = told(&kernel);
            assert_eq!((&told.version, &told.config), (&version, &config));
        }
        let pc = told(&bzimage("6.1.0-56-amd64 (debian-kernel) #1"));
        assert_eq!(pc.version.as_deref(), Some("6.1.0-56-amd64"));
        for unknown in [bzimage(""), zboot(b"lz4", b"xx"), b"MZ".to_vec()] {
            assert_eq!(told(&unknown), Told::default());
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            flips in prop::collection::vec((0_usize..0x500, any::<u8>()), 0..12),
            cut in 0_usize..0x500,
            which in 0_usize..3,
        ) {
            let image = arm64("Linux version 6.12.3-arm64 (x)");
            let mut kernel = match which {
                0 => bzimage("6.1 x"),
                1 => image,
                _ => zboot(b"gzip", &gzip(&image)),
            };
            for (at, value) in flips {
                if let Some(byte) = kernel.get_mut(at) {
                    *byte = value;
                }
            }
            kernel.truncate(cut);
            let _ = told(&kernel);
        }
    }
}
