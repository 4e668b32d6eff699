//! What TFTP has, by name: iPXE, EFI programs, U-Boot's menu, and the folder each Raspberry Pi believes in.
//!
//! Nothing of it is a folder on the disk. What firmware is given was decided when it asked for its first file.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock and the neighbour table"
)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Arch, Base, Client, Mac};
use tracing::{debug, info, warn};

use crate::boot::current::Current;
use crate::boot::planner::{BootPlan, Planner, base};
use crate::boot::pxelinux;
use crate::config::worker::Machine;
use crate::fleet::event::{self, Event, Part};
use crate::host::arp_table;
use crate::pi::choice::{Content, PiChoice};
use crate::pi::eeprom::update::{self, Updates};
use crate::pi::files::{Files, Opened};
use crate::pi::folder::{Answer, Tree, Who, Why};
use crate::store::rope::Rope;
use crate::store::{BootFile, Image, Stored};
use crate::tftp;

/// Files a Raspberry Pi that has nothing to boot asks for again and again; each of them would be a line in the log.
const FIRST_FILES: [&str; 3] = ["bootcode.bin", "start4.elf", "config.txt"];

/// All names.
#[derive(Debug)]
pub struct TftpFiles {
    planner: Arc<Current>,
    updates: Updates,
    trees: Mutex<Tree>,
    start: Instant,
    opened: Mutex<Opened>,
}

impl TftpFiles {
    /// Names that lead to what `planner` decides, and bootloaders' updates.
    #[must_use]
    pub fn new(planner: Arc<Current>, updates: Updates) -> Self {
        let prefix = planner.now().config.boot.pi_prefix.clone();
        Self {
            planner,
            updates,
            trees: Mutex::new(Tree::new(prefix)),
            start: Instant::now(),
            opened: Mutex::default(),
        }
    }

    fn pi(&self, planner: &Planner, ask: &tftp::Ask<'_>, base: &Base) -> Option<Rope> {
        let address = *ask.client.ip();
        let now = self.start.elapsed();
        let choose = |who: &Who, back| {
            let mac = who.mac.or_else(|| arp_table::mac_of(who.address));
            self.choose_pi(planner, who, mac, base, back)
                .map_err(|error| format!("{error:#}"))
        };
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.set_prefix(&planner.config.boot.pi_prefix);
        match trees.resolve(ask.name, address, now, choose) {
            Answer::Found(parts) => return Some(parts),
            Answer::Missing(why) => {
                let name = ask.name;
                let first = FIRST_FILES.iter().any(|file| name.ends_with(file));
                match &why {
                    Why::NoImage(_) if first => {
                        warn!(client = %address, name, "Raspberry Pi: {why}");
                        let who = self.who(address);
                        let _ = planner.fleet.saw(Event::Nothing(who, why.to_string()));
                    }
                    Why::Loud(_) => warn!(client = %address, name, "Raspberry Pi: {why}"),
                    _ => debug!(client = %address, name, "TFTP: {why}"),
                }
            }
        }
        None
    }

    fn choose_pi(
        &self,
        planner: &Planner,
        who: &Who,
        mac: Option<Mac>,
        base: &Base,
        back: usize,
    ) -> anyhow::Result<PiChoice> {
        let asker = Machine {
            mac,
            serial: who.serial,
            uuid: None,
            arch: Some(Arch::Aarch64),
        };
        let choice = planner.choose_for(&asker, base, back)?;
        let BootPlan {
            name,
            generation,
            args,
            extra,
        } = &choice;
        let pi = generation.pi.as_ref().with_context(|| {
            format!("image {name} has no files for Raspberry Pis: \"ramboot publish\" said which are missing")
        })?;
        let image = planner.store.image(generation.image)?;
        let image = image.with_context(|| format!("image {} is gone", generation.image))?;
        let content = Content {
            files: self.files(&image, &pi.files)?,
            kernel: boot_file(&image, &pi.kernel)?.into(),
            initrd: boot_file(&image, &pi.initrd)?.into(),
        };
        let made = PiChoice::new(pi, content, args, extra)?;
        if back == 0 {
            let machine = mac.map_or_else(|| who.address.to_string(), |mac| mac.to_string());
            let image = generation.image.short();
            info!(worker = machine, image, %name, "Raspberry Pi begins to boot");
        }
        Ok(made)
    }

    fn files(&self, image: &Image, file: &BootFile) -> anyhow::Result<Arc<Files>> {
        let archive = Rope::from(boot_file(image, file)?);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(opened.get(&file.name, &archive)?)
    }

    /// U-Boot's menu, and the files it names.
    fn u_boot(planner: &Planner, name: &str, base: &Base) -> anyhow::Result<Option<Rope>> {
        if let Some(mac) = pxelinux::asked_by(name) {
            let client = Client {
                arch: Some(Arch::Aarch64),
                ..mac.into()
            };
            let choice = planner.choose(&client, base)?;
            let BootPlan {
                generation,
                args,
                extra,
                ..
            } = &choice;
            let (kernel, initrd) = (&generation.kernel.name, &generation.initrd.name);
            let menu = pxelinux::menu(args, kernel, initrd, extra)?;
            info!(worker = %mac, image = args.image.short(), name = %choice.name, "U-Boot menu");
            return Ok(Some(Bytes::from(menu).into()));
        }
        let Some(Resource::Boot(id, file)) = Resource::parse(&format!("/{name}")) else {
            return Ok(None);
        };
        let image = planner.store.image(id)?;
        let found = image.map(|image| image.boot(&file)).transpose()?.flatten();
        Ok(found.map(Rope::from))
    }
}

impl tftp::Files for TftpFiles {
    /// Reads a few small files at most, and all of a boot file when it is first asked for.
    fn open(&self, ask: &tftp::Ask<'_>) -> Option<Rope> {
        let found = self.find(ask)?;
        let who = self.who(*ask.client.ip());
        let _ = self
            .planner
            .now()
            .fleet
            .saw(Event::Begins(who, part(ask.name)));
        Some(found)
    }

    fn knows(&self, client: Ipv4Addr) -> bool {
        self.planner.now().fleet.lock().knows(client)
    }

    fn taken(&self, client: SocketAddrV4, name: &str) {
        let who = self.who(*client.ip());
        let _ = self.planner.now().fleet.saw(Event::Loaded(who, part(name)));
    }
}

/// By TFTP an EFI program is iPXE.
fn part(name: &str) -> Part {
    match Part::of(name) {
        Part::Uki => Part::Loader,
        part => part,
    }
}

impl TftpFiles {
    /// Known to the fleet by its address, else by the neighbour table.
    fn who(&self, address: Ipv4Addr) -> event::Who {
        let known = self.planner.now().fleet.lock().at(address).is_some();
        event::Who {
            mac: if known {
                None
            } else {
                arp_table::mac_of(address)
            },
            address: Some(address),
            named: false,
        }
    }

    fn find(&self, ask: &tftp::Ask<'_>) -> Option<Rope> {
        if let Some(asked) = update::Asked::parse(ask.name) {
            return self.updates.open(&asked, *ask.client.ip());
        }
        let planner = self.planner.now();
        let base = base(SocketAddrV4::new(*ask.local.ip(), planner.config.http_port));
        if let Some(parts) = planner.tftp(ask.name, &base) {
            return Some(parts);
        }
        match Self::u_boot(&planner, ask.name, &base) {
            Ok(Some(parts)) => Some(parts),
            Ok(None) => self.pi(&planner, ask, &base),
            Err(error) => {
                warn!(client = %ask.client, name = ask.name, "TFTP: nothing to boot: {error:#}");
                None
            }
        }
    }
}

fn boot_file(image: &Image, file: &BootFile) -> anyhow::Result<Stored> {
    let found = image.boot(&file.name)?;
    found.with_context(|| format!("{} is not in the store", file.name))
}

#[cfg(test)]
mod tests;
