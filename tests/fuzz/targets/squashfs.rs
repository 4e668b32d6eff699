//! A file somebody wants to publish.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ramboot::formats::squashfs::Superblock;
use ramboot::formats::squashfs::tree::Tree;

fuzz_target!(|bytes: &[u8]| {
    let _ = Superblock::parse(bytes, bytes.len() as u64);
    let _ = Tree::open(bytes.to_vec().into());
});
