//! Stores made without publishing: what is measured is how their images are served.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ramboot_wire::ImageId;
use ramboot_wire::image::{CHUNK_LEN, chaining_value, fold};

/// An image in a store.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) id: ImageId,
    /// Bytes, whole chunks.
    pub(crate) size: u64,
    pub(crate) file: PathBuf,
}

/// What an image is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Bytes that nothing on the way can make less of.
    ///
    /// Other numbers give other bytes.
    Noise(u64),
    /// A file without blocks.
    Hole,
}

/// Adds an image of so many chunks.
pub(crate) fn add(state: &Path, chunks: u64, filling: Filling) -> anyhow::Result<Image> {
    let size = chunks * CHUNK_LEN as u64;
    let images = state.join("images");
    fs::create_dir_all(&images)?;
    let new = images.join("new");
    fs::create_dir_all(new.join("boot"))?;
    let mut file = File::create(new.join("image.sqfs"))?;
    file.set_len(size)?;
    let mut chunk = vec![0; CHUNK_LEN];
    let mut word = 0x9e37_79b9_7f4a_7c15_u64 ^ chunks;
    if let Filling::Noise(number) = filling {
        word ^= number << 32;
    }
    let mut values = Vec::new();
    for index in 0..chunks {
        if filling != Filling::Hole {
            for eight in chunk.chunks_exact_mut(8) {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                eight.copy_from_slice(&word.to_le_bytes());
            }
            file.write_all(&chunk)?;
        }
        values.push(chaining_value(index, &chunk));
    }
    // Pages that wait to be written could not be evicted, and would be written while something is measured.
    file.sync_all()?;
    let id = fold(&values)?;
    fs::write(new.join("chunks"), values.concat())?;
    fs::write(
        new.join("image.json"),
        format!(
            r#"{{"id":"{id}","size":{size},"compressor":"zstd","block_size":131072,"kernel_version":"bench","arch":"x86_64"}}"#
        ),
    )?;
    let folder = images.join(id.to_string());
    fs::rename(new, &folder)?;
    Ok(Image {
        id,
        size,
        file: folder.join("image.sqfs"),
    })
}
