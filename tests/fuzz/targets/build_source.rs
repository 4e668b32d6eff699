//! A source of `ramboot build`: a tar and what a layer of it comes to, a CD, a disk image.
#![no_main]

use std::io::{Read, Write, copy, sink};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ramboot::build::disk::{self, Options};
use ramboot::build::iso;
use ramboot::build::merge::Merge;
use ramboot::build::outline::Outline;
use ramboot::build::tar_read::Reader;

/// A size is believed: what a flipped bit adds is a hole.
const MOST_CONTENT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let mut merge = Merge::new(true);
    let mut taken = true;
    while let (true, Ok(Some(item))) = (taken, reader.next_item()) {
        let _ = copy(&mut reader.content().take(MOST_CONTENT), &mut sink());
        taken = merge.add(item).is_ok();
    }
    if taken && merge.end_layer().is_ok() {
        let _ = merge.plan();
    }
    let _ = iso::squashfs(&|at, into| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let there = bytes.get(at..).and_then(|rest| rest.get(..into.len()));
        there.map(|there| into.copy_from_slice(there)).is_some()
    });
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    let _ = disk::read(
        file,
        Path::new("image"),
        Options::default(),
        &mut Outline::default(),
        &mut |_| (),
    );
});
