//! Serves the image as one file to the kernel while it comes. A read is answered when all of its chunks are there and never
//! before; there is no error it could get. What a read waits for is fetched first.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ramboot_fetch::engine::Fetch;
use ramboot_wire::CHUNK_BYTES;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::fuse::{self, Ask, MAX_READ, MAX_REQUEST, OUT_HEADER, Request};
use super::reads::Reads;
use crate::clock::{self, Watch};
use crate::console;
use crate::root::ram::device_len;

/// The served file and who waits for parts of it.
#[derive(Debug)]
pub struct Server {
    fuse: File,
    image: File,
    size: u64,
    fetch: &'static Fetch<'static>,
    recorded: Mutex<Reads>,
    watch: Watch,
    parked: Mutex<Parked>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Parked {
    reads: Vec<Waiting>,
    /// Chunks that were asked for before they were there.
    demanded: u64,
    /// All reads.
    reads_so_far: u64,
}

/// A read whose chunks are not all there.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    unique: u64,
    offset: u64,
    size: u32,
    since: Instant,
}

impl Server {
    /// Mounts the file on `path`. Nobody can use it before [`listen`](Self::listen) runs.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn mount(
        path: &Path,
        image: File,
        size: u64,
        fetch: &'static Fetch<'static>,
        watch: Watch,
    ) -> anyhow::Result<Self> {
        let mut options = File::options();
        let fuse = options
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .context("opening /dev/fuse")?;
        File::create(path).with_context(|| format!("making {}", path.display()))?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&fuse);
        let data = format!("fd={fd},rootmode=100000,user_id=0,group_id=0");
        let data = std::ffi::CString::new(data)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("ramboot", path, "fuse", flags, &*data).context("mounting a FUSE file")?;
        Ok(Self {
            fuse,
            image,
            size,
            fetch,
            recorded: Mutex::default(),
            watch,
            parked: Mutex::default(),
            news: Condvar::new(),
        })
    }

    /// Takes the kernel's requests until it has no more: until the file is unmounted and nobody has it open.
    pub fn listen(&self) {
        let mut buffer = vec![0; MAX_REQUEST];
        loop {
            match (&self.fuse).read(&mut buffer) {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if let Some(request) = Request::parse(bytes) {
                        self.take(request);
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    // The request was taken back; a signal came.
                    Some(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                    Some(Errno::NODEV) => return,
                    _ => {
                        console::log(&format!("ramboot: reading /dev/fuse: {error}"));
                        clock::sleep(TICK);
                    }
                },
            }
        }
    }

    fn take(&self, Request { unique, ask }: Request) {
        let body = match ask {
            Ask::Read { offset, size } => return self.read(unique, offset, size.min(MAX_READ)),
            Ask::Note => return,
            Ask::Other => return self.send(&fuse::cannot(unique)),
            Ask::Init { minor, flags } => fuse::init(minor, flags),
            Ask::Attributes => fuse::attributes(device_len(self.size)),
            Ask::Open => fuse::opened(),
            Ask::Statfs => fuse::statfs(),
            Ask::Agree => Vec::new(),
        };
        self.send(&fuse::answer(unique, &body));
    }

    fn read(&self, unique: u64, offset: u64, size: u32) {
        let chunks = chunks_of(offset, size, self.size);
        let at = u32::try_from(self.watch.ms()).unwrap_or(u32::MAX);
        self.recorded().read(chunks.clone(), at);
        self.parked().reads_so_far += 1;
        if self.fetch.is_here(chunks.clone()) {
            return self.answer(unique, offset, size);
        }
        let since = clock::now();
        let read = Waiting {
            unique,
            offset,
            size,
            since,
        };
        let mut parked = self.parked();
        parked.reads.push(read);
        parked.demanded += self.fetch.demand(chunks);
        self.news.notify_all();
    }

    /// Answers reads as what they wait for comes; for ever.
    pub fn answer_parked(&self) {
        loop {
            let seen = self.fetch.count_done();
            for read in self.take_ready() {
                self.answer(read.unique, read.offset, read.size);
            }
            let parked = self.parked();
            if parked.reads.is_empty() {
                // Nothing to wait for: until somebody is parked.
                drop(
                    self.news
                        .wait(parked)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            } else {
                drop(parked);
                self.fetch.await_arrival(seen, TICK);
            }
        }
    }

    fn take_ready(&self) -> Vec<Waiting> {
        let mut parked = self.parked();
        let is_ready = |read: &mut Waiting| {
            let chunks = chunks_of(read.offset, read.size, self.size);
            self.fetch.is_here(chunks)
        };
        parked.reads.extract_if(.., is_ready).collect()
    }

    /// All of it is there.
    fn answer(&self, unique: u64, offset: u64, size: u32) {
        let left = device_len(self.size).saturating_sub(offset);
        let len = usize::try_from(left.min(size.into())).unwrap_or(0);
        let mut bytes = fuse::room(unique, len);
        let mut filled = OUT_HEADER;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset + (filled - OUT_HEADER) as u64;
            match rustix::io::pread(self.image.as_fd(), rest, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                // RAM has no errors; but if it had, whoever reads would wait and not be lied to.
                Err(error) => {
                    console::log(&format!("ramboot: reading the image at {at}: {error}"));
                    clock::sleep(TICK);
                }
            }
        }
        self.send(&bytes);
    }

    fn send(&self, bytes: &[u8]) {
        match (&self.fuse)
            .write(bytes)
            .map_err(|error| Errno::from_io_error(&error))
        {
            // Nobody waits for it any more.
            Ok(_) | Err(Some(Errno::NOENT | Errno::NODEV)) => {}
            Err(error) => console::log(&format!("ramboot: answering the kernel: {error:?}")),
        }
    }

    /// How long a program has been waiting.
    pub fn blocked(&self, now: Instant) -> Option<Duration> {
        let parked = self.parked();
        let since = parked.reads.iter().map(|read| read.since).min()?;
        Some(now.saturating_duration_since(since))
    }

    /// Chunks that were asked for before they were there.
    pub fn demanded(&self) -> u64 {
        self.parked().demanded
    }

    /// Reads that the kernel asked for.
    pub fn reads(&self) -> u64 {
        self.parked().reads_so_far
    }

    /// What was read.
    pub fn recorded(&self) -> MutexGuard<'_, Reads> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chunks that a read needs. The file is longer than the image, by zeros, up to a page.
fn chunks_of(offset: u64, size: u32, image: u64) -> Range<u64> {
    let end = offset.saturating_add(size.into()).min(image);
    if offset >= end {
        return 0..0;
    }
    offset / CHUNK_BYTES..end.div_ceil(CHUNK_BYTES)
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_chunks_a_read_needs() {
        let image = 2 * CHUNK_BYTES + 100;
        for (offset, size, want) in [
            (0, 1, 0..1),
            (0, 262_144, 0..1),
            (0, 262_145, 0..2),
            (262_143, 2, 0..2),
            (2 * CHUNK_BYTES, 4096, 2..3),
            (2 * CHUNK_BYTES + 100, 4096, 0..0),
            (u64::MAX, u32::MAX, 0..0),
        ] {
            assert_eq!(chunks_of(offset, size, image), want, "{offset} {size}");
        }
    }
}
