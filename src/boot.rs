//! What a machine boots now: config and store in, the text of its iPXE script out.
//!
//! Asked anew for each script, so a publish counts from the next boot on, without a signal or a restart. Whatever is
//! wrong becomes a script that says so on the machine's own screen and asks again.

use anyhow::Context;
use ramboot_wire::{Base, BootArgs, Mac};
use tracing::{info, warn};

use crate::config::Config;
use crate::store::{Name, Store};
use crate::{ipxe, machine};

/// The script for `mac`, which reached this manager at `base`.
#[must_use]
pub fn script(store: &Store, config: &Config, mac: Mac, base: &Base) -> String {
    match decide(store, config, mac, base) {
        Ok(script) => script,
        Err(error) => {
            let reason = format!("{error:#}");
            warn!(worker = %mac, "boot script: nothing to boot: {reason}");
            ipxe::wait(base, mac, &reason)
        }
    }
}

fn decide(store: &Store, config: &Config, mac: Mac, base: &Base) -> anyhow::Result<String> {
    let names: Vec<String> = store.names()?.iter().map(ToString::to_string).collect();
    let assignment = machine::assign(config, &names, mac)?;
    let name: Name = assignment.image.parse()?;
    let generation = store
        .current(&name)?
        .with_context(|| format!("image {name} was unpublished a moment ago"))?;
    let args = BootArgs {
        image: generation.image,
        size: generation.size,
        bases: vec![base.clone()],
        overlay: config.boot.overlay,
        hostname: assignment.hostname,
        debug: config.boot.debug,
        deadline: config.boot.deadline,
        bootif: Some(mac),
    };
    let script = ipxe::boot(
        &args,
        &generation.kernel.name,
        &generation.initrd.name,
        &assignment.cmdline,
    )?;
    info!(worker = %mac, image = generation.image.short(), name = %name, "boot script");
    Ok(script)
}
