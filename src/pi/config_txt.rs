//! config.txt and the kernel command line of one machine: pure text, as firmware's parsers are known to take it.
//!
//! config.txt is ASCII with LF, each line of at most 98 columns and without comments: parsers stop at the first byte that
//! is not ASCII (bootloaders of 2026 still), and cut lines. The command line is a file of its own with *one* line, to
//! which the 98 columns do not apply. It, the kernel and the initramfs have names made of their content, so that
//! config.txt alone decides what boots together.

use ramboot_wire::BootArgs;
use ramboot_wire::cmdline::CmdlineError;
use ramboot_wire::paths::is_boot_name;

/// Columns that firmware reads of a line (80 before 2020).
pub const MAX_COLUMNS: usize = 98;
/// Firmware reads the name by `initramfs %64s`.
const MAX_INITRAMFS_NAME: usize = 64;
/// Of an image's own config.txt; Raspberry Pi OS's has 20.
const MAX_KEPT: usize = 200;
const DIGITS: usize = 8;

/// Decided by ramboot, or about files that are not served: lines of the image with these keys are left out.
const OURS: [&str; 22] = [
    "arm_64bit",
    "arm_control",
    "armstub",
    "auto_initramfs",
    "boot_ramdisk",
    "cmdline",
    "device_tree",
    "device_tree_address",
    "device_tree_end",
    "include",
    "initramfs",
    "kernel",
    "kernel_address",
    "kernel_old",
    "os_check",
    "os_prefix",
    "overlay_prefix",
    "ramfsaddr",
    "ramfsfile",
    "total_mem",
    "tryboot_a_b",
    "upstream_kernel",
];

/// Of those, the ones whose loss somebody may not expect.
const SAID: [&str; 3] = ["armstub", "include", "total_mem"];

/// What stays of an image's config.txt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Lines, filters such as `[pi4]` among them.
    pub lines: Vec<String>,
    /// What was left out and should be said, a sentence each.
    pub notes: Vec<String>,
}

/// Takes over what users expect of their config.txt (`dtoverlay=`, `dtparam=`, `gpu_mem=` …).
#[must_use]
pub fn keep(text: &[u8]) -> Kept {
    let mut kept = Kept::default();
    for (line, number) in text.split(|&b| b == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let key = key(line);
        let ours = OURS.iter().find(|ours| ours.as_bytes() == key);
        let why = match ours {
            Some(key) if SAID.contains(key) => Some(format!("{key} is not taken over")),
            Some(_) => continue,
            None if !line.iter().all(|b| matches!(b, b' '..=b'~')) => {
                Some("firmware stops reading at what is not printable ASCII".to_owned())
            }
            None if line.len() > MAX_COLUMNS => Some(format!(
                "{} columns, firmware reads {MAX_COLUMNS}",
                line.len()
            )),
            None if kept.lines.len() == MAX_KEPT => {
                let note = format!("config.txt line {number} and later: {MAX_KEPT} are possible");
                kept.notes.push(note);
                break;
            }
            None => None,
        };
        match why {
            Some(why) => kept
                .notes
                .push(format!("config.txt line {number} is left out: {why}")),
            None => kept.lines.push(String::from_utf8_lossy(line).into_owned()),
        }
    }
    kept
}

/// `gpu_mem=16`, `initramfs NAME followkernel` and `include FILE` all have one.
fn key(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|b| matches!(b, b'=' | b' ' | b'\t'));
    &line[..end.unwrap_or(line.len())]
}

/// Why no config.txt can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigTxtError {
    /// It came out of the store, and `publish` would not have kept it.
    #[error("{0:?} cannot stand in config.txt")]
    Line(String),
    /// Firmware would cut it.
    #[error("{0:?} is no name that a Raspberry Pi loads a kernel or initramfs by")]
    Name(String),
    /// The command line itself is not possible.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// It would not be one line of ASCII.
    #[error("kernel command line: {0:?} is not printable ASCII")]
    NotAscii(char),
}

/// What config.txt names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// A gzip file or Image.
    pub kernel: &'a str,
    /// An initramfs.
    pub initrd: &'a str,
    /// See [`Cmdline`].
    pub cmdline: &'a str,
}

/// The whole file. `upstream` is for images that have Linux's device trees only: firmware asks for them by Linux's
/// names then, and tries `upstream/` before every name first, which nobody serves.
///
/// # Errors
/// A name or line would not arrive as it is.
pub fn config_txt(
    kept: &[String],
    upstream: bool,
    names: &Names<'_>,
) -> Result<String, ConfigTxtError> {
    for name in [names.kernel, names.initrd, names.cmdline] {
        if !is_boot_name(name) || name.len() > MAX_INITRAMFS_NAME {
            return Err(ConfigTxtError::Name(name.chars().take(80).collect()));
        }
    }
    let mut lines: Vec<String> = kept.to_vec();
    lines.push("[all]".to_owned());
    lines.push("arm_64bit=1".to_owned());
    // Without it a Pi 3 and 4 have no console on their pins; the image's own word goes before.
    if !kept
        .iter()
        .any(|line| key(line.as_bytes()) == b"enable_uart")
    {
        lines.push("enable_uart=1".to_owned());
    }
    if upstream {
        lines.push("upstream_kernel=1".to_owned());
    }
    lines.push("auto_initramfs=0".to_owned());
    lines.push(format!("kernel={}", names.kernel));
    lines.push(format!("initramfs {} followkernel", names.initrd));
    lines.push(format!("cmdline={}", names.cmdline));
    // A Pi 5 would first look whether the image is made for it, by files that need not be there.
    lines.push("[pi5]".to_owned());
    lines.push("os_check=0".to_owned());
    let fits =
        |line: &String| line.len() <= MAX_COLUMNS && line.bytes().all(|b| matches!(b, b' '..=b'~'));
    match lines.iter().find(|line| !fits(line)) {
        Some(line) => Err(ConfigTxtError::Line(line.chars().take(120).collect())),
        None => Ok(lines.join("\n") + "\n"),
    }
}

/// The file that config.txt's `cmdline=` names ("alternative filename", Raspberry Pi documentation, config.txt, boot
/// options; Ubuntu's images use the key on all boards).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmdline {
    /// `cmdline-<digest>.txt`
    pub name: String,
    /// One line with LF.
    pub text: String,
}

impl Cmdline {
    /// What `/init` is told, then consoles unless `extra` names its own, then `extra`.
    ///
    /// # Errors
    /// It would not arrive as it is.
    pub fn new(args: &BootArgs, extra: &str, upstream: bool) -> Result<Self, ConfigTxtError> {
        let own = extra
            .split_ascii_whitespace()
            .any(|word| word.starts_with("console="));
        // Firmware puts the right port in the place of serial0, by Raspberry Pi's numbers. Linux's device trees count the
        // mini UART, which is on the pins, as the second.
        let consoles = match (own, upstream) {
            (true, _) => "",
            (false, false) => "console=serial0,115200 console=tty1",
            (false, true) => "console=ttyS1,115200 console=tty1",
        };
        let words = [consoles, extra].join(" ");
        let line = args.render(words.trim())?;
        if let Some(c) = line.chars().find(|c| !matches!(c, ' '..='~')) {
            return Err(ConfigTxtError::NotAscii(c));
        }
        let text = line + "\n";
        let digest = blake3::hash(text.as_bytes()).to_hex();
        Ok(Self {
            name: format!("cmdline-{}.txt", &digest[..DIGITS]),
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ramboot_wire::{ImageId, Mac};

    fn args() -> BootArgs {
        BootArgs {
            image: ImageId([7; 32]),
            size: 1000,
            bases: vec!["http://10.0.0.1:8067".parse().expect("base")],
            overlay: None,
            tmpfs: Vec::new(),
            hostname: Some("rack1-pi07".to_owned()),
            files: None,
            debug: false,
            heartbeat: true,
            deadline: None,
            bootif: Some(Mac([0xdc, 0xa6, 0x32, 1, 2, 3])),
            streaming: None,
            boot: None,
        }
    }

    const NAMES: Names<'_> = Names {
        kernel: "vmlinuz-0123456789abcdef",
        initrd: "initrd-0123456789abcdef",
        cmdline: "cmdline-01234567.txt",
    };

    #[test]
    fn an_image_of_raspberry_pi_os() {
        let text = b"# For more options\r\ndtparam=audio=on\ncamera_auto_detect=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\narm_64bit=1\n\n[cm4]\notg_mode=1\n\n[all]\ngpu_mem=16\n kernel=mine.img\ninitramfs initrd.img followkernel\n";
        let kept = keep(text);
        assert_eq!(kept.notes, [""; 0]);
        let file = config_txt(&kept.lines, false, &NAMES).expect("written");
        assert_eq!(
            file,
            "\
dtparam=audio=on
camera_auto_detect=1
dtoverlay=vc4-kms-v3d
[cm4]
otg_mode=1
[all]
gpu_mem=16
[all]
arm_64bit=1
enable_uart=1
auto_initramfs=0
kernel=vmlinuz-0123456789abcdef
initramfs initrd-0123456789abcdef followkernel
cmdline=cmdline-01234567.txt
[pi5]
os_check=0
"
        );
    }

    #[test]
    fn only_what_firmware_reads_is_kept() {
        let long = format!("dtoverlay={}", "x".repeat(89));
        let text = format!(
            "include usercfg.txt\ndtparam=\u{e9}\n{long}\n{}\nenable_uart=0\nkernel_old=1\n",
            &long[..98]
        );
        let kept = keep(text.as_bytes());
        assert_eq!(kept.lines, [&long[..98], "enable_uart=0"]);
        assert_eq!(
            kept.notes,
            [
                "config.txt line 1 is left out: include is not taken over",
                "config.txt line 2 is left out: firmware stops reading at what is not printable ASCII",
                "config.txt line 3 is left out: 99 columns, firmware reads 98",
            ]
        );
        let file = config_txt(&kept.lines, true, &NAMES).expect("written");
        assert!(
            file.contains("\n[all]\narm_64bit=1\nupstream_kernel=1\nauto_initramfs=0\n"),
            "{file}"
        );
        let many = "dtparam=i2c=on\n".repeat(MAX_KEPT + 5);
        let kept = keep(many.as_bytes());
        assert_eq!((kept.lines.len(), kept.notes.len()), (MAX_KEPT, 1));
    }

    #[test]
    fn a_line_of_a_lying_store_is_refused() {
        for line in ["a\nkernel=b", "\u{e9}", &"x".repeat(99)] {
            let error = config_txt(&[line.to_owned()], false, &NAMES).expect_err(line);
            assert!(matches!(error, ConfigTxtError::Line(_)), "{error}");
        }
        for name in ["", "../x", "a b", &"x".repeat(65)] {
            let names = Names {
                initrd: name,
                ..NAMES
            };
            assert!(config_txt(&[], false, &names).is_err(), "{name}");
        }
    }

    #[test]
    fn the_command_line_is_one_line() {
        for (extra, upstream, end) in [
            ("", false, " console=serial0,115200 console=tty1\n"),
            ("", true, " console=ttyS1,115200 console=tty1\n"),
            (
                "quiet",
                false,
                " console=serial0,115200 console=tty1 quiet\n",
            ),
            (
                "console=ttyAMA10 quiet",
                false,
                "BOOTIF=01-dc-a6-32-01-02-03 console=ttyAMA10 quiet\n",
            ),
        ] {
            let made = Cmdline::new(&args(), extra, upstream).expect("written");
            assert!(made.text.ends_with(end), "{}", made.text);
            assert_eq!(made.text.lines().count(), 1);
            assert_eq!(BootArgs::parse(&made.text), Ok(args()));
        }
        let one = Cmdline::new(&args(), "", false).expect("written");
        let other = Cmdline::new(&args(), "quiet", false).expect("written");
        assert_ne!(one.name, other.name);
        assert_eq!(one.name.len(), "cmdline-01234567.txt".len());
        let error = Cmdline::new(&args(), "a\nb", false);
        assert!(
            matches!(error, Err(ConfigTxtError::Cmdline(_))),
            "{error:?}"
        );
        assert_eq!(
            Cmdline::new(&args(), "a=\u{e9}", false),
            Err(ConfigTxtError::NotAscii('\u{e9}'))
        );
    }

    proptest! {
        #[test]
        fn whatever_the_image_says_the_file_is_sound(text in prop::collection::vec(any::<u8>(), 0..600), line in "(dtparam|kernel|\\[pi4\\]|#| )?[=a\\PC]{0,110}\r?\n") {
            let kept = keep(&[&text[..], b"\n", line.as_bytes()].concat());
            let file = config_txt(&kept.lines, false, &NAMES).expect("what was kept can be written");
            prop_assert!(file.is_ascii());
            prop_assert!(file.lines().all(|line| line.len() <= MAX_COLUMNS));
            // Ours come last and unconditionally.
            let kernels: Vec<_> = file.lines().filter(|line| line.starts_with("kernel=")).collect();
            prop_assert_eq!(kernels, ["kernel=vmlinuz-0123456789abcdef"]);
        }
    }
}
