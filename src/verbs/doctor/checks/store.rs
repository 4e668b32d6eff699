//! Files that machines are given: iPXE's, and what is published. Pure.

use std::path::Path;

use ramboot_wire::Arch;

use crate::config::DEFAULT_STATE;
use crate::verbs::doctor::facts::{Ipxe, Published};
use crate::verbs::doctor::finding::{Finding, Topic, size};

/// iPXE for each kind of firmware.
#[must_use]
pub(in crate::verbs::doctor) fn ipxe(facts: &Ipxe) -> Vec<Finding> {
    let topic = Topic::Firmware;
    let folder = facts.folder.display();
    let mut there = Vec::new();
    let mut found = Vec::new();
    for (firmware, file, bytes) in &facts.files {
        match bytes {
            Some(bytes) => there.push(format!("{firmware} ({file}, {})", size(*bytes))),
            None if firmware.contains("arm64") => found.push(Finding::note(
                topic,
                "ipxe",
                format!("no iPXE for {firmware} in {folder}: these boot by UEFI HTTP Boot, or by the slower TFTP, and need none"),
            )),
            None => found.push(Finding::warning(
                topic,
                "ipxe",
                format!("no iPXE for {firmware}: {file} is not in {folder}"),
                "apt install ipxe and restart the manager, or say --ipxe-dir",
            )),
        }
    }
    if !there.is_empty() {
        found.insert(
            0,
            Finding::good(topic, "ipxe", format!("iPXE for {}", there.join(", "))),
        );
    }
    found
}

/// What machines can boot.
#[must_use]
pub(in crate::verbs::doctor) fn images(
    published: &anyhow::Result<Vec<Published>>,
    state: &Path,
    wanted: &[String],
) -> Vec<Finding> {
    let topic = Topic::Images;
    let published = match published {
        Ok(published) => published,
        Err(error) => {
            return vec![Finding::bad(
                topic,
                "store",
                format!("the store in {} cannot be read: {error:#}", state.display()),
                "be root, or say --state",
            )];
        }
    };
    let flag = if state == Path::new(DEFAULT_STATE) {
        String::new()
    } else {
        format!(" --state {}", state.display())
    };
    if published.is_empty() {
        return vec![Finding::bad(
            topic,
            "published",
            format!(
                "nothing is published in {}: machines find the manager, and wait",
                state.display()
            ),
            format!("ramboot build SOURCE -o image.sqfs --fix && ramboot publish image.sqfs{flag}"),
        )];
    }
    let mut found: Vec<Finding> = published.iter().map(|one| image(one, &flag)).collect();
    for name in wanted {
        if !published.iter().any(|one| one.name == *name) {
            found.push(Finding::warning(
                topic,
                "wanted",
                format!("the config gives machines image {name}, and nothing is published under that name: they wait"),
                format!("ramboot publish IMAGE --name {name}{flag}, or change the config"),
            ));
        }
    }
    found
}

fn image(one: &Published, flag: &str) -> Finding {
    let name = &one.name;
    match &one.state {
        Ok(facts) => {
            let boots = match (facts.arch, facts.pis) {
                (Arch::X86_64, _) => "for x86_64 PCs",
                (Arch::Aarch64, true) => "for arm64 machines and Raspberry Pis",
                (Arch::Aarch64, false) => "for arm64 machines, not for Raspberry Pis",
            };
            let how = if facts.deep {
                "each byte read and proven"
            } else {
                "boot files proven (the image itself: --deep)"
            };
            let what = format!(
                "{name}: {}, {}, kernel {}, {boots}; {how}",
                facts.id,
                size(facts.size),
                facts.kernel
            );
            Finding::good(Topic::Images, "image", what)
        }
        Err(error) => Finding::bad(
            Topic::Images,
            "image",
            format!("{name}: {error:#}"),
            format!(
                "machines refuse what is not what was published: go back with \"ramboot rollback {name}{flag}\", or publish the image again"
            ),
        ),
    }
}
