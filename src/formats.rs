//! Formats that others defined, read and written: squashfs, cpio, ELF, PE, compressed kernel modules. Pure.
//!
//! Nothing here knows of images, machines or the store.

pub mod cpio;
pub mod elf;
pub mod pe;
pub mod squashfs;
pub mod unpack;
