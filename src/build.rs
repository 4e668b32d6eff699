//! `ramboot build`: any root file system becomes a squashfs that workers can boot.
//!
//! Whatever the source is, it becomes one series of [`entry::Entry`], and that one tar stream.

pub mod disk;
pub mod entry;
pub mod merge;
pub mod names;
pub mod rules;
pub mod tar_read;
pub mod tar_write;
