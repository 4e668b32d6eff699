//! `publish` and `eeprom` on such disks: they say what cannot be read, and a signal does not end them.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ramboot::formats::squashfs::Superblock;

use crate::fuse::BadFile;
use crate::small_image::{VERSION, bzimage, debian_like, squashfs};
use crate::{MB, inside};

/// Bytes that no compressor makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// An image whose kernel takes nearly all of it.
fn image() -> Vec<u8> {
    let mut files = debian_like();
    let kernel = [bzimage(), noise(4 * MB)].concat();
    files[0].1 = kernel;
    squashfs(&files)
}

fn ramboot(arguments: &[&str], paths: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramboot"));
    command.args(arguments).args(paths);
    command
}

/// What it says when it fails; a signal is no way to fail.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_image_that_cannot_be_read_is_said_to_be_that() {
    let test = || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new.sqfs");
        fs::write(&path, "").expect("written");
        let content = image();
        let tables = Superblock::parse(&content, content.len() as u64);
        let tables = tables.expect("an image").bytes_used / MB as u64 * MB as u64;
        let bad = BadFile::over(&path, &content);
        let looks = || {
            let mut looks = ramboot(&["publish", "--dry-run"], &[&path]);
            looks.output().expect("runs")
        };
        assert!(looks().status.success(), "{:?}", looks());
        let mb = MB as u64;
        for bytes in [mb..2 * mb, tables..u64::MAX] {
            bad.fails_at(bytes.clone());
            let said = refusal(&looks());
            let want = format!("reading {}: Input/output error", path.display());
            assert!(said.contains(&want), "{bytes:?}: {said}");
            bad.is_sound_again();
        }
        assert!(looks().status.success(), "{:?}", looks());
    };
    inside(
        "publish::an_image_that_cannot_be_read_is_said_to_be_that",
        test,
    );
}

/// `publish` of an image with a kernel of its own, which nobody can read yet.
struct Publishing {
    folder: tempfile::TempDir,
    kernel: BadFile,
    process: Child,
}

impl Publishing {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut files = debian_like();
        for (name, content) in &files {
            let path = path(name.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        // Read after the kernel, and packed far from all that is read before.
        let list = "/etc/ramboot/tmpfs.d/large".to_owned();
        files.push((list, noise(MB)));
        let image = path("new.sqfs");
        fs::write(&image, squashfs(&files)).expect("written");
        let kernel = path(&format!("boot/vmlinuz-{VERSION}"));
        let held = BadFile::over(&kernel, &bzimage());
        held.holds();
        let modules = path(&format!("usr/lib/modules/{VERSION}"));
        let process = ramboot(
            &["publish", "--name=worker", "--state"],
            &[&path("state"), &image],
        )
        .arg("--kernel")
        .arg(&kernel)
        .arg("--modules")
        .arg(&modules)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
        held.is_asked();
        Self {
            folder,
            kernel: held,
            process,
        }
    }

    /// The image's copy in the store.
    fn copy(&self) -> PathBuf {
        let tmp = fs::read_dir(self.folder.path().join("state/tmp")).expect("a store");
        let mut copies = tmp.map(|entry| entry.expect("an entry").path().join("image/image.sqfs"));
        copies.find(|path| path.exists()).expect("a copy")
    }

    fn ends(self) -> Output {
        self.kernel.goes_on();
        self.process.wait_with_output().expect("ends")
    }
}

#[test]
fn a_copy_in_the_store_that_is_shortened_ends_publish_with_a_sentence() {
    let test = || {
        let sound = Publishing::start().ends();
        assert!(sound.status.success(), "{sound:?}");

        let publishing = Publishing::start();
        let copy = publishing.copy();
        // Written for nobody, but root may.
        let file = OpenOptions::new().write(true).open(&copy).expect("opened");
        file.set_len(200).expect("shortened");
        let names = publishing.folder.path().join("state/names/worker");
        let said = refusal(&publishing.ends());
        let want = format!("reading {}: it ends at byte ", copy.display());
        assert!(said.contains(&want), "{said}");
        assert!(!names.exists(), "nothing is published");
    };
    let name = "publish::a_copy_in_the_store_that_is_shortened_ends_publish_with_a_sentence";
    inside(name, test);
}

#[test]
fn an_offer_of_a_bootloader_that_cannot_be_read_is_said_to_be_that() {
    let test = || {
        const BYTES: usize = 512 * 1024;
        let state = tempfile::tempdir().expect("a folder");
        let folder = state.path().join("eeprom/0b154510");
        fs::create_dir_all(&folder).expect("made");
        let sig = format!("{}\nts: 1700000000\n", "0".repeat(64));
        fs::write(folder.join("pieeprom.sig"), sig).expect("written");
        let path = folder.join("pieeprom.upd");
        fs::write(&path, "").expect("written");
        let bad = BadFile::over(&path, &noise(BYTES));
        bad.fails();
        let mut offers = ramboot(&["eeprom", "offers", "--state"], &[state.path()]);
        let output = offers.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        let want = format!("damaged: reading {}: Input/output error", path.display());
        assert!(said.contains(&want), "{said}");
    };
    let name = "publish::an_offer_of_a_bootloader_that_cannot_be_read_is_said_to_be_that";
    inside(name, test);
}
