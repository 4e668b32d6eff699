use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::build::entry::Meta;
use crate::build::tar_read::Reader;

fn kind() -> impl Strategy<Value = Kind> {
    let target = "[a-z/.]{1,200}".prop_map(PathBuf::from);
    prop_oneof![
        Just(Kind::Folder),
        (0_u64..3000).prop_map(|size| Kind::File { size }),
        target.clone().prop_map(|target| Kind::Symlink { target }),
        target.prop_map(|to| Kind::Hardlink { to }),
        (any::<bool>(), 0..=MAX_MAJOR, 0..=MAX_MINOR).prop_map(|(block, major, minor)| {
            Kind::Device {
                block,
                major,
                minor,
            }
        }),
        Just(Kind::Fifo),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let value = proptest::collection::vec(any::<u8>(), 0..300);
    let xattrs = proptest::collection::btree_map("user\\.[a-z%]{1,30}", value, 0..4);
    (
        0..0o10000_u32,
        any::<u32>(),
        any::<u32>(),
        0..=MAX_TIME,
        xattrs,
    )
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs: xattrs
                .into_iter()
                .map(|(key, value)| {
                    (
                        key.replace("%25", "").replace("%3D", "").into_bytes(),
                        value,
                    )
                })
                .collect::<BTreeMap<_, _>>(),
        })
}

proptest! {
    /// What is written is read again as it was, numbers, long names and binary attributes included.
    #[test]
    fn reading_gives_back_what_was_written(
        path in "[a-z]{1,90}(/[a-zä]{1,40}){0,4}", kind in kind(), meta in meta(), seed: u8,
    ) {
        let entry = Entry { path: PathBuf::from(path), kind, meta };
        let mut bytes = header(&entry).expect("can be packed");
        let content = match entry.kind {
            Kind::File { size } => vec![seed; usize::try_from(size).expect("small")],
            _ => Vec::new(),
        };
        bytes.extend(&content);
        bytes.extend(padding(content.len() as u64));
        bytes.extend(END);
        let mut reader = Reader::new(Cursor::new(bytes));
        let item = reader.next_item().expect("read").expect("one");
        let name = String::from_utf8(item.name).expect("text");
        prop_assert_eq!(Path::new(name.trim_end_matches('/')), &entry.path);
        prop_assert_eq!(item.kind, entry.kind);
        prop_assert_eq!(item.meta, entry.meta);
        let mut again = Vec::new();
        reader.content().read_to_end(&mut again).expect("read");
        prop_assert_eq!(again, content);
        prop_assert!(reader.next_item().expect("read").is_none() && reader.ended());
    }
}

#[test]
fn a_device_that_cannot_be_is_refused() {
    let entry = |major, minor| Entry {
        path: PathBuf::from("dev/x"),
        kind: Kind::Device {
            block: true,
            major,
            minor,
        },
        meta: Meta::default(),
    };
    header(&entry(MAX_MAJOR, MAX_MINOR)).expect("fits");
    let refused = header(&entry(MAX_MAJOR + 1, 0)).expect_err("too large");
    assert!(
        refused.to_string().contains("/dev/x is device 4096:0"),
        "{refused}"
    );
}

#[test]
fn only_what_a_squashfs_holds_is_written() {
    assert!(holds(b"security.capability") && holds(b"user.x") && holds(b"trusted.overlay"));
    assert!(!holds(b"system.posix_acl_access") && !holds(b"user.a=b") && !holds(b"user"));
}
