//! What a simulated machine did, told step by step. Pure: outcome and notes of the wire in, findings out.

use pisim::{Failure, Pc, PcKind, Pi, Program, Started};
use ramboot_wire::{Base, BootArgs};

use super::finding::{Finding, Topic, size};
use super::lan::Event;
use crate::config::Config;

/// What is published for this kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stock {
    /// An image that it can boot.
    Fits,
    /// Only images for others.
    ForOthers,
    /// Nothing at all.
    Nothing,
}

/// A Raspberry Pi's way as far as its kernel; and that kernel's command line, if it gets there.
#[must_use]
pub(super) fn pi(pi: &Pi, events: &[Event], stock: Stock) -> (Vec<Finding>, Option<String>) {
    let topic = Topic::Pi;
    let mut steps = addresses(topic, "asks for an address", events);
    let Some(outcome) = pi.outcome() else {
        return (steps, None);
    };
    match &outcome.boot {
        Ok(booted) => {
            let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
            let length = |path: &String| booted.files.get(path).map_or(0, |file| file.len);
            let large = |path: &String| *path == booted.kernel || booted.initramfs.contains(path);
            let small: Vec<String> = booted
                .files
                .iter()
                .filter(|(path, _)| !large(path))
                .map(|(path, file)| format!("{} ({})", name(path), size(file.len)))
                .collect();
            let missing = booted.absent.len();
            steps.push(Finding::good(
                topic,
                "files",
                format!(
                    "reads {} by TFTP from {}; {missing} more that it looks for are not there, as in each boot",
                    small.join(", "),
                    booted.tftp
                ),
            ));
            let initramfs = booted.initramfs.iter().map(length).sum();
            steps.push(Finding::good(
                topic,
                "kernel",
                format!(
                    "would start {} ({}) with an initramfs of {} and the device tree {}",
                    name(&booted.kernel),
                    size(length(&booted.kernel)),
                    size(initramfs),
                    name(&booted.device_tree)
                ),
            ));
            (steps, Some(booted.cmdline.clone()))
        }
        Err(failure) => {
            steps.push(pi_failed(failure, events, stock));
            (steps, None)
        }
    }
}

fn pi_failed(failure: &Failure, events: &[Event], stock: Stock) -> Finding {
    let topic = Topic::Pi;
    let asked = events.iter().filter_map(|event| match event {
        Event::Missing(path) => Some(path.as_str()),
        _ => None,
    });
    let asked: Vec<&str> = asked.take(4).collect();
    match (failure, stock) {
        (Failure::Missing { .. } | Failure::Timeout { .. }, Stock::Nothing | Stock::ForOthers)
            if !asked.is_empty() =>
        {
            let text = format!(
                "asks for {}, … and is told that they are not there: no image for Raspberry Pis is published; its screen shows the files that were not found, and it asks again until one is",
                asked.join(", ")
            );
            match stock {
                Stock::Nothing => Finding::warning(
                    topic,
                    "files",
                    text,
                    "publish an arm64 image that has the Raspberry Pi's firmware in it: README, Raspberry Pi",
                ),
                _ => Finding::note(topic, "files", text),
            }
        }
        (failure, _) => Finding::bad(
            topic,
            "boot",
            format!("stops: {failure}"),
            "the manager's log says why: journalctl -u ramboot",
        ),
    }
}

/// A PC's firmware's way, as far as the program that it starts.
#[must_use]
pub(super) fn firmware(
    pc: &Pc,
    events: &[Event],
    ipxe_bytes: Option<u64>,
    stock: Stock,
) -> (Vec<Finding>, Option<Started>) {
    let topic = Topic::Pc;
    let who = match pc.params().kind {
        PcKind::Ipxe => "iPXE asks for an address",
        _ => "asks for an address",
    };
    let mut steps = addresses(topic, who, events);
    let started = pc.outcome().map(|outcome| outcome.boot.clone());
    match started {
        Some(Ok(started)) => {
            if let Program::File { tftp, name, file } = &started.program {
                let what = if ipxe_bytes == Some(file.len) {
                    "that is iPXE, which fetches the rest by HTTP"
                } else {
                    "that is kernel, initramfs and command line in one (there is no iPXE here), by the slower TFTP"
                };
                steps.push(Finding::good(
                    topic,
                    "program",
                    format!(
                        "loads {} ({}) by TFTP from {tftp}: {what}",
                        short(name),
                        size(file.len)
                    ),
                ));
            }
            (steps, Some(started))
        }
        Some(Err(Failure::Missing { path, .. })) if stock != Stock::Fits => {
            let text = format!(
                "asks for {} and is told that it is not there: no image for x86_64 PCs is published, and there is no iPXE that could wait for one",
                short(&path)
            );
            steps.push(match stock {
                Stock::Nothing => Finding::warning(
                    topic,
                    "boot",
                    text,
                    "apt install ipxe, and publish an image: see Images above",
                ),
                _ => Finding::note(topic, "boot", text),
            });
            (steps, None)
        }
        Some(Err(failure)) => {
            let silent = events.iter().rev().find_map(|event| match event {
                Event::Silent(why) => Some(format!("; the manager is silent: {why}")),
                _ => None,
            });
            let silent = silent.filter(|_| {
                matches!(
                    failure,
                    Failure::NoAddress { .. } | Failure::NoBootFile { .. }
                )
            });
            steps.push(Finding::bad(
                topic,
                "boot",
                format!("stops: {failure}{}", silent.unwrap_or_default()),
                "the manager's log says why: journalctl -u ramboot",
            ));
            (steps, None)
        }
        None => (steps, None),
    }
}

/// A path without the part that says which machine it is for.
pub(super) fn short(path: &str) -> String {
    let (host, rest) = match path
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((host, rest)) => (format!("http://{host}/"), rest),
        None => (String::new(), path),
    };
    match rest.split('/').collect::<Vec<_>>()[..] {
        ["efi", _, last] => format!("{host}efi/…/{last}"),
        ["ipxe", _] => format!("{host}ipxe/…"),
        _ => path.to_owned(),
    }
}

/// Who offered what.
fn addresses(topic: Topic, who: &str, events: &[Event]) -> Vec<Finding> {
    let mut words: Vec<String> = Vec::new();
    for event in events {
        let Event::Offered {
            server,
            address,
            file,
        } = event
        else {
            continue;
        };
        let word = match (address.is_unspecified(), file.is_empty()) {
            (true, true) => format!("{server} says it has something to boot"),
            (true, false) => format!("{server} says to boot {}", short(file)),
            (false, true) => format!("{server} offers {address}"),
            (false, false) => format!("{server} offers {address}, and {} to boot", short(file)),
        };
        // An ACK says the same again.
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.is_empty() {
        return Vec::new();
    }
    vec![Finding::good(
        topic,
        "dhcp",
        format!("{who}: {}", words.join("; ")),
    )]
}

/// What an iPXE script makes its machine do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script {
    /// Start this.
    Boot(Box<Loads>),
    /// Say these lines and ask again.
    Wait(String),
}

/// Two files and a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loads {
    /// Where they are.
    pub(super) base: Base,
    /// Path of the kernel.
    pub(super) kernel: String,
    /// Path of the initramfs.
    pub(super) initrd: String,
    /// What `/init` is told.
    pub(super) args: BootArgs,
}

impl Script {
    /// Reads what `crate::ipxe` writes.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((kernel, cmdline)) = line(text, "kernel ") else {
            let said = text
                .lines()
                .filter_map(|line| line.strip_prefix("echo ramboot: "));
            // What stands behind it is for when that fails.
            let said = said.take_while(|line| !line.starts_with("next question"));
            let said: Vec<&str> = said.collect();
            return if said.is_empty() {
                Err("the script neither boots nor says why".to_owned())
            } else {
                Ok(Self::Wait(said.join(" / ")))
            };
        };
        let (initrd, _) = line(text, "initrd ").ok_or("the script names no initramfs")?;
        let args = BootArgs::parse(cmdline).map_err(|error| error.to_string())?;
        let split = |url: &str| {
            let rest = url.strip_prefix("http://")?;
            let (host, path) = rest.split_at(rest.find('/')?);
            Some((
                format!("http://{host}").parse::<Base>().ok()?,
                path.to_owned(),
            ))
        };
        let bad = || "the script's addresses are none of ours".to_owned();
        let (base, kernel) = split(kernel).ok_or_else(bad)?;
        let (_, initrd) = split(initrd).ok_or_else(bad)?;
        Ok(Self::Boot(Box::new(Loads {
            base,
            kernel,
            initrd,
            args,
        })))
    }
}

/// URL and arguments of `<command>--name <name> <url> <arguments> || …`
fn line<'a>(text: &'a str, command: &str) -> Option<(&'a str, &'a str)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(command))?;
    let rest = rest.split(" || ").next()?.strip_prefix("--name ")?;
    let (_, rest) = rest.split_once(' ')?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

/// What a machine with nothing to boot shows.
#[must_use]
pub(super) fn waits(said: &str, stock: Stock) -> Finding {
    let text = format!("has nothing to boot; its screen says: {said}");
    match stock {
        Stock::Nothing => Finding::warning(
            Topic::Pc,
            "script",
            text,
            "publish an image: see Images above",
        ),
        Stock::ForOthers => Finding::note(Topic::Pc, "script", text),
        Stock::Fits => Finding::warning(
            Topic::Pc,
            "script",
            text,
            "if PCs of this kind are to boot, change [boot] image or a [[worker]] rule",
        ),
    }
}

/// What `/init` would do, and whether its first bytes are proven.
#[must_use]
pub(super) fn init(topic: Topic, args: &BootArgs, fetched: &anyhow::Result<()>) -> Finding {
    let base = args.bases.first().map(ToString::to_string);
    let what = format!(
        "/init would fetch image {} ({}) from {} into RAM",
        args.image.short(),
        size(args.size),
        base.unwrap_or_default()
    );
    match fetched {
        Ok(()) => Finding::good(
            topic,
            "image",
            format!("{what}: its chunk list and first chunk are proven"),
        ),
        Err(error) => Finding::bad(
            topic,
            "image",
            format!("{what}, and would not take it: {error:#}"),
            "ramboot doctor --deep says whether the store is damaged; if it is, publish the image again",
        ),
    }
}

/// The names of images that the config gives to machines.
#[must_use]
pub(super) fn wanted(config: &Config) -> Vec<String> {
    let rules = config.workers.iter().filter_map(|rule| rule.image.clone());
    let mut names: Vec<String> = config.boot.image.clone().into_iter().chain(rules).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
