//! System calls without a safe wrapper: a file's memory, and the loop driver's ioctls. The only file of `/init` with
//! `unsafe`.
//!
//! Layouts and numbers are those of `linux/loop.h`; they are part of the kernel's promise to user space.
#![expect(
    unsafe_code,
    reason = "ioctls are not typed and memory is shared; each block says why it holds"
)]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{NonNull, null_mut};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A new file without a name, and its bytes as memory: what is written there is in the file, without another copy.
#[derive(Debug)]
pub struct Mapped {
    file: File,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, not to the thread that mapped it, and `Mapped` is its only owner: whoever has it
// reads and writes as with a `Vec`.
// JUSTIFICATION: the room is taken on a thread beside the first stages and filled by others; `NonNull` alone forbids it.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Makes the file in `folder` and takes the memory for `len` bytes, which are not zero; the file ends on a page,
    /// for a loop device cuts off what does not fill a sector.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn new(folder: &Path, len: usize, room: Room) -> std::io::Result<Self> {
        let path = folder.join("image");
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        let whole = len.next_multiple_of(PAGE) as u64;
        // First the length: `huge=within_size` goes by what the file has when a page is taken (mm/shmem.c,
        // shmem_is_huge), and fallocate(2) makes it longer only at its end.
        file.set_len(whole)?;
        if room == Room::Now {
            fallocate(&file, FallocateFlags::empty(), 0, whole)?;
        }
        Self::of(file, len)
    }

    /// The first `len` bytes, which are not zero, of a file that [`Mapped::new`] made, maybe in another process.
    ///
    /// # Errors
    /// Those of the kernel; the file is shorter.
    pub fn of(file: File, len: usize) -> std::io::Result<Self> {
        if file.metadata()?.len() < len as u64 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses where, so no memory of ours is replaced. The file was made by `new`, lost its only name
        // before anything was in it, and is known to `/init` and the process that streams alone: nobody makes it shorter,
        // and it has at least `len` bytes. `/init` has unmapped it before that process maps it, so one writes at a time.
        // JUSTIFICATION: bytes are received straight into the file; through write(2) each would be copied once more.
        let start = unsafe { mmap(null_mut(), len, protection, flags, &file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { file, start, len })
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is `len` mapped bytes until `self` is dropped, page-aligned, initialised (the kernel fills new
        // pages with zeros), and changed by nobody but through `bytes_mut`, which needs `self` alone.
        // JUSTIFICATION: a slice is what safe code can work with.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All of it, to be written.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes it the only way to these bytes.
        // JUSTIFICATION: a slice is what safe code can divide among threads.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The file, no longer mapped.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn into_file(self) -> std::io::Result<File> {
        self.file.try_clone()
    }
}

/// When a new file gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// At once: what fits is known before the first byte.
    Now,
    /// As bytes come.
    AsTheyCome,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, unmapped once; no slice of it outlives `self`.
        // JUSTIFICATION: there is no safe munmap.
        let gone = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        // Only a length of zero or an odd address is refused.
        gone.ok();
    }
}

/// The number of a loop device nobody uses (`/dev/loopN`); the kernel makes one if there is none.
///
/// # Errors
/// Those of the kernel.
pub fn free_loop(control: &File) -> Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours (`drivers/block/loop.c`,
    // loop_control_ioctl); `control` is an open file for the length of the call. On another file the kernel knows no
    // such ioctl and says ENOTTY.
    // JUSTIFICATION: rustix has no wrapper for it, and guessing a number would race and miss devices above 7.
    unsafe { ioctl(control, GetFree) }
}

/// Puts `backing` under the loop device, read-only, to be freed when its last user is gone.
///
/// # Errors
/// Those of the kernel; `EBUSY` if somebody else took the device meanwhile.
pub fn configure_loop(device: &File, backing: &File, reads: LoopReads) -> Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).unwrap_or(u32::MAX),
        flags: LO_FLAGS_READ_ONLY
            | LO_FLAGS_AUTOCLEAR
            | match reads {
                LoopReads::Cached => 0,
                LoopReads::Direct => LO_FLAGS_DIRECT_IO,
            },
        ..LoopConfig::ZERO
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config` through the pointer and keeps none of it; `LoopConfig`
    // has that layout (asserted below), is initialised and lives for the length of the call. The kernel takes its own
    // reference to the file behind `fd`, so `backing` may be closed afterwards.
    // JUSTIFICATION: rustix has no wrapper, and mount(8)'s loop option is a program we do not have.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }
}

/// How a loop device reads its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopReads {
    /// Through the page cache, one after the other.
    Cached,
    /// Past it, many at a time (`LO_FLAGS_DIRECT_IO`): one that waits holds up no other.
    Direct,
}

/// Exchanges the file under a read-only loop device for another of the same length, under whoever reads it.
///
/// # Errors
/// Those of the kernel: `EINVAL` if the length is another.
pub fn change_loop(device: &File, backing: &File) -> Result<()> {
    let fd = usize::try_from(backing.as_raw_fd()).unwrap_or(usize::MAX);
    // SAFETY: LOOP_CHANGE_FD takes the number of an open file as its argument and no pointer (`drivers/block/loop.c`,
    // loop_change_fd); the kernel takes its own reference to it.
    // JUSTIFICATION: rustix has no wrapper for it.
    unsafe { ioctl(device, IntegerSetter::<LOOP_CHANGE_FD>::new_usize(fd)) }?;
    // SAFETY: LOOP_SET_DIRECT_IO takes 0 or 1 as its argument and no pointer (lo_simple_ioctl).
    // JUSTIFICATION: as above. The device keeps the wish for direct reads from the file before; a kernel that refuses it has none.
    unsafe { ioctl(device, IntegerSetter::<LOOP_SET_DIRECT_IO>::new_usize(0)) }.ok();
    Ok(())
}

/// The largest sector of a block device that kernels before 6.11 know, and the smallest page.
const PAGE: usize = 4096;

/// `struct loop_config` with `struct loop_info64` inside.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device_inode_rdevice_offset_sizelimit: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

impl LoopConfig {
    const ZERO: Self = Self {
        fd: 0,
        block_size: 0,
        device_inode_rdevice_offset_sizelimit: [0; 5],
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
}

const _: () = assert!(size_of::<LoopConfig>() == 304);
const _: () = assert!(std::mem::offset_of!(LoopConfig, flags) == 60);

const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const LOOP_CHANGE_FD: Opcode = 0x4C06;
const LOOP_SET_DIRECT_IO: Opcode = 0x4C08;

struct GetFree;

// SAFETY: the opcode belongs to an ioctl without argument, so a null pointer is passed and nothing is read or written
// through it (IS_MUTATING is false); the output is the return value alone.
// JUSTIFICATION: rustix's ready-made patterns drop the return value, which here is the answer.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        null_mut()
    }

    // SAFETY (of the caller's side): `out` is what a successful ioctl returned, which is all that is looked at.
    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}
