//! UEFI machines: EDK2's own PXE and HTTP Boot, on x86_64 (OVMF) and arm64 (AAVMF).

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::Stage;

use crate::case::Case;
use crate::lan::Lan;
use crate::machine::{First, Machine, Worker};
use crate::manager::Manager;
use crate::process::run;
use crate::{ANSWER, BOOT};

const MEMORY: u32 = 1024;
const IPXE: &str = "boot.efi: iPXE for x86_64";
const UKI: &str = "boot.efi: unified kernel image";
const BY_TFTP: &str = "TFTP: sent";

/// A small file by TFTP, the rest by HTTP.
pub(super) fn pxe(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let manager = Manager::full(case, &case.store()?)?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Pxe, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    for said in ["UEFI PXE (x86_64)", IPXE, BY_TFTP, "boot script"] {
        manager.log.expect(said, ANSWER)?;
    }
    ensure!(
        !manager.log.has(UKI),
        "a kernel by TFTP, though there is iPXE"
    );
    manager.terminate()
}

/// Another server gives the address; the file's name comes from port 4011.
pub(super) fn pxe_beside_dnsmasq(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let neighbour = lan.dhcp_server(case)?;
    let manager = Manager::proxy(case, &case.store()?)?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Pxe, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    neighbour.log.expect("DHCPACK(port1)", ANSWER)?;
    for said in ["UEFI PXE (x86_64)", IPXE, BY_TFTP, "boot script"] {
        manager.log.expect(said, ANSWER)?;
    }
    manager.terminate()
}

/// One file by HTTP holds all that a boot needs.
pub(super) fn http(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let manager = Manager::full(case, &case.store()?)?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Http, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    kernel_by_http(&manager, "UEFI HTTP boot (x86_64)")?;
    manager.terminate()
}

/// The offer of an address and the offer of a URL come from two servers.
pub(super) fn http_beside_dnsmasq(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let neighbour = lan.dhcp_server(case)?;
    let manager = Manager::proxy(case, &case.store()?)?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Http, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    neighbour.log.expect("DHCPACK(port1)", ANSWER)?;
    kernel_by_http(&manager, "UEFI HTTP boot (x86_64)")?;
    manager.terminate()
}

/// A manager without iPXE: the whole kernel by TFTP.
pub(super) fn pxe_without_ipxe(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let manager = Manager::full_with_ipxe(case, &case.store()?, case.dir())?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Pxe, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    for said in ["UEFI PXE (x86_64)", UKI, BY_TFTP] {
        manager.log.expect(said, ANSWER)?;
    }
    ensure!(
        !manager.log.has("boot script"),
        "iPXE, though there is none"
    );
    manager.terminate()
}

/// New iPXE asks for a script by TFTP before it does anything else, and is led to the machine's own.
pub(super) fn autoexec(case: &Case) -> Result<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ipxe = project.join("target/vm/ipxe-debian13");
    run(
        "tests/vm/ipxe.sh",
        &[ipxe.to_str().context("a path in UTF-8")?],
    )?;
    let lan = Lan::new()?;
    let manager = Manager::full_with_ipxe(case, &case.store()?, &ipxe.join("usr/lib/ipxe"))?;
    let mut worker = Machine::uefi(Arch::X86_64, First::Pxe, MEMORY).boot(case, &lan)?;
    runs(&mut worker, "x86_64")?;
    for said in [IPXE, "autoexec.ipxe", "boot script"] {
        manager.log.expect(said, ANSWER)?;
    }
    let said = &worker.console.said;
    for (text, wanted) in [("12-34-00.x86_64... ok", true), ("does not answer", false)] {
        ensure!(
            said.has(text) == wanted,
            "{text:?} on the console: {}",
            !wanted
        );
    }
    manager.terminate()
}

/// Debian 12 has no iPXE for arm64.
pub(super) fn arm64_pxe(case: &Case) -> Result<()> {
    let store = case.arm64_store()?;
    let lan = Lan::new()?;
    arm64_by_pxe(case, &lan, Manager::full(case, &store)?)
}

pub(super) fn arm64_pxe_beside_dnsmasq(case: &Case) -> Result<()> {
    let store = case.arm64_store()?;
    let lan = Lan::new()?;
    let _neighbour = lan.dhcp_server(case)?;
    arm64_by_pxe(case, &lan, Manager::proxy(case, &store)?)
}

fn arm64_by_pxe(case: &Case, lan: &Lan, manager: Manager) -> Result<()> {
    let mut worker = Machine::uefi(Arch::Aarch64, First::Pxe, MEMORY).boot(case, lan)?;
    runs(&mut worker, "aarch64")?;
    for said in ["UEFI PXE (aarch64)", "boot.efi: ", BY_TFTP] {
        manager.log.expect(said, ANSWER)?;
    }
    manager.terminate()
}

/// The stub is the image's own.
pub(super) fn arm64_http(case: &Case) -> Result<()> {
    let store = case.arm64_store()?;
    let lan = Lan::new()?;
    arm64_by_http(case, &lan, Manager::full(case, &store)?)
}

pub(super) fn arm64_http_beside_dnsmasq(case: &Case) -> Result<()> {
    let store = case.arm64_store()?;
    let lan = Lan::new()?;
    let _neighbour = lan.dhcp_server(case)?;
    arm64_by_http(case, &lan, Manager::proxy(case, &store)?)
}

fn arm64_by_http(case: &Case, lan: &Lan, manager: Manager) -> Result<()> {
    let mut worker = Machine::uefi(Arch::Aarch64, First::Http, MEMORY).boot(case, lan)?;
    runs(&mut worker, "aarch64")?;
    kernel_by_http(&manager, "UEFI HTTP boot (aarch64)")?;
    manager.terminate()
}

/// The image's own system runs from RAM, on a kernel that was started by UEFI.
fn runs(worker: &mut Worker, machine: &str) -> Result<()> {
    let console = &mut worker.console;
    console.stage(Stage::Handover, BOOT)?;
    console.login()?;
    let running =
        console.run("uname -m; findmnt --noheadings --output FSTYPE /; ls -d /sys/firmware/efi")?;
    let wanted = format!("{machine}\noverlay\n/sys/firmware/efi");
    ensure!(running == wanted, "{running:?} instead of {wanted:?}");
    Ok(())
}

/// Nothing but the unified kernel image was fetched before `/init`.
fn kernel_by_http(manager: &Manager, firmware: &str) -> Result<()> {
    for said in [firmware, UKI] {
        manager.log.expect(said, ANSWER)?;
    }
    for other in [BY_TFTP, "boot script"] {
        ensure!(!manager.log.has(other), "{other:?} in the manager's log");
    }
    Ok(())
}
