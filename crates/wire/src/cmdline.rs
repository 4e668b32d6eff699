//! The kernel command line: written by the manager, read by `/init`; the keys stand here and nowhere else.
//!
//! Firmware and boot loaders may append to a command line, even to a signed one, so a `ramboot.*` key that stands
//! twice is an error and never "the last one wins".

mod values;

use std::fmt;

use crate::files::Files;
use crate::image::{BadImageId, ImageId, MAX_IMAGE_BYTES};
use crate::mac::Mac;
use crate::tmpfs::{MAX_NAMED, TmpfsFolder};
pub use values::{Base, BootFiles, Gate, Overlay, Streaming};

/// Everything the manager writes stays below this. The kernel's own limit is 2 048 on x86 and arm64
/// (`COMMAND_LINE_SIZE`), and the image's own parameters need room too.
pub const MAX_CMDLINE_BYTES: usize = 1_500;

/// How many bases a worker is given at most.
pub const MAX_BASES: usize = 8;

/// What `/init` was told to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootArgs {
    /// The only thing that is trusted.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// Where to fetch it, in order of preference; at least one.
    pub bases: Vec<Base>,
    /// Size of the writable layer; `None` leaves the choice to `/init`.
    pub overlay: Option<Overlay>,
    /// Folders on the writable tmpfs itself, beside those that are known and that the image names.
    pub tmpfs: Vec<TmpfsFolder>,
    /// The worker's host name.
    pub hostname: Option<String>,
    /// Files of this worker alone, which are laid over the image.
    pub files: Option<Files>,
    /// Print more on the console.
    pub debug: bool,
    /// Leave a process behind that tells the manager how the worker does.
    pub heartbeat: bool,
    /// Reboot after this many seconds without a handover; `None` waits for ever.
    pub deadline: Option<u32>,
    /// The NIC the firmware booted from.
    pub bootif: Option<Mac>,
    /// Start the image's init before all of the image is there; `None` waits for all of it.
    pub streaming: Option<Streaming>,
    /// Kernel and initramfs of this boot, for whoever wants to start them again from the running worker (kexec). A boot does
    /// without it.
    pub boot: Option<BootFiles>,
}

/// Why a command line is not one to boot from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Firmware may append: a second value must not win.
    #[error("{0} stands twice on the kernel command line")]
    Twice(String),
    /// A key that a boot cannot do without.
    #[error("{0} is missing on the kernel command line")]
    Missing(&'static str),
    /// A value that does not parse.
    #[error("{key}={value}: {want}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What stood there, shortened.
        value: String,
        /// What should stand there.
        want: String,
    },
    /// Too long to be sure that firmware and kernel keep all of it.
    #[error(
        "kernel command line of {0} bytes, {MAX_CMDLINE_BYTES} are possible: use fewer bases or a shorter cmdline in the config"
    )]
    TooLong(usize),
    /// A character that would split or hide what follows.
    #[error("{0:?} cannot stand on a kernel command line")]
    Unquotable(String),
}

impl BootArgs {
    /// Reads `/proc/cmdline`'s text. Keys of others are left alone, and so is a `ramboot.*` key this version does not know.
    ///
    /// # Errors
    /// See [`CmdlineError`]; nothing is guessed.
    pub fn parse(cmdline: &str) -> Result<Self, CmdlineError> {
        let mut found = Found::default();
        for word in split(cmdline) {
            if word == "--" {
                break;
            }
            let (key, value) = word.split_once('=').unwrap_or((&word, ""));
            found.take(key, value)?;
        }
        found.finish()
    }

    /// The `ramboot.*` part of a command line, then `extra` as it is. [`boot`](Self::boot) is left out if there is no room
    /// for it.
    ///
    /// # Errors
    /// It would be longer than [`MAX_CMDLINE_BYTES`], or a value cannot be written so that it is read back.
    pub fn render(&self, extra: &str) -> Result<String, CmdlineError> {
        match self.render_all(extra) {
            Err(CmdlineError::TooLong(_)) if self.boot.is_some() => {
                let boot = None;
                Self {
                    boot,
                    ..self.clone()
                }
                .render_all(extra)
            }
            rendered => rendered,
        }
    }

    fn render_all(&self, extra: &str) -> Result<String, CmdlineError> {
        if extra.contains(['\n', '\r', '\0']) {
            return Err(CmdlineError::Unquotable(extra.to_owned()));
        }
        let bases: Vec<String> = self.bases.iter().map(Base::to_string).collect();
        let mut words = vec![
            format!("ramboot.image={}", self.image),
            format!("ramboot.size={}", self.size),
            format!("ramboot.url={}", bases.join(",")),
        ];
        words.extend(
            self.overlay
                .map(|overlay| format!("ramboot.overlay={overlay}")),
        );
        if !self.tmpfs.is_empty() {
            let folders: Vec<&str> = self.tmpfs.iter().map(TmpfsFolder::as_str).collect();
            words.push(format!("ramboot.tmpfs={}", folders.join(",")));
        }
        words.extend(
            self.hostname
                .as_ref()
                .map(|name| format!("ramboot.hostname={name}")),
        );
        words.extend(
            self.files
                .as_ref()
                .map(|files| format!("ramboot.files={files}")),
        );
        words.extend(
            self.deadline
                .map(|seconds| format!("ramboot.deadline={seconds}")),
        );
        if self.debug {
            words.push("ramboot.debug".to_owned());
        }
        if !self.heartbeat {
            words.push("ramboot.heartbeat=off".to_owned());
        }
        if let Some(streaming) = self.streaming {
            words.push("ramboot.mode=stream".to_owned());
            if streaming.gate != Gate::default() {
                words.push(format!("ramboot.gate={}", streaming.gate));
            }
        }
        words.extend(
            self.boot
                .as_ref()
                .map(|boot| format!("ramboot.boot={boot}")),
        );
        words.extend(
            self.bootif
                .map(|mac| format!("BOOTIF=01-{}", mac.hyphenated())),
        );
        if !extra.is_empty() {
            words.push(extra.to_owned());
        }
        let line = words.join(" ");
        if line.len() > MAX_CMDLINE_BYTES {
            return Err(CmdlineError::TooLong(line.len()));
        }
        // What /init would refuse is refused here, where somebody can still do something about it.
        if Self::parse(&line)? != *self {
            return Err(CmdlineError::Unquotable(line));
        }
        Ok(line)
    }
}

/// What must be known even of a command line that is refused: how loud to be, and when to try anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Urgent {
    /// As [`BootArgs::debug`].
    pub debug: bool,
    /// As [`BootArgs::deadline`]; of several that can be read, the first.
    pub deadline: Option<u32>,
}

impl Urgent {
    /// Reads what can be read; refuses nothing.
    #[must_use]
    pub fn parse(cmdline: &str) -> Self {
        let mut urgent = Self::default();
        for word in split(cmdline).iter().take_while(|word| *word != "--") {
            match word.split_once('=').unwrap_or((word, "")) {
                ("ramboot.debug", _) => urgent.debug = true,
                ("ramboot.deadline", value) => {
                    urgent.deadline = urgent.deadline.or_else(|| value.parse().ok());
                }
                _ => {}
            }
        }
        urgent
    }
}

#[derive(Default)]
struct Found {
    image: Option<ImageId>,
    size: Option<u64>,
    bases: Option<Vec<Base>>,
    overlay: Option<Overlay>,
    tmpfs: Option<Vec<TmpfsFolder>>,
    hostname: Option<String>,
    files: Option<Files>,
    debug: Option<bool>,
    heartbeat: Option<bool>,
    deadline: Option<u32>,
    bootif: Option<Mac>,
    is_streaming: Option<bool>,
    gate: Option<Gate>,
    boot: Option<BootFiles>,
}

impl Found {
    fn take(&mut self, key: &str, value: &str) -> Result<(), CmdlineError> {
        // The kernel treats '-' and '_' in parameter names as the same; one spelling is enough for us.
        match key {
            "ramboot.image" => once(
                &mut self.image,
                key,
                value
                    .parse()
                    .map_err(|e: BadImageId| bad("ramboot.image", value, e))?,
            ),
            "ramboot.size" => once(&mut self.size, key, size(value)?),
            "ramboot.url" => once(&mut self.bases, key, bases(value)?),
            "ramboot.overlay" => once(&mut self.overlay, key, value.parse()?),
            "ramboot.tmpfs" => once(&mut self.tmpfs, key, tmpfs(value)?),
            "ramboot.hostname" => once(&mut self.hostname, key, hostname(value)?),
            "ramboot.files" => {
                let files = value.parse().map_err(|e| bad("ramboot.files", value, e))?;
                once(&mut self.files, key, files)
            }
            "ramboot.debug" => once(&mut self.debug, key, true),
            "ramboot.heartbeat" => match value {
                "on" => once(&mut self.heartbeat, key, true),
                "off" => once(&mut self.heartbeat, key, false),
                _ => Err(bad("ramboot.heartbeat", value, "on or off is wanted")),
            },
            "ramboot.deadline" => {
                let seconds = value
                    .parse()
                    .map_err(|_| bad("ramboot.deadline", value, "a number of seconds is wanted"))?;
                once(&mut self.deadline, key, seconds)
            }
            "ramboot.mode" => match value {
                "full" => once(&mut self.is_streaming, key, false),
                "stream" => once(&mut self.is_streaming, key, true),
                _ => Err(bad("ramboot.mode", value, "full or stream is wanted")),
            },
            "ramboot.boot" => once(&mut self.boot, key, value.parse()?),
            "ramboot.gate" => once(&mut self.gate, key, value.parse()?),
            "BOOTIF" => {
                // "01" is the ARP hardware type Ethernet, as PXELINUX writes it. Two NICs can both be meant (a loader
                // and the firmware may each append theirs), and nothing depends on it but the order: the first wins.
                let mac = value.strip_prefix("01-").unwrap_or(value).parse().ok();
                self.bootif = self.bootif.or(mac);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<BootArgs, CmdlineError> {
        Ok(BootArgs {
            image: self.image.ok_or(CmdlineError::Missing("ramboot.image"))?,
            size: self.size.ok_or(CmdlineError::Missing("ramboot.size"))?,
            bases: self.bases.ok_or(CmdlineError::Missing("ramboot.url"))?,
            overlay: self.overlay,
            tmpfs: self.tmpfs.unwrap_or_default(),
            hostname: self.hostname,
            files: self.files,
            debug: self.debug.unwrap_or(false),
            heartbeat: self.heartbeat.unwrap_or(true),
            deadline: self.deadline,
            bootif: self.bootif,
            streaming: match self.is_streaming {
                // A gate alone changes nothing: a person who adds it to a config's cmdline may take mode away later.
                None | Some(false) => None,
                Some(true) => Some(Streaming {
                    gate: self.gate.unwrap_or_default(),
                }),
            },
            boot: self.boot,
        })
    }
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), CmdlineError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(CmdlineError::Twice(key.to_owned())),
    }
}

fn bad(key: &'static str, value: &str, want: impl fmt::Display) -> CmdlineError {
    CmdlineError::Value {
        key,
        value: value.chars().take(80).collect(),
        want: want.to_string(),
    }
}

fn size(value: &str) -> Result<u64, CmdlineError> {
    let want = || {
        bad(
            "ramboot.size",
            value,
            format_args!("1 to {MAX_IMAGE_BYTES} bytes are possible"),
        )
    };
    let size = value.parse().map_err(|_| want())?;
    if size == 0 || size > MAX_IMAGE_BYTES {
        Err(want())
    } else {
        Ok(size)
    }
}

fn bases(value: &str) -> Result<Vec<Base>, CmdlineError> {
    let bases: Vec<Base> = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
    if bases.len() > MAX_BASES {
        return Err(bad(
            "ramboot.url",
            value,
            format_args!("{} bases, {MAX_BASES} are possible", bases.len()),
        ));
    }
    Ok(bases)
}

fn tmpfs(value: &str) -> Result<Vec<TmpfsFolder>, CmdlineError> {
    let parse = |path: &str| path.parse().map_err(|e| bad("ramboot.tmpfs", path, e));
    let folders: Vec<TmpfsFolder> = value.split(',').map(parse).collect::<Result<_, _>>()?;
    if folders.len() > MAX_NAMED {
        return Err(bad(
            "ramboot.tmpfs",
            value,
            format_args!("{} folders, {MAX_NAMED} are possible", folders.len()),
        ));
    }
    Ok(folders)
}

/// RFC 1123 §2.1: letters, digits and inner hyphens; 63 octets a label, 253 in all.
///
/// # Errors
/// Anything else.
pub fn hostname(value: &str) -> Result<String, CmdlineError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if value.len() <= 253 && value.split('.').all(label) {
        Ok(value.to_owned())
    } else {
        Err(bad(
            "ramboot.hostname",
            value,
            "a host name as RFC 1123 has it is wanted",
        ))
    }
}

/// Splits as the kernel's `next_arg` does: blanks part, double quotes keep together, and there is no escape.
fn split(cmdline: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in cmdline.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
