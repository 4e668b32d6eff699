//! System calls without a safe wrapper: the loop driver's ioctls. The only file of `/init` with `unsafe`.
//!
//! Layouts and numbers are those of `linux/loop.h`; they are part of the kernel's promise to user space.
#![expect(
    unsafe_code,
    reason = "ioctls are not typed; each block says why it holds"
)]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl};

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
pub fn configure_loop(device: &File, backing: &File) -> Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).unwrap_or(u32::MAX),
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        ..LoopConfig::ZERO
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config` through the pointer and keeps none of it; `LoopConfig`
    // has that layout (asserted below), is initialised and lives for the length of the call. The kernel takes its own
    // reference to the file behind `fd`, so `backing` may be closed afterwards.
    // JUSTIFICATION: rustix has no wrapper, and mount(8)'s loop option is a program we do not have.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }
}

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
        std::ptr::null_mut()
    }

    // SAFETY (of the caller's side): `out` is what a successful ioctl returned, which is all that is looked at.
    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| rustix::io::Errno::RANGE)
    }
}
