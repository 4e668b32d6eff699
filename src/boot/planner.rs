//! What a machine boots now: config and store in; the text of its iPXE script, or an EFI program, out.
//!
//! Asked anew for each script, so a publish counts from the next boot on, without a signal or a restart. Whatever is
//! wrong becomes a script that says so on the machine's own screen and asks again.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use anyhow::Context;
use ramboot_wire::{Base, BootArgs, BootFiles, Client, Mac, Worker};
use tracing::{info, warn};

use crate::boot::ipxe;
use crate::boot::ipxe_binaries::Roms;
use crate::boot::worker_files::WorkerFiles;
use crate::config::Config;
use crate::config::assign::{self, Assignment, Published};
use crate::config::worker::Machine;
use crate::fleet::event::{Event, Who};
use crate::fleet::shared::SharedFleet;
use crate::store::{Generation, Name, Store};

/// Everything that a boot is decided from; one for all servers.
#[derive(Debug, Clone)]
pub struct Planner {
    /// Images and names.
    pub store: Arc<Store>,
    /// Which machine gets what.
    pub config: Arc<Config>,
    /// iPXE for firmware that needs it.
    pub roms: Arc<Roms>,
    /// Which machine is whom, and what belongs to it.
    pub worker_files: Arc<WorkerFiles>,
    /// Hears of what was decided.
    pub fleet: Arc<SharedFleet>,
}

/// What one machine boots.
#[derive(Debug, Clone)]
pub struct BootPlan {
    /// The name its image was found by.
    pub name: Name,
    /// What the name stood for when it was asked.
    pub generation: Generation,
    /// What `/init` is told.
    pub args: BootArgs,
    /// Kernel parameters beside ramboot's own.
    pub extra: String,
}

/// The address of ours that a machine reached, as it will be told to fetch from.
#[must_use]
pub const fn base(addr: SocketAddrV4) -> Base {
    Base {
        addr,
        prefix: String::new(),
    }
}

impl Planner {
    /// What `client`, which reached us at `base`, boots.
    ///
    /// # Errors
    /// Nothing is published for it, or the store cannot be read; the text says what would change that.
    pub fn choose(&self, client: &Client, base: &Base) -> anyhow::Result<BootPlan> {
        let asker = Machine {
            mac: Some(client.mac),
            serial: None,
            uuid: client.uuid,
            arch: client.arch,
        };
        self.choose_for(&asker, base, 0)
    }

    /// What the machine `asker` boots now, or what it would have booted `back` publications ago.
    ///
    /// # Errors
    /// As [`Planner::choose`].
    pub fn choose_for(
        &self,
        asker: &Machine,
        base: &Base,
        back: usize,
    ) -> anyhow::Result<BootPlan> {
        let mut published = Vec::new();
        let mut generations = HashMap::new();
        for name in self.store.names()? {
            if let Some(generation) = self.store.current(&name)? {
                published.push(Published {
                    name: name.clone(),
                    arch: generation.arch,
                });
                generations.insert(name, generation);
            }
        }
        let Assignment {
            image: name,
            cmdline,
        } = assign::assign(&self.config, &published, asker)?;
        let generation = match back {
            0 => generations.remove(&name),
            back => self.store.before(&name, back)?,
        };
        let generation = generation.with_context(|| format!("image {name} is not in the store"))?;
        // It will ask for the image, which is marked as being served from here on. What is wrong with it is said then.
        let _ = self.store.image(generation.image);
        let worker = Worker {
            image: name.to_string(),
            manager: base.addr,
            mac: asker.mac,
            serial: asker.serial,
            arch: asker.arch,
            uuid: asker.uuid,
        };
        let given = self.worker_files.hand_out(&self.config, &worker)?;
        self.tell(asker.mac, |who| {
            Event::Chosen(who, given.hostname.clone(), generation.image)
        });
        let boot = &self.config.boot;
        let args = BootArgs {
            image: generation.image,
            size: generation.size,
            bases: with_others(base, &boot.bases),
            overlay: boot.overlay,
            tmpfs: boot.tmpfs.clone(),
            hostname: given.hostname,
            files: given.files,
            debug: boot.debug,
            heartbeat: boot.heartbeat,
            deadline: boot.deadline,
            bootif: asker.mac,
            streaming: self.config.streaming(asker),
            boot: Some(BootFiles {
                kernel: generation.kernel.name.clone(),
                initrd: generation.initrd.name.clone(),
            }),
        };
        Ok(BootPlan {
            name,
            generation,
            args,
            extra: cmdline,
        })
    }

    /// Of a machine that says which it is.
    fn tell(&self, mac: Option<Mac>, event: impl FnOnce(Who) -> Event) {
        let Some(mac) = mac else { return };
        let _ = self.fleet.saw(event(Who {
            mac: Some(mac),
            address: None,
            named: true,
        }));
    }

    /// The script for `client`, which reached us at `base`.
    #[must_use]
    pub fn script(&self, client: &Client, base: &Base) -> String {
        match self.boot_script(client, base) {
            Ok(script) => script,
            Err(error) => {
                let reason = format!("{error:#}");
                warn!(worker = %client.mac, "boot script: nothing to boot: {reason}");
                self.tell(Some(client.mac), |who| Event::Nothing(who, reason.clone()));
                ipxe::wait(base, client, &reason)
            }
        }
    }

    fn boot_script(&self, client: &Client, base: &Base) -> anyhow::Result<String> {
        let choice = self.choose(client, base)?;
        let Generation {
            image,
            kernel,
            initrd,
            ..
        } = &choice.generation;
        let script = ipxe::boot(
            client,
            &choice.args,
            &kernel.name,
            &initrd.name,
            &choice.extra,
        )?;
        info!(worker = %client.mac, image = image.short(), name = %choice.name, "boot script");
        Ok(script)
    }
}

/// This manager first; its own entry, where managers share one config, does not stand there twice.
fn with_others(own: &Base, others: &[Base]) -> Vec<Base> {
    let mut bases = vec![own.clone()];
    for other in others {
        if !bases.contains(other) {
            bases.push(other.clone());
        }
    }
    bases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_may_share_their_config() {
        let base = |text: &str| text.parse::<Base>().expect("a base");
        let (a, b) = (base("http://10.0.0.1:8067"), base("http://10.0.0.2:8067"));
        let both = [a.clone(), b.clone()];
        assert_eq!(with_others(&a, &both), both);
        assert_eq!(with_others(&b, &both), [b, a.clone()]);
        assert_eq!(with_others(&a, &[]), [a]);
    }
}
