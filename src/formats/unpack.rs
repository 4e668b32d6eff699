//! Modules as the kernel links them: `.ko.xz`, `.ko.zst` and `.ko.gz` are unpacked when an image is published.
//!
//! Debian 12 and Raspberry Pi kernels cannot unpack modules themselves (`MODULE_DECOMPRESS` unset), and compressing all
//! of them together is smaller than each alone.

use std::io::{self, Read};

/// The largest module of Debian's amd64 kernel has 6 MB (amdgpu is 20 MB, and is not wanted).
const MAX_MODULE_BYTES: u64 = 64 * 1024 * 1024;
/// What xz may take for its dictionary: `xz -9` needs 64 MiB.
const MAX_XZ_MEMORY: u64 = 256 * 1024 * 1024;

/// Unpacks the module at `path`, by the ending of its name.
///
/// # Errors
/// The content is not what the name says, or has more than 64 MiB.
pub fn module(path: &str, content: Vec<u8>) -> io::Result<Vec<u8>> {
    let packed = content.as_slice();
    match path.rsplit('.').next() {
        Some("xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0)?;
            whole(liblzma::read::XzDecoder::new_stream(packed, stream))
        }
        Some("zst") => whole(zstd::stream::read::Decoder::with_buffer(packed)?),
        Some("gz") => whole(flate2::read::MultiGzDecoder::new(packed)),
        _ => Ok(content),
    }
}

fn whole(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    reader
        .take(MAX_MODULE_BYTES + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > MAX_MODULE_BYTES {
        return Err(io::Error::other(format!(
            "unpacked it has more than {MAX_MODULE_BYTES} bytes"
        )));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn all_three_ways_give_the_module() {
        let plain = vec![42; 100_000];
        let xz = {
            let mut out = Vec::new();
            let mut packer = liblzma::write::XzEncoder::new(&mut out, 6);
            packer.write_all(&plain).expect("packed");
            packer.finish().expect("packed");
            out
        };
        let gz = {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&plain).expect("packed");
            packer.finish().expect("packed")
        };
        let zst = zstd::encode_all(plain.as_slice(), 3).expect("packed");
        for (path, packed) in [("a.ko.xz", xz), ("a.ko.gz", gz), ("a.ko.zst", zst)] {
            assert_eq!(module(path, packed.clone()).expect(path), plain);
            for cut in 0..packed.len() {
                assert!(
                    module(path, packed[..cut].to_vec()).is_err(),
                    "{path} {cut}"
                );
            }
        }
        assert_eq!(module("a.ko", plain.clone()).expect("plain"), plain);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::encode_all(io::repeat(0).take(MAX_MODULE_BYTES + 1), 1).expect("packed");
        let error = module("a.ko.zst", bomb).expect_err("too large");
        assert!(error.to_string().contains("more than 67108864"), "{error}");
    }
}
