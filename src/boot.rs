//! From a machine that asks to what it boots: its image, its script or EFI program, its identity and its worker files.

pub mod current;
pub mod efi;
pub mod identity;
pub mod ipxe;
pub mod ipxe_binaries;
pub mod overlays;
pub mod planner;
pub mod pxelinux;
pub mod uki;
pub mod worker_files;
