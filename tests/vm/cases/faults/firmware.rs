//! The manager dies while a machine is still in its firmware's hands: iPXE's, and the script's that ramboot gave it.

use anyhow::{Result, ensure};

use super::outage::until_fetched;
use super::{FULL, MEMORY, Systems, came_up, serve};
use crate::BOOT;
use crate::case::Case;
use crate::lan::Lan;
use crate::machine::Machine;

/// Less than either file has.
const PART: u64 = 2 << 20;

/// Not there when the machine is switched on; dead in the middle of the kernel, and of the initramfs. The machine comes up with
/// nobody's hand on it.
pub(in super::super) fn outlives_the_manager(case: &Case) -> Result<()> {
    let systems = Systems::of(case)?;
    let lan = Lan::new()?;
    let worker = Machine::bios(MEMORY).boot(case, &lan)?;
    let said = &worker.console.said;
    // Now it asks for an address, and goes on asking for 16 s.
    said.expect("using virtio-net", BOOT)?;
    let mut manager = serve(case, &systems, "short", &FULL)?;
    // Two MB a second: kernel and initramfs take four seconds each.
    worker.tap.slow(16)?;
    let kernel = systems.short.kernel_size()?;
    // The second outage is longer than iPXE asks for an address.
    for (times, bytes, unanswered) in [(1, PART, 1), (2, kernel + PART, 3)] {
        said.expect_times(times, "boots image", BOOT)?;
        until_fetched(&worker, worker.tap.delivered()?, bytes)?;
        manager.kill()?;
        said.expect_times(times, "kernel or initramfs could not be fetched", BOOT)?;
        said.expect_times(unanswered, "does not answer; asking DHCP again", BOOT)?;
        manager = serve(case, &systems, "short", &FULL)?;
    }
    said.expect_times(3, "boots image", BOOT)?;
    worker.tap.fast()?;
    ensure!(!said.has("iPXE>"), "iPXE's shell, which waits for a hand");
    came_up(&worker.console, &systems.short, 0)?;
    manager.terminate()
}
