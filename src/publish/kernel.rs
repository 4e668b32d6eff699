//! What a kernel's file is, which of two versions is newer, and why an image has no kernel. Pure.

use std::cmp::Ordering;
use std::io::Read;

use ramboot_wire::Arch;

/// `ARM64_IMAGE_MAGIC`, little-endian.
const ARM64: &[u8] = b"ARM\x64";

/// Why an image has no kernel to boot with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKernel {
    /// Nothing at all.
    #[error(
        "no kernel in the image: expected one in /boot, of any name, with its modules in /lib/modules/VERSION; or give --kernel and --modules"
    )]
    Missing,
    /// Kernels and modules of different versions.
    #[error(
        "no kernel in the image has its modules: there are {kernels}, but modules {modules}; install the package that belongs to the kernel, or give --kernel and --modules"
    )]
    Mismatch {
        /// What there is in /boot.
        kernels: String,
        /// What there is in /lib/modules.
        modules: String,
    },
    /// Packages were unpacked and not configured.
    #[error(
        "no kernel in the image has its modules: {base}/{version} has no modules.dep; run depmod -b ROOT {version} before the image is made"
    )]
    NoIndex {
        /// The folder of all modules.
        base: String,
        /// The kernel's.
        version: String,
    },
    /// That of `--kernel-version`.
    #[error(
        "no kernel {wanted} with modules in the image; it has {kernels}: give one of these as --kernel-version"
    )]
    NotThis {
        /// What was asked for.
        wanted: String,
        /// What there is.
        kernels: String,
    },
    /// Not a file that any loader starts on such a machine.
    #[error("{0} is no Linux kernel for x86_64 (bzImage) or aarch64 (Image, zboot)")]
    Unknown(String),
    /// Modules for another machine.
    #[error("the kernel {0} is for {1}, but its modules are for {2}")]
    Machines(String, Arch, Arch),
}

/// Versions as people count them: 6.10 after 6.9, -56 after -9, 6.1 and 6.1-1 after 6.1-rc3, letters after digits.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let ((word_a, rest_a), (word_b, rest_b)) = (word(a), word(b));
        let order = match (word_a, word_b) {
            (None, None) => return Ordering::Equal,
            (None, Some(w)) => {
                if w == b"rc" {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (Some(w), None) => {
                if w == b"rc" {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (Some(a), Some(b)) => compare_words(a, b),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn compare_words(a: &[u8], b: &[u8]) -> Ordering {
    let number = |word: &[u8]| word[0].is_ascii_digit();
    match (number(a), number(b)) {
        (true, true) => {
            let (a, b) = (unpadded(a), unpadded(b));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        // Raspberry Pi OS installs 6.6.31+rpt-rpi-2712 (Pi 5 only) beside …-rpi-v8 (all): the word wins.
        (true, false) if b != b"rc" => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) => compare_words(b, a).reverse(),
        (false, false) => a.cmp(b),
    }
}

fn unpadded(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    &digits[zeros..]
}

/// The next run of digits or of letters; what is between runs only parts them.
fn word(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let start = text.iter().position(u8::is_ascii_alphanumeric);
    let text = &text[start.unwrap_or(text.len())..];
    let digits = text.first().is_some_and(u8::is_ascii_digit);
    let same = |b: &u8| b.is_ascii_alphanumeric() && b.is_ascii_digit() == digits;
    let (word, rest) = text.split_at(text.iter().take_while(|b| same(b)).count());
    ((!word.is_empty()).then_some(word), rest)
}

/// What kind of file a kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// x86: Documentation/arch/x86/boot.rst.
    BzImage,
    /// arm64: Documentation/arch/arm64/booting.rst.
    Image,
    /// The same under gzip, as Debian up to 11 and Raspberry Pi OS have it.
    Gzip,
    /// A program for UEFI that unpacks itself, for arm64 here.
    Zboot,
}

/// What kind of file this kernel is; `None` if it is none, or for a machine that no worker is.
#[must_use]
pub fn kernel_form(kernel: &[u8]) -> Option<Form> {
    match plain_arch(kernel) {
        Some(Arch::X86_64) => Some(Form::BzImage),
        Some(Arch::Aarch64) if kernel.get(56..).is_some_and(|rest| rest.starts_with(ARM64)) => {
            Some(Form::Image)
        }
        Some(Arch::Aarch64) => Some(Form::Zboot),
        None => (kernel_arch(kernel) == Some(Arch::Aarch64)).then_some(Form::Gzip),
    }
}

/// The machines a kernel's file is for.
///
/// Seen: x86 bzImage (Documentation/arch/x86/boot.rst), arm64 Image (arch/arm64/booting.rst), plain or under
/// gzip as Debian up to 11 and Raspberry Pi OS have it, and EFI zboot.
#[must_use]
pub fn kernel_arch(kernel: &[u8]) -> Option<Arch> {
    if let Some(arch) = plain_arch(kernel) {
        return Some(arch);
    }
    let mut head = Vec::new();
    if kernel.starts_with(b"\x1f\x8b") {
        let unpacked = flate2::read::GzDecoder::new(kernel);
        // An error after the first bytes is of no interest: they say it all.
        let _ = unpacked.take(64).read_to_end(&mut head);
    }
    plain_arch(&head)
}

fn plain_arch(kernel: &[u8]) -> Option<Arch> {
    let at = |offset: usize, magic: &[u8]| {
        kernel
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if at(0x202, b"HdrS") {
        // XLF_KERNEL_64: the rest are 32-bit kernels, and kernels of before 2012.
        let flags = kernel.get(0x236)?;
        return (flags & 1 == 1).then_some(Arch::X86_64);
    }
    if at(56, ARM64) {
        return Some(Arch::Aarch64);
    }
    if at(0, b"MZ") && at(4, b"zimg") {
        let pe = u32::from_le_bytes(*kernel.get(0x3c..)?.first_chunk()?);
        let pe = kernel.get(usize::try_from(pe).ok()?..)?;
        return match pe.strip_prefix(b"PE\0\0")? {
            [0x64, 0x86, ..] => Some(Arch::X86_64),
            [0x64, 0xaa, ..] => Some(Arch::Aarch64),
            _ => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newer_is_not_later_in_the_alphabet() {
        for (older, newer) in [
            ("6.9", "6.10"),
            ("6.1.0-9-amd64", "6.1.0-56-amd64"),
            ("6.1.0-rc3", "6.1.0"),
            ("6.1", "6.1.1"),
            ("6.1-rc3", "6.1-1"),
            ("5.15.0-91-generic", "6.5.0-14-generic"),
            ("6.1.0-0.deb11.5-amd64", "6.1.0-0.deb11.17-amd64"),
            ("6.6.31+rpt-rpi-2712", "6.6.31+rpt-rpi-v8"),
            ("6.6.20+rpt-rpi-v8", "6.6.31+rpt-rpi-2712"),
            ("6.08", "6.9"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
        }
        assert_eq!(compare("6.1", "6.1"), Ordering::Equal);
    }

    #[test]
    fn a_kernel_tells_its_machine() {
        let mut x86 = vec![0; 0x240];
        x86[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(kernel_arch(&x86), None, "32-bit");
        x86[0x236] = 1;
        assert_eq!(kernel_arch(&x86), Some(Arch::X86_64));
        let mut arm = vec![0; 64];
        arm[56..60].copy_from_slice(b"ARM\x64");
        assert_eq!(kernel_arch(&arm), Some(Arch::Aarch64));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &arm).expect("packed");
        let gzip = gzip.finish().expect("packed");
        assert_eq!(kernel_arch(&gzip), Some(Arch::Aarch64));
        assert_eq!(kernel_form(&gzip), Some(Form::Gzip));
        let mut zboot = vec![0; 0x80];
        zboot[..2].copy_from_slice(b"MZ");
        zboot[4..8].copy_from_slice(b"zimg");
        zboot[0x3c] = 0x40;
        zboot[0x40..0x46].copy_from_slice(b"PE\0\0\x64\xaa");
        assert_eq!(kernel_arch(&zboot), Some(Arch::Aarch64));
        let forms = [&x86, &arm, &zboot].map(|kernel| kernel_form(kernel));
        assert_eq!(
            forms,
            [Some(Form::BzImage), Some(Form::Image), Some(Form::Zboot)]
        );
        for other in [&b""[..], b"MZ", b"\x1f\x8b", b"\x7fELF", &zboot[..0x44]] {
            assert_eq!(kernel_arch(other), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(a in "\\PC{0,20}", b in "[0-9a-c.+-]{0,12}", bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = (compare(&a, &b), kernel_arch(&bytes));
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
