//! What a worker's root must have and how much RAM it takes: `/init` goes by it, and a manager checks it when an image is
//! published.

/// The programs a root is started with: the first that is a plain file and executable, when links are followed inside the
/// root.
pub const INITS: [&str; 3] = ["/sbin/init", "/lib/systemd/systemd", "/init"];

/// Folders that `/init` moves its own mounts to. What is not there is made in the writable layer.
pub const MOUNT_POINTS: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// What must be free beside the image, so that the worker comes up and not only the image in: buffers and sockets of
/// the fetch (2 MiB), and the image's own init with its first services until they run (a Debian with systemd takes
/// some 50 MiB with caches). Less ends in the OOM killer at a place that looks like anything but too little RAM.
pub const HEADROOM: u64 = 64 << 20;

/// RAM is given out in pages: so are the files of an initramfs counted.
pub const PAGE: u64 = 4096;

/// Bytes as mebibytes, rounded up: RAM is counted in powers of two.
#[must_use]
pub const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
