//! A file on a disk that fails when it is told to: FUSE, mounted over a file, in this process's mount namespace.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ramboot_init::agent::stream::fuse::{self, Ask, MAX_REQUEST, OUT_HEADER, Request};

pub(crate) struct BadFile {
    path: PathBuf,
    fails: Arc<AtomicBool>,
}

impl BadFile {
    /// Stands in the place of the file at `path`, and has this content.
    pub(crate) fn over(path: &Path, content: &[u8]) -> Self {
        let device = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse");
        let device = device.expect("/dev/fuse");
        // mount(8) is to have it, under its number.
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).expect("inherited");
        let options = format!(
            "fd={},rootmode=100400,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let mut mount = Command::new("mount");
        mount
            .args(["-i", "-t", "fuse", "-o", &options, "bad-disk"])
            .arg(path);
        assert!(mount.status().expect("mount(8)").success(), "mounted");
        let fails = Arc::new(AtomicBool::new(false));
        let (told, content) = (Arc::clone(&fails), content.to_vec());
        thread::spawn(move || serve(device, &content, &told));
        Self {
            path: path.to_owned(),
            fails,
        }
    }

    /// From now on no byte can be read, nor does the kernel have any left.
    pub(crate) fn fails(&self) {
        self.fails.store(true, Ordering::SeqCst);
        // What the kernel has read it forgets when somebody opens the file: it was not told that it may keep it.
        drop(File::open(&self.path).expect("opened"));
    }

    pub(crate) fn is_sound_again(&self) {
        self.fails.store(false, Ordering::SeqCst);
    }
}

fn serve(mut device: File, content: &[u8], fails: &AtomicBool) {
    const EIO: i32 = 5;
    let mut request = vec![0; MAX_REQUEST];
    while let Ok(len) = device.read(&mut request) {
        let Some(Request { unique, ask }) = Request::parse(&request[..len]) else {
            continue;
        };
        let answer = match ask {
            Ask::Init { minor, flags } => fuse::answer(unique, &fuse::init(minor, flags)),
            Ask::Attributes => fuse::answer(unique, &fuse::attributes(content.len() as u64)),
            // struct fuse_open_out without a flag.
            Ask::Open => fuse::answer(unique, &[0; 16]),
            Ask::Read { .. } if fails.load(Ordering::SeqCst) => {
                let mut head = fuse::answer(unique, &[]);
                head[4..8].copy_from_slice(&(-EIO).to_ne_bytes());
                assert_eq!(head.len(), OUT_HEADER);
                head
            }
            Ask::Read { offset, size } => {
                let from =
                    usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
                let to = content.len().min(from + size as usize);
                fuse::answer(unique, &content[from..to])
            }
            Ask::Statfs => fuse::answer(unique, &fuse::statfs()),
            Ask::Agree => fuse::answer(unique, &[]),
            Ask::Note => continue,
            Ask::Other => fuse::cannot(unique),
        };
        // Nobody waits for it any more, perhaps.
        let _ = device.write(&answer);
    }
}
