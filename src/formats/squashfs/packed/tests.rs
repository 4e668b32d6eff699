use std::io::Write as _;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Three windows and a bit, no two alike.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut content = vec![0; 3 * WINDOW_BYTES + 77];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
});

/// A file with that content.
fn file() -> (tempfile::NamedTempFile, Packed) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&CONTENT).expect("written");
    let packed = Packed::file(file.reopen().expect("opened"), file.path()).expect("a length");
    (file, packed)
}

fn all(image: &Packed) -> [Piece; 4] {
    let half = image.len() / 2;
    [
        Piece::Memory(Bytes::from_static(b"first")),
        Piece::Image(1..half),
        Piece::Memory(Bytes::new()),
        Piece::Image(half..image.len()),
    ]
}

proptest! {
    /// However it is read, in memory and in a file, pieces are one file.
    #[test]
    fn pieces_read_as_one_file(
        steps in prop::collection::vec((0..CONTENT.len() as u64 + 9, 0..2 * WINDOW_BYTES), 1..9),
    ) {
        let (_file, in_file) = file();
        let joined = [b"first", &CONTENT[1..]].concat();
        for image in [in_file, CONTENT.clone().into()] {
            let mut reader = Reader::of(&image, all(&image).into());
            for (at, len) in &steps {
                let start = index(*at).min(joined.len());
                let want = &joined[start..joined.len().min(start + len)];
                prop_assert_eq!(reader.seek(SeekFrom::Start(*at)).expect("inside"), *at);
                let mut read = Vec::new();
                reader.by_ref().take(*len as u64).read_to_end(&mut read).expect("read");
                prop_assert!(read == want, "{} bytes at {}", len, at);
            }
            prop_assert!(image.readable().is_ok());
        }
    }
}

#[test]
fn offsets_are_those_of_a_file() {
    let (_file, image) = file();
    let mut reader = Reader::of(&image, all(&image).into());
    let len = CONTENT.len() as u64 + 4;
    assert_eq!(reader.seek(SeekFrom::End(-5)).expect("inside"), len - 5);
    assert_eq!(reader.word(len - 2), CONTENT.last_chunk::<2>().copied());
    assert_eq!(reader.word::<2>(len - 1), None, "cut");
    reader.seek(SeekFrom::Start(len + 9)).expect("beyond");
    assert_eq!(reader.fill_buf().expect("read"), b"");
    let before = reader.seek(SeekFrom::Current(-(len.cast_signed() + 10)));
    before.expect_err("before the first byte");
    let copied = image.copy(5..len - 4).expect("inside");
    assert!(copied == CONTENT[5..]);
    for outside in [0..len, len..len, Range { start: 6, end: 5 }] {
        assert_eq!(image.copy(outside), None);
    }
    assert!(image.readable().is_ok(), "nothing of that is the disk's");
}

/// What the system says first stays, with the file's name; what can be read is read.
#[test]
fn a_file_that_was_shortened_is_an_error() {
    let (file, image) = file();
    let mut reader = image.reader(image.len());
    let end = WINDOW_BYTES + 9;
    file.as_file().set_len(end as u64).expect("shortened");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).expect_err("it ends too soon");
    assert!(read == CONTENT[..end]);
    assert_eq!(image.copy(0..9).as_deref(), Some(&CONTENT[..9]));
    assert_eq!(image.copy(end as u64 - 1..end as u64 + 1), None);
    let want = format!(
        "reading {}: it ends at byte 262 153, and had 786 509 bytes when it was opened",
        file.path().display()
    );
    assert_eq!(image.readable(), Err(BadImage::Unreadable(want)));
}

/// Both ways to read: less than a window, and more.
#[test]
fn what_the_disk_says_is_said() {
    for len in [2, 2 * WINDOW_BYTES] {
        // Reading a folder fails.
        let folder = tempfile::tempdir().expect("a folder");
        let opened = File::open(folder.path()).expect("opened");
        let image = Packed(Arc::new(Inner {
            content: Content::File {
                file: opened,
                path: "image.sqfs".into(),
                len: CONTENT.len() as u64,
            },
            failure: OnceLock::new(),
        }));
        let read = image.reader(image.len()).read(&mut vec![0; len]);
        let want = "reading image.sqfs: Is a directory (os error 21)";
        assert_eq!(read.expect_err("a folder").to_string(), want);
        assert_eq!(image.readable(), Err(BadImage::Unreadable(want.to_owned())));
    }
}
