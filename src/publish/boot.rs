//! The boot files of an image that was examined: made, compressed, and put beside the image. A shell.

use anyhow::Context;
use bytes::Bytes;

use super::checks::memory::Need;
use super::examine::Parts;
use super::outcome::Uki;
use super::pi;
use crate::host::progress::Progress;
use crate::publish::initrd;
use crate::store::BootFile;
use crate::store::commit::Staging;
use ramboot_wire::Arch;

/// What was made.
pub(super) struct Made {
    pub(super) version: String,
    pub(super) arch: Arch,
    pub(super) kernel: BootFile,
    pub(super) initrd: BootFile,
    pub(super) uki: Option<Uki>,
    pub(super) modules: usize,
    pub(super) firmware: usize,
    pub(super) pi: pi::Outcome,
    pub(super) need: Need,
}

/// Makes all of it.
///
/// # Errors
/// The store cannot be written.
pub(super) fn make(
    parts: Parts<'_>,
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<Made> {
    let Parts {
        source,
        arch,
        modules,
        base,
        stub,
        pi,
        need,
    } = parts;
    let mut packed = compressed_modules(staging, &modules.archive, "all machines", progress)?;
    let base = initrd::compress(&base, workers()).context("compressing /init")?;
    packed.extend_from_slice(&base);
    let packed = Bytes::from(packed);
    let pi = pi::make(pi, &source, &base, staging, progress)?;
    let kernel = source.kernel;
    let uki = stub.map(|found| {
        Ok::<_, anyhow::Error>(Uki {
            stub: staging.add_boot("stub", &found.bytes)?,
            origin: found.origin,
            size: found.uki_bytes(&kernel, &packed)?,
        })
    });
    Ok(Made {
        arch,
        kernel: staging.add_boot("vmlinuz", &kernel)?,
        initrd: staging.add_boot("initrd", &packed)?,
        uki: uki.transpose()?,
        version: source.version,
        modules: modules.count,
        firmware: modules.firmware,
        pi,
        need,
    })
}

/// Compresses what belongs to the kernel, or finds it in the cache: the next image often has the same kernel.
pub(super) fn compressed_modules(
    staging: &Staging,
    archive: &[u8],
    machines: &str,
    progress: &mut Progress,
) -> anyhow::Result<Vec<u8>> {
    let mut inputs = blake3::Hasher::new();
    inputs.update(initrd::recipe().as_bytes()).update(archive);
    let entry = staging.cached("modules", &inputs.finalize());
    if let Some(packed) = entry.get() {
        return Ok(packed);
    }
    progress.step(&format!(
        "compressing the modules of a kernel that is new here, for {machines}"
    ));
    let packed = initrd::compress(archive, workers()).context("compressing modules")?;
    if let Err(e) = entry.put(&packed) {
        progress.note(&format!(
            "the compressed modules are not kept for next time: {e}"
        ));
    }
    Ok(packed)
}

fn workers() -> u32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|n| u32::try_from(n.get()).ok())
        .unwrap_or(1)
}
