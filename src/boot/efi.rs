//! What UEFI firmware runs: the machine's own unified kernel image, or iPXE; and the names that TFTP knows.

use anyhow::Context;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Arch, Base, Client};
use tracing::{info, warn};

use super::planner::{BootPlan, Planner};
use crate::boot::ipxe;
use crate::boot::uki::{MAX_STUB_BYTES, Payload, Stub, UkiError};
use crate::fleet::event::Part;
use crate::store::rope::Rope;
use crate::store::{BootFile, Generation};

/// How a machine asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Large files are fine: it gets the unified kernel image, and iPXE only if there is none.
    Http,
    /// Each block waits for its acknowledgement: iPXE is small and fetches the rest by HTTP, so it comes first.
    Tftp,
}

/// An EFI program for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// iPXE, which asks for its script next.
    Ipxe(Rope),
    /// The machine's unified kernel image.
    Uki(Rope),
}

impl Program {
    /// Which part of a boot it is.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::Ipxe(_) => Part::Loader,
            Self::Uki(_) => Part::Uki,
        }
    }

    /// The file.
    #[must_use]
    pub fn into_bytes(self) -> Rope {
        match self {
            Self::Ipxe(bytes) | Self::Uki(bytes) => bytes,
        }
    }
}

/// The script that new iPXE (Debian 13's) looks for in the root or beside its own binary, by version.
const AUTOEXEC: &str = "autoexec.ipxe";

impl Planner {
    /// The EFI program for `client`, which reached us at `base`; `None`, and a line in the log that says what to do, if
    /// there is none for it.
    #[must_use]
    pub fn efi(&self, client: &Client, base: &Base, via: Via) -> Option<Program> {
        let choice = self.choose(client, base);
        // Firmware that says nothing of itself is likely to be what the image was published for.
        let chosen = choice.as_ref().ok().map(|choice| choice.generation.arch);
        let arch = client.arch.or(chosen).unwrap_or(Arch::X86_64);
        let ipxe = self.roms.efi(arch).cloned();
        let ipxe = ipxe.map(|bytes| Program::Ipxe(bytes.into()));
        if via == Via::Tftp && ipxe.is_some() {
            info!(worker = %client.mac, "boot.efi: iPXE for {arch}");
            return ipxe;
        }
        let why = match choice.and_then(|choice| Ok((self.uki(&choice)?, choice))) {
            Ok((uki, BootPlan { name, args, .. })) => {
                let (image, bytes) = (args.image.short(), uki.len());
                info!(worker = %client.mac, image, %name, bytes, "boot.efi: unified kernel image");
                return Some(Program::Uki(uki));
            }
            Err(error) => format!("{error:#}"),
        };
        // iPXE boots what needs no stub, or shows why it cannot and asks again.
        if ipxe.is_some() {
            info!(worker = %client.mac, "boot.efi: iPXE for {arch}, not a unified kernel image: {why}");
        } else {
            warn!(
                worker = %client.mac,
                "boot.efi: nothing for this {arch} machine: {why}; and no iPXE: {} (apt install ipxe, or --ipxe-dir) is missing",
                self.roms.wanted(arch)
            );
        }
        ipxe
    }

    fn uki(&self, choice: &BootPlan) -> anyhow::Result<Rope> {
        let Generation {
            image: id,
            kernel,
            initrd,
            stub,
            arch,
            kernel_version,
            ..
        } = &choice.generation;
        let stub = stub.as_ref().with_context(|| {
            let name = &choice.name;
            format!(
                "image {name} was published without an EFI stub: apt install systemd-boot-efi in the image or here, and publish it again"
            )
        })?;
        let image = self.store.image(*id)?;
        let image = image.with_context(|| format!("image {id} is gone"))?;
        let open = |file: &BootFile| {
            let found = image.boot(&file.name)?;
            found.with_context(|| format!("{} of image {id} is gone", file.name))
        };
        let stub = Stub::parse(open(stub)?.read(MAX_STUB_BYTES)?)?;
        if stub.arch != *arch {
            return Err(UkiError::StubMachine(stub.arch, *arch).into());
        }
        Ok(stub.compose(&Payload {
            cmdline: &choice.args.render(&choice.extra)?,
            uname: kernel_version,
            kernel: open(kernel)?.into(),
            initrd: open(initrd)?.into(),
        })?)
    }

    /// The file of this name (without a slash before it) for whoever asks by TFTP; `base` is where HTTP is to be found.
    ///
    /// Beside iPXE's binaries these are `efi/<client>/boot.efi`, and `autoexec.ipxe` in the same folder and in the root.
    #[must_use]
    pub fn tftp(&self, name: &str, base: &Base) -> Option<Rope> {
        if let Some(rom) = self.roms.get(name) {
            return Some(rom.clone().into());
        }
        if name == AUTOEXEC {
            return Some(text(ipxe::find_script(base)));
        }
        let folder = name.strip_suffix(AUTOEXEC);
        let path = folder.map(|folder| format!("/{folder}boot.efi"));
        let path = path.unwrap_or_else(|| format!("/{name}"));
        let Some(Resource::Efi(client)) = Resource::parse(&path) else {
            return None;
        };
        if folder.is_some() {
            return Some(text(ipxe::fetch_script(base, &client)));
        }
        self.efi(&client, base, Via::Tftp).map(Program::into_bytes)
    }
}

fn text(script: String) -> Rope {
    bytes::Bytes::from(script).into()
}

#[cfg(test)]
mod tests;
