//! The verbs of `ramboot eeprom`: files in, files out, and what was done on stdout. A shell.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, which an offer carries"
)]

pub mod args;
mod offer;

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::host::terminal;
use crate::pi::eeprom::chip::Chip;
use crate::pi::eeprom::conf::{Conf, Recommended};
use crate::pi::eeprom::image::Image;
use crate::pi::eeprom::order::BootOrder;
use crate::pi::eeprom::sig::Sig;
use crate::pi::eeprom::steps;
use crate::verbs::images::say;
use args::{ConfArgs, EepromArgs, EepromVerb, ReadArgs, StepsArgs, WriteArgs};

/// Does what was said.
///
/// # Errors
/// A sentence for whoever said it.
pub fn run(args: &EepromArgs) -> anyhow::Result<()> {
    match &args.verb {
        EepromVerb::Conf(args) => conf(args),
        EepromVerb::Steps(args) => print_steps(args),
        EepromVerb::Write(args) => write(args),
        EepromVerb::Read(args) => read(args),
        EepromVerb::Offer(args) => offer::offer(args),
        EepromVerb::Withdraw(args) => offer::withdraw(args),
        EepromVerb::Offers(args) => offer::offers(args),
    }
}

fn conf(args: &ConfArgs) -> anyhow::Result<()> {
    let recommended = Recommended {
        order: args.settings.order(),
        netconsole: args.settings.netconsole.as_ref(),
    };
    print(recommended.to_string().as_bytes())
}

fn print_steps(args: &StepsArgs) -> anyhow::Result<()> {
    print(steps::steps(args.model).as_bytes())
}

/// What was written; with `--json`, as it is printed.
#[derive(Debug, Serialize)]
struct Written {
    /// The image.
    output: PathBuf,
    chip: Chip,
    bytes: usize,
    sha256: String,
    boot_order: Option<String>,
    /// Of `--sig`.
    sig: Option<PathBuf>,
}

fn write(args: &WriteArgs) -> anyhow::Result<()> {
    let image = read_image(&args.image)?;
    let conf = settings(args.conf.as_deref())?;
    let written = with_conf(&image, &conf, &args.image)?;
    let digest = Sig::of(written.bytes(), now());
    let sig = args.sig.then(|| args.output.with_extension("sig"));
    if sig.as_deref() == Some(&args.output) {
        bail!(
            "-o {} is the name of the digest that --sig writes: call the image pieeprom.bin",
            args.output.display()
        );
    }
    replace(&args.output, written.bytes())?;
    if let Some(sig) = &sig {
        replace(sig, digest.to_string().as_bytes())?;
    }
    let done = Written {
        output: args.output.clone(),
        chip: written.chip(),
        bytes: written.bytes().len(),
        sha256: digest.sha256,
        boot_order: order_of(&conf),
        sig,
    };
    say(&done, args.json, || written_text(&done, &conf))
}

fn written_text(done: &Written, conf: &Conf) -> String {
    let Written {
        output, chip, sig, ..
    } = done;
    let mut text = format!("{} for {chip} ({})\n", output.display(), chip.boards());
    text += &format!("  boots from  {}\n", boots_from(conf.orders().last()));
    if let Some(sig) = sig {
        text += &format!("  digest      {}\n", sig.display());
    }
    text + &warnings(conf)
}

/// What is in an image; with `--json`, as it is printed.
#[derive(Debug, Serialize)]
struct Contents {
    chip: Chip,
    bytes: usize,
    sha256: String,
    /// The settings have an RSA signature.
    signed: bool,
    /// Seconds since 1970, if it was made to be an update.
    updated: Option<u32>,
    files: Vec<Named>,
    /// The settings.
    bootconf: String,
}

/// A file in an image.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    offset: usize,
    bytes: usize,
}

fn read(args: &ReadArgs) -> anyhow::Result<()> {
    let image = read_image(&args.image)?;
    if !args.json {
        return print(image.conf());
    }
    let contents = Contents {
        chip: image.chip(),
        bytes: image.bytes().len(),
        sha256: Sig::of(image.bytes(), 0).sha256,
        signed: image.is_signed(),
        updated: image.updated(),
        files: image
            .files()
            .map(|file| Named {
                name: file.name.to_owned(),
                offset: file.offset,
                bytes: file.content.len(),
            })
            .collect(),
        bootconf: String::from_utf8_lossy(image.conf()).into_owned(),
    };
    say(&contents, true, String::new)
}

/// The settings of a file, or those that are recommended.
fn settings(path: Option<&Path>) -> anyhow::Result<Conf> {
    let Some(path) = path else {
        let recommended = Recommended {
            order: BootOrder::NETWORK_ONLY,
            netconsole: None,
        };
        return Ok(Conf::parse(recommended.to_string().as_bytes())?);
    };
    let bytes = read_file(path, MAX_CONF_BYTES)?;
    Conf::parse(&bytes).with_context(|| format!("{}", path.display()))
}

fn with_conf(image: &Image, conf: &Conf, path: &Path) -> anyhow::Result<Image> {
    let written = image.with_conf(conf.as_str().as_bytes());
    written.with_context(|| format!("{}", path.display()))
}

fn read_image(path: &Path) -> anyhow::Result<Image> {
    let most = Chip::ALL.map(Chip::bytes).into_iter().max().unwrap_or(0);
    let bytes = read_file(path, most as u64)?;
    Image::parse(bytes).with_context(|| format!("{}", path.display()))
}

fn read_file(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= most,
        "{} has more than {most} bytes",
        path.display()
    );
    Ok(bytes)
}

/// Writes a file that is there whole or not at all.
fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let all = || {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    all().with_context(|| format!("writing {}", path.display()))
}

fn order_of(conf: &Conf) -> Option<String> {
    conf.orders().last().map(|order| order.to_string())
}

fn boots_from(order: Option<BootOrder>) -> String {
    match order {
        Some(order) => format!("{}: BOOT_ORDER={order}", order.words()),
        None => "whatever its bootloader tries without BOOT_ORDER: no network".to_owned(),
    }
}

fn warnings(conf: &Conf) -> String {
    let mut text = String::new();
    if !conf.has_network() {
        text += "warning: a board with these settings never boots from the network\n";
    }
    if !conf.takes_updates() {
        text += "warning: a board with these settings takes no other ones by the network\n";
    }
    text
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    terminal::print_file(text)
}

/// Seconds since 1970; 0 before that.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// A sector of the EEPROM has no more.
const MAX_CONF_BYTES: u64 = 4096;
