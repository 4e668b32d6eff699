//! The new root: RAM for the image, the mounts, what is laid over the image, and the handover to its init.

pub mod attributes;
pub mod handover;
pub mod lay_files;
pub mod mount;
pub mod ram;
pub mod selinux;
pub mod sys;
pub mod tmpfs;
pub mod worker_files;
