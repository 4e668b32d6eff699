//! What a ramboot manager and its workers must agree on: digests, the kernel command line, URL paths, the module
//! table inside the initramfs, stage lines, reports and heartbeats. No I/O and no clock: bytes and text in, checked values out.
//!
//! It lives beside `/init`, because the initramfs is the side that is hardest to upgrade.
#![forbid(unsafe_code)]

pub mod client;
pub mod cmdline;
pub mod cpio;
pub mod dhcp;
pub mod files;
pub mod heartbeat;
pub mod image;
pub mod mac;
pub mod modules;
pub mod paths;
pub mod plain;
pub mod profile;
pub mod queue;
pub mod root;
pub mod stage;
pub mod text;
pub mod tmpfs;

pub use client::{Arch, Client, Uuid};
pub use cmdline::{Base, BootArgs, BootFiles, Gate, Overlay, Streaming};
pub use files::{Files, FilesId, Worker};
pub use heartbeat::Heartbeat;
pub use image::{CHUNK_BYTES, ChunkList, ImageId};
pub use mac::Mac;
pub use modules::ModuleTable;
pub use profile::{Profile, Recording};
pub use stage::{Report, Stage, StageLine};
pub use tmpfs::TmpfsFolder;
