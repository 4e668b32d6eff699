//! A machine's own files, fetched from servers that fail, stall and lie: they are these or none.
#![expect(clippy::disallowed_methods, reason = "a shell's test: waits for it")]

#[expect(
    dead_code,
    reason = "the server of the fetch's own tests, which use all of it"
)]
#[path = "../../crates/fetch/tests/common/mod.rs"]
mod common;

use std::sync::{Arc, Mutex};

use common::{FAULTS, Fault, Image, PACE, serve};
use ramboot_fetch::event::Event;
use ramboot_fetch::sources::Sources;
use ramboot_init::root::worker_files::archive::Node;
use ramboot_init::root::worker_files::fetch_files;
use ramboot_wire::{Base, Files, FilesId, ImageId};

fn sources(bases: &[Base]) -> Sources {
    Sources::new(bases, PACE.retry, PACE.retry_cap)
}

/// A cpio archive with one file, `a`, that holds `hi`.
fn archive() -> Vec<u8> {
    let head = |mode: u32, size: u32, name: usize| {
        format!(
            "0707010000000{}{mode:08x}{:024x}{:08x}{size:08x}{:032x}{name:08x}{:08x}",
            1, 1, 0, 0, 0
        )
    };
    let (file, end) = (head(0o100_644, 2, 2), head(0, 0, 11));
    format!("{file}a\0hi\0\0{end}TRAILER!!!\0\0\0\0").into_bytes()
}

/// What is whole and right is taken, from whoever has it, and nothing else; a manager that cannot make the files any
/// more answers 410.
#[test]
fn worker_files_are_these_or_none() {
    let bytes = archive();
    let files = Files {
        id: FilesId::of(&bytes),
        size: bytes.len() as u64,
        worker: "w~127.0.0.1:8067~52-54-00-12-34-56~~x86_64~"
            .parse()
            .expect("a worker"),
    };
    let archive = Arc::new(Image {
        bytes,
        list: Vec::new(),
        id: ImageId([0; 32]),
    });
    let faults = FAULTS.iter().filter(|fault| {
        // These two are right for a file that is asked for whole.
        !matches!(fault, Fault::WrongRange | Fault::IgnoreRange)
    });
    let mut faults: Vec<Fault> = faults.copied().collect();
    faults.push(Fault::Status(410));
    for fault in faults {
        let (base, left) = serve(&archive, &[fault; 2]);
        let mut sources = sources(std::slice::from_ref(&base));
        let told = Mutex::new(Vec::new());
        let tell = |event| told.lock().expect("lock").push(event);
        let entries = fetch_files(&files, &mut sources, PACE, &tell).expect("some time");
        assert!(left.lock().expect("lock").is_empty(), "{fault:?} was met");
        let content = Node::File(b"hi".to_vec());
        assert!(
            entries.len() == 1 && entries[0].node == content,
            "{entries:?}"
        );
        let bad = told
            .lock()
            .expect("lock")
            .iter()
            .filter_map(|event| match event {
                Event::Bad(bad) => Some(bad.to_string()),
                _ => None,
            })
            .collect::<Vec<_>>();
        let is_flip = fault == Fault::Flip;
        assert_eq!(bad.len(), if is_flip { 2 } else { 0 }, "{fault:?}");
        let begin = format!("{base}: worker files with digest ");
        assert!(bad.iter().all(|bad| bad.starts_with(&begin)), "{bad:?}");
    }
}
