#![expect(clippy::cast_possible_truncation, reason = "small images")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use ramboot_wire::image::{CHUNK_BYTES, chaining_value};
use tempfile::TempDir;

use super::commit::Staging;
use super::*;

pub(super) fn state() -> TempDir {
    tempfile::tempdir().expect("temp folder")
}

pub(super) fn name() -> Name {
    "worker".parse().expect("a name")
}

fn image_file(state: &TempDir, id: ImageId) -> PathBuf {
    state.path().join("images").join(id.to_string()).join(IMAGE)
}

fn chunks_of(image: &[u8]) -> Vec<u8> {
    if image.len() as u64 <= CHUNK_BYTES {
        return Vec::new();
    }
    image
        .chunks(CHUNK_BYTES as usize)
        .zip(0..)
        .flat_map(|(chunk, i)| chaining_value(i, chunk))
        .collect()
}

/// Publishes `image` with an initramfs of these bytes.
pub(super) fn publish(root: &Path, image: &[u8], initrd: &[u8]) -> anyhow::Result<Generation> {
    use std::io::Write;

    let staging = Staging::begin(root)?;
    staging.create_image()?.write_all(image)?;
    let id = ImageId(*blake3::hash(image).as_bytes());
    let size = image.len() as u64;
    let mut generation = Generation {
        number: 0,
        image: id,
        size,
        kernel: staging.add_boot("vmlinuz", b"kernel")?,
        initrd: staging.add_boot("initrd", initrd)?,
        stub: None,
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::X86_64,
        published: 1_700_000_000,
        note: String::new(),
        pi: None,
        forced: Vec::new(),
    };
    let facts = ImageFacts {
        id,
        size,
        compressor: "zstd".to_owned(),
        block_size: 131_072,
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::X86_64,
        forced: Vec::new(),
    };
    generation.number = staging.commit(&facts, &chunks_of(image), &name(), &generation)?;
    Ok(generation)
}

#[test]
fn an_empty_store_has_no_names() {
    let state = state();
    for root in [state.path().join("missing"), state.path().to_owned()] {
        let store = Store::open(root).expect("opens");
        assert_eq!(store.names().expect("none"), []);
        assert_eq!(store.current(&name()).expect("none"), None);
        let image = store.image(ImageId([1; 32])).expect("none");
        assert!(image.is_none());
    }
    let file = state.path().join("file");
    fs::write(&file, "").expect("written");
    let error = Store::open(file).expect_err("refused").to_string();
    assert!(error.contains("is not a folder"), "{error}");
}

/// Whoever serves is given what was looked at a moment ago, and never waits for who looks.
#[test]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn an_image_is_at_hand_without_a_look_at_the_disk() {
    let (state, begin) = (state(), Instant::now());
    let store = Store::open(state.path()).expect("opens").serving();
    let id = publish(state.path(), &[9; 5], b"x")
        .expect("published")
        .image;
    assert!(store.fresh(id, begin).is_none(), "nobody has looked");
    let image = store.image(id).expect("sound").expect("there");
    let at_hand = store.fresh(id, begin).expect("it was looked at");
    assert!(Arc::ptr_eq(&image, &at_hand));
    assert!(
        store.fresh(id, begin + Duration::from_secs(3600)).is_none(),
        "long ago"
    );
    let looking = store.opened.lock().expect("whole");
    assert!(store.fresh(id, begin).is_none(), "somebody looks");
    drop(looking);

    // What is taken away is not looked for until somebody looks.
    fs::remove_dir_all(state.path().join("images")).expect("removed");
    assert!(store.fresh(id, begin).is_some());
    assert!(store.image(id).expect("no error").is_none());
    assert!(store.fresh(id, begin).is_none());
}

#[test]
fn what_is_published_is_found_at_once() {
    let state = state();
    let store = Store::open(state.path()).expect("opens");
    let image = vec![9; 3 * CHUNK_BYTES as usize + 5];
    let first = publish(state.path(), &image, b"initrd 1").expect("published");
    assert_eq!(first.number, 1);
    assert_eq!(store.names().expect("one"), [name()]);
    assert_eq!(store.current(&name()).expect("there"), Some(first.clone()));

    let opened = store.image(first.image).expect("sound").expect("there");
    assert_eq!(opened.sqfs.bytes(), image);
    assert_eq!(opened.chunks, chunks_of(&image));
    let kernel = opened.boot(&first.kernel.name).expect("sound");
    assert_eq!(kernel.expect("there").bytes(), "kernel");
    for nothing in ["", ".", "../image.json", "vmlinuz-0000000000000000"] {
        assert_eq!(opened.boot(nothing).expect("no error"), None, "{nothing}");
    }
    let mode = fs::metadata(image_file(&state, first.image)).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o444);
    assert_eq!(
        fs::read_dir(state.path().join("tmp"))
            .expect("there")
            .count(),
        0
    );
}

#[test]
fn an_image_is_verified_to_its_last_byte() {
    for len in [5, CHUNK_BYTES as usize, 3 * WINDOW_BYTES + 5] {
        let state = state();
        let image: Vec<u8> = (0..len).map(|i| (i / 1000) as u8).collect();
        let id = publish(state.path(), &image, b"initrd")
            .expect("published")
            .image;
        let path = image_file(&state, id);
        let verify = || {
            let store = Store::open(state.path()).expect("opens");
            let image = store.image(id).expect("sound").expect("there");
            let mut read = 0;
            image.verify(|bytes| read += bytes).map(|()| read)
        };
        assert_eq!(verify().expect("sound"), len as u64);
        for at in [0, len / 2, len - 1] {
            let mut flipped = image.clone();
            flipped[at] ^= 1;
            fs::remove_file(&path).expect("removed");
            fs::write(&path, &flipped).expect("written");
            let error = format!("{:#}", verify().expect_err("flipped"));
            assert!(
                error.contains("image.sqfs is damaged") && error.contains("does not match"),
                "{error}"
            );
        }
    }
}

#[test]
fn publishing_again_adds_and_never_modifies() {
    let state = state();
    let store = Store::open(state.path()).expect("opens");
    let first = publish(state.path(), b"image", b"initrd 1").expect("published");
    let opened = store.image(first.image).expect("sound").expect("there");
    let second = publish(state.path(), b"image", b"initrd 2").expect("published");
    let third = publish(state.path(), b"image", b"initrd 2").expect("published");
    assert_eq!((second.number, third.number), (2, 3));
    assert_eq!(store.current(&name()).expect("there"), Some(third));
    let again = store.image(first.image).expect("sound").expect("there");
    assert!(Arc::ptr_eq(&opened, &again), "the mapping is kept");
    for (generation, content) in [(first, "initrd 1"), (second, "initrd 2")] {
        let initrd = opened.boot(&generation.initrd.name).expect("sound");
        assert_eq!(initrd.expect("there").bytes(), content);
    }
}

/// A file that is as it was is not read again; one that somebody changed is, and what was put right is served again.
#[test]
fn a_boot_file_is_looked_at_each_time() {
    let state = state();
    let store = Store::open(state.path()).expect("opens");
    let first = publish(state.path(), b"image", b"initrd 1").expect("published");
    let image = store.image(first.image).expect("sound").expect("there");
    let name = &first.initrd.name;
    let sound = image.boot(name).expect("sound").expect("there");
    let path = image_file(&state, first.image).with_file_name("boot");
    let path = path.join(name);
    for (content, said) in [
        (&b"init"[..], "is damaged"),
        (b"initrd 2", "is damaged"),
        (b"", "is damaged"),
    ] {
        fs::remove_file(&path).expect("removed");
        fs::write(&path, content).expect("written");
        let error = image.boot(name).expect_err("not what was published");
        assert!(error.to_string().contains(said), "{error:#}");
    }
    fs::remove_file(&path).expect("removed");
    assert_eq!(image.boot(name).expect("no error"), None);
    fs::write(&path, "initrd 1").expect("written");
    let again = image.boot(name).expect("sound").expect("there");
    assert_eq!(
        (again.bytes(), sound.bytes()),
        ("initrd 1".into(), "initrd 1".into())
    );
    assert_eq!(image.boot(name).expect("sound"), Some(again));
}

#[test]
fn earlier_publications_are_found_by_how_long_ago_they_were() {
    let state = state();
    let store = Store::open(state.path()).expect("opens");
    assert_eq!(store.before(&name(), 0).expect("none"), None);
    for image in [&b"one"[..], b"two", b"three"] {
        publish(state.path(), image, b"initrd").expect("published");
    }
    fs::remove_file(state.path().join("names/worker/2.json")).expect("removed");
    let number = |back| {
        let generation = store.before(&name(), back).expect("sound");
        generation.map(|generation| generation.number)
    };
    assert_eq!(
        [0, 1, 2, usize::MAX].map(number),
        [Some(3), Some(1), None, None]
    );
}

#[test]
fn a_publication_for_raspberry_pis_is_read_back_and_its_names_are_plain() {
    let state = state();
    let generation = publish(state.path(), b"image", b"initrd").expect("published");
    let file = |name: &str| BootFile {
        name: name.to_owned(),
        size: 5,
    };
    let pi = PiBoot {
        files: file("pi-0123456789abcdef"),
        kernel: file("vmlinuz-0123456789abcdef"),
        initrd: file("initrd-0123456789abcdef"),
        upstream: true,
        config: vec!["gpu_mem=16".to_owned()],
        boards: vec!["4b".to_owned(), "of 2030".to_owned()],
    };
    let store = Store::open(state.path()).expect("opens");
    let path = state.path().join("names/worker/2.json");
    let made = Generation {
        number: 2,
        pi: Some(pi),
        ..generation
    };
    let text = serde_json::to_string(&made).expect("written");
    fs::write(&path, &text).expect("written");
    assert_eq!(store.current(&name()).expect("sound"), Some(made));
    fs::write(&path, text.replace("pi-0123", "../0123")).expect("written");
    let error = store.current(&name()).expect_err("refused").to_string();
    assert!(error.contains("is not the name of a boot file"), "{error}");
}

#[test]
fn an_image_that_was_removed_is_forgotten() {
    let state = state();
    let store = Store::open(state.path()).expect("opens");
    let id = publish(state.path(), b"image", b"initrd")
        .expect("published")
        .image;
    let opened = store.image(id).expect("sound").expect("there");
    fs::remove_dir_all(state.path().join("images").join(id.to_string())).expect("removed");
    assert!(store.image(id).expect("no error").is_none());
    assert_eq!(opened.sqfs.bytes(), "image", "who has it keeps it");
    publish(state.path(), b"image", b"initrd").expect("published");
    let anew = store.image(id).expect("sound").expect("there");
    assert!(!Arc::ptr_eq(&opened, &anew));
}

#[test]
fn publishers_do_not_get_the_same_number() {
    let state = state();
    std::thread::scope(|scope| {
        for i in 0..8_u8 {
            let root = state.path();
            scope.spawn(move || {
                for _ in 0..5 {
                    publish(root, &[i / 2; 10], b"initrd").expect("published");
                }
            });
        }
    });
    let names = state.path().join("names/worker");
    assert_eq!(newest(&names).expect("sound"), Some(40));
    assert_eq!(fs::read_dir(&names).expect("there").count(), 40);
    assert_eq!(
        fs::read_dir(state.path().join("tmp"))
            .expect("there")
            .count(),
        0
    );
}

#[test]
fn a_running_publisher_is_left_alone_and_a_dead_one_is_cleared() {
    let state = state();
    let running = Staging::begin(state.path()).expect("begun");
    let dead = state.path().join("tmp/dead");
    fs::create_dir_all(dead.join("image/boot")).expect("made");
    fs::write(dead.join("image/image.sqfs"), "half").expect("written");
    drop(Staging::begin(state.path()).expect("begun"));
    assert!(!dead.exists());
    assert_eq!(
        fs::read_dir(state.path().join("tmp"))
            .expect("there")
            .count(),
        1
    );
    running.create_image().expect("still there");
}

#[test]
fn lying_files_are_named() {
    let state = state();
    let generation = publish(state.path(), b"image", b"initrd").expect("published");
    let folder = state
        .path()
        .join("images")
        .join(generation.image.to_string());
    let replace = |path: &Path, content: &str| {
        fs::remove_file(path).expect("removed");
        fs::write(path, content).expect("written");
    };
    let error = || {
        let store = Store::open(state.path()).expect("opens");
        let image = store.image(generation.image);
        let error = match image {
            Err(e) => e,
            Ok(image) => image
                .expect("there")
                .boot(&generation.kernel.name)
                .expect_err("refused"),
        };
        format!("{error:#}")
    };
    let kernel = folder.join(BOOT).join(&generation.kernel.name);
    replace(&kernel, "kernex");
    assert!(
        error().contains("is damaged: its digest begins with"),
        "{}",
        error()
    );
    fs::remove_file(&kernel).expect("removed");
    symlink("/etc/passwd", &kernel).expect("linked");
    assert!(error().contains("is a symbolic link"), "{}", error());

    replace(&folder.join(CHUNKS), "xx");
    assert!(error().contains("chunk list of 2 bytes"), "{}", error());
    replace(&folder.join(IMAGE), "imag");
    assert!(
        error().contains("has 4 bytes, image.json says 5"),
        "{}",
        error()
    );
    let facts = fs::read_to_string(folder.join(FACTS)).expect("there");
    let other = facts.replace(&generation.image.to_string(), &ImageId([3; 32]).to_string());
    replace(&folder.join(FACTS), &other);
    assert!(error().contains("is of image 0303"), "{}", error());
    for (content, want) in [
        ("{", "image.json"),
        (&"x".repeat(70_000), "more than 65536 bytes"),
    ] {
        replace(&folder.join(FACTS), content);
        assert!(error().contains(want), "{}", error());
    }
    let again = publish(state.path(), b"image", b"initrd").expect_err("not repaired silently");
    assert!(format!("{again:#}").contains("image.json"), "{again:#}");
}

#[test]
fn lying_names_are_named() {
    let state = state();
    publish(state.path(), b"image", b"initrd").expect("published");
    let store = Store::open(state.path()).expect("opens");
    let names = state.path().join("names");
    let error = || format!("{:#}", store.current(&name()).expect_err("refused"));
    fs::write(names.join("worker/2.json"), "{\"image\": 3}").expect("written");
    assert!(error().contains("names/worker/2.json"), "{}", error());
}

#[test]
fn what_is_no_name_keeps_nobody_from_booting() {
    let state = state();
    let generation = publish(state.path(), b"image", b"initrd").expect("published");
    let names = state.path().join("names");
    for file in [
        "worker/02.json",
        "worker/2.json~",
        "worker/+2.json",
        "worker.bak",
    ] {
        fs::write(names.join(file), "").expect("written");
    }
    for folder in ["Worker", "empty"] {
        fs::create_dir(names.join(folder)).expect("made");
    }
    let store = Store::open(state.path()).expect("opens");
    assert_eq!(store.names().expect("read"), [name()]);
    assert_eq!(store.current(&name()).expect("read"), Some(generation));
}

#[test]
fn a_newer_field_is_passed_over() {
    let state = state();
    let generation = publish(state.path(), b"image", b"initrd").expect("published");
    let path = state.path().join("names/worker/1.json");
    let newer = fs::read_to_string(path)
        .expect("there")
        .replacen('{', "{\"signed\": true,", 1);
    fs::write(state.path().join("names/worker/2.json"), newer).expect("written");
    let store = Store::open(state.path()).expect("opens");
    let current = store.current(&name()).expect("read").expect("there");
    assert_eq!(
        current,
        Generation {
            number: 2,
            ..generation
        }
    );
}

#[test]
fn names_are_plain() {
    for good in ["a", "0", "debian-12.worker_3", &"a".repeat(63)] {
        assert_eq!(good.parse::<Name>().expect(good).to_string(), good);
    }
    for bad in [
        "",
        ".",
        "..",
        "-a",
        "_a",
        "A",
        "a/b",
        "a b",
        "é",
        "a\n",
        &"a".repeat(64),
    ] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
}
