//! What a simulated machine did, told step by step. Pure: outcome and notes of the wire in, findings out.

mod script;

use ramboot_sim::{Failure, Pc, PcKind, Pi, Program, Started};
use ramboot_wire::BootArgs;

pub(super) use self::script::Script;
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
