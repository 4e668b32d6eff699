//! A store with one image and its boot files, of bytes that do not compress.

use std::fs;
use std::path::Path;

use anyhow::Context;
use ramboot_wire::image::{CHUNK_LEN, chaining_value, fold};
use ramboot_wire::paths::Resource;

/// Bytes of each file.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The squashfs.
    pub image: usize,
    /// The kernel.
    pub kernel: usize,
    /// The initramfs.
    pub initrd: usize,
}

/// Where it is on the manager.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Path of the image.
    pub image: String,
}

/// undionly.kpxe has about so many bytes.
const ROM_BYTES: usize = 90_000;

/// Fills `state`, with a folder `ipxe` for `--ipxe-dir` in it.
///
/// # Errors
/// The disk's.
pub fn fill(state: &Path, sizes: Sizes) -> anyhow::Result<Stored> {
    let image = noise(sizes.image, 1);
    let values: Vec<_> = image
        .chunks(CHUNK_LEN)
        .zip(0..)
        .map(|(chunk, index)| chaining_value(index, chunk))
        .collect();
    let (id, size) = (fold(&values)?, image.len());
    let folder = state.join("images").join(id.to_string());
    let facts = format!(
        r#"{{"id":"{id}","size":{size},"compressor":"zstd","block_size":131072,"kernel_version":"storm","arch":"x86_64"}}"#
    );
    let kernel = BootFile::of("vmlinuz", noise(sizes.kernel, 2));
    let initrd = BootFile::of("initrd", noise(sizes.initrd, 3));
    let generation = format!(
        r#"{{"image":"{id}","size":{size},"kernel":{},"initrd":{},"kernel_version":"storm","arch":"x86_64","published":0}}"#,
        kernel.json(),
        initrd.json()
    );
    for (path, bytes) in [
        (folder.join("image.sqfs"), image),
        (folder.join("chunks"), values.concat()),
        (folder.join("image.json"), facts.into()),
        (folder.join("boot").join(&kernel.name), kernel.bytes),
        (folder.join("boot").join(&initrd.name), initrd.bytes),
        (state.join("names/default/1.json"), generation.into()),
        (state.join("ipxe/undionly.kpxe"), noise(ROM_BYTES, 4)),
    ] {
        let parent = path.parent().context("a folder")?;
        fs::create_dir_all(parent)?;
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(Stored {
        image: Resource::Image(id).path(),
    })
}

struct BootFile {
    name: String,
    bytes: Vec<u8>,
}

impl BootFile {
    fn of(kind: &str, bytes: Vec<u8>) -> Self {
        let digest = blake3::hash(&bytes).to_hex();
        let digits = digest.as_str().get(..16).unwrap_or_default();
        Self {
            name: format!("{kind}-{digits}"),
            bytes,
        }
    }

    fn json(&self) -> String {
        format!(r#"{{"name":"{}","size":{}}}"#, self.name, self.bytes.len())
    }
}

/// BLAKE3 as a source of bytes.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
