//! The image is read once: what is hashed is what is written, whatever happens to the source meanwhile.
//!
//! While one run of chunks is hashed on all cores, the run before it is written and the next one is read.

use std::io::{self, Read, Write};

use anyhow::{Context, bail, ensure};
use ramboot_wire::ImageId;
use ramboot_wire::image::{CHUNK_BYTES, MAX_IMAGE_BYTES, chaining_value, fold};
use rayon::prelude::*;

/// Bytes read at a time: 16 chunks, enough for all cores of a large machine, and small enough to stay in a cache.
const RUN_BYTES: u64 = 16 * CHUNK_BYTES;

/// An image that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ingested {
    /// BLAKE3 of all bytes.
    pub(super) id: ImageId,
    /// How many.
    pub(super) size: u64,
    /// The chunk list; empty for an image of one chunk.
    pub(super) chunks: Vec<u8>,
}

/// Copies `source` to `target` and hashes it; tells `progress` how many bytes are done.
///
/// # Errors
/// Reading or writing fails, or there is nothing, or more than [`MAX_IMAGE_BYTES`].
pub(super) fn ingest(
    source: &mut (impl Read + Send),
    target: &mut (impl Write + Send),
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Ingested> {
    let mut run = read_run(source, Vec::new())?;
    let mut spare = Vec::new();
    let mut values: Vec<[u8; 32]> = Vec::new();
    let mut whole = None;
    let mut size = 0_u64;
    while !run.is_empty() {
        let base = values.len() as u64;
        // A short run is the last: it may be the only chunk, whose hash is the id itself.
        if size == 0 && run.len() as u64 <= CHUNK_BYTES {
            whole = Some(ImageId(*blake3::hash(&run).as_bytes()));
        }
        let ((hashed, written), next) = rayon::join(
            || rayon::join(|| hash(base, &run), || target.write_all(&run)),
            || read_run(source, spare),
        );
        written.context("writing the image into the store")?;
        values.extend(hashed);
        size += run.len() as u64;
        if size > MAX_IMAGE_BYTES {
            bail!("the image has more than {MAX_IMAGE_BYTES} bytes, which are the limit");
        }
        progress(size);
        spare = std::mem::replace(&mut run, next?);
    }
    ensure!(size > 0, "the image is empty");
    let (id, chunks) = match whole {
        Some(id) => (id, Vec::new()),
        None => (fold(&values)?, values.concat()),
    };
    Ok(Ingested { id, size, chunks })
}

fn hash(base: u64, run: &[u8]) -> Vec<[u8; 32]> {
    let chunk_bytes = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    run.par_chunks(chunk_bytes)
        .enumerate()
        .map(|(i, chunk)| chaining_value(base + i as u64, chunk))
        .collect()
}

fn read_run(source: &mut impl Read, mut buffer: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    buffer.clear();
    let mut limited = source.take(RUN_BYTES);
    let read: io::Result<usize> = limited.read_to_end(&mut buffer);
    read.context("reading the image")?;
    Ok(buffer)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small images")]
mod tests {
    use super::*;
    use ramboot_wire::ChunkList;

    /// Gives what a pipe might: a little at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(buffer.len());
            (&mut self.0).take(n as u64).read(buffer)
        }
    }

    #[test]
    fn the_copy_is_what_was_hashed() {
        let (chunk, run) = (CHUNK_BYTES as usize, RUN_BYTES as usize);
        for (size, step) in [
            (1, 1),
            (chunk - 1, 1000),
            (chunk, chunk),
            (chunk + 1, 77_777),
            (run - 1, run),
            (run, run),
            (run + 1, 100_001),
            (2 * run + chunk + 3, 1 << 20),
        ] {
            let image: Vec<u8> = (0..size).map(|i| ((i * i) >> 7) as u8).collect();
            let mut copy = Vec::new();
            let mut last = 0;
            let ingested = ingest(&mut Slow(&image, step), &mut copy, |n| last = n).expect("read");
            assert_eq!(copy, image);
            assert_eq!((ingested.size, last), (size as u64, size as u64));
            assert_eq!(ingested.id.0, *blake3::hash(&image).as_bytes(), "{size}");
            let list = ChunkList::prove(ingested.id, ingested.size, &ingested.chunks);
            list.expect("the list of this image");
        }
    }

    #[test]
    fn nothing_is_no_image() {
        let error = ingest(&mut io::empty(), &mut Vec::new(), |_| {}).expect_err("empty");
        assert_eq!(error.to_string(), "the image is empty");
    }

    #[test]
    fn a_full_disk_is_said() {
        let mut full = [0_u8; 10];
        let error = ingest(
            &mut io::repeat(1).take(100),
            &mut full.as_mut_slice(),
            |_| {},
        );
        let error = format!("{:#}", error.expect_err("full"));
        assert!(
            error.starts_with("writing the image into the store: "),
            "{error}"
        );
    }
}
