//! A file on a disk that fails, or keeps who reads it waiting, when it is told to: FUSE, mounted over a file, in this process's mount namespace.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use ramboot_init::agent::stream::fuse::{self, Ask, MAX_REQUEST, OUT_HEADER, Request};

pub(crate) struct BadFile {
    path: PathBuf,
    disk: Arc<Disk>,
}

/// What the file lies on.
#[derive(Default)]
struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// No byte of these can be read.
    bad: Range<u64>,
    /// Nobody gets an answer.
    holds: bool,
    /// Reads that were asked for since then.
    asked: usize,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("whole")
    }

    /// Waits while it holds; false if these bytes cannot be read.
    fn reads(&self, bytes: &Range<u64>) -> bool {
        let mut state = self.state();
        state.asked += 1;
        self.changed.notify_all();
        let held = self.changed.wait_while(state, |state| state.holds);
        let bad = &held.expect("whole").bad;
        bytes.end <= bad.start || bytes.start >= bad.end
    }
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
        let disk = Arc::<Disk>::default();
        let (told, content) = (Arc::clone(&disk), content.to_vec());
        thread::spawn(move || serve(device, &content, &told));
        Self {
            path: path.to_owned(),
            disk,
        }
    }

    /// From now on no byte can be read, nor does the kernel have any left.
    pub(crate) fn fails(&self) {
        self.fails_at(0..u64::MAX);
    }

    /// Likewise, but only of these bytes. The kernel reads by pages, and pages by the hundred.
    pub(crate) fn fails_at(&self, bytes: Range<u64>) {
        self.disk.state().bad = bytes;
        self.forget();
    }

    pub(crate) fn is_sound_again(&self) {
        self.disk.state().bad = 0..0;
    }

    /// From now on who reads waits.
    pub(crate) fn holds(&self) {
        *self.disk.state() = State {
            holds: true,
            ..State::default()
        };
        self.forget();
    }

    /// Waits until somebody waits for it.
    pub(crate) fn is_asked(&self) {
        let state = self.disk.state();
        let asked = self
            .disk
            .changed
            .wait_while(state, |state| state.asked == 0);
        drop(asked.expect("whole"));
    }

    /// Who waited goes on.
    pub(crate) fn goes_on(&self) {
        self.disk.state().holds = false;
        self.disk.changed.notify_all();
    }

    /// What the kernel has read it forgets when somebody opens the file: it was not told that it may keep it.
    fn forget(&self) {
        drop(File::open(&self.path).expect("opened"));
    }
}

fn serve(mut device: File, content: &[u8], disk: &Disk) {
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
            Ask::Read { offset, size } if disk.reads(&(offset..offset + u64::from(size))) => {
                let from =
                    usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
                let to = content.len().min(from + size as usize);
                fuse::answer(unique, &content[from..to])
            }
            Ask::Read { .. } => {
                let mut head = fuse::answer(unique, &[]);
                head[4..8].copy_from_slice(&(-EIO).to_ne_bytes());
                assert_eq!(head.len(), OUT_HEADER);
                head
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
