//! What kind of storm.

use std::time::Duration;

/// The machines, and how they behave.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many.
    pub machines: u32,
    /// The interface of this network namespace that leads to the manager. It needs no address, but a route to it.
    pub interface: String,
    /// Chance: the same number, the same storm.
    pub seed: u64,
    /// All are switched on within this time.
    pub within: Duration,
    /// A machine's own work between two stages: within a quarter of this.
    pub think: Duration,
    /// Connections of `/init`.
    pub streams: u32,
    /// One of so many chunks and boot files is read and verified, the others are thrown away in the kernel.
    pub sample: u64,
    /// Say `Prefer: wait`, as `/init` does.
    pub prefer_wait: bool,
    /// Stream: what is hot first; `None` waits for all of the image.
    pub hot: Option<Hot>,
    /// Chunks that programs are blocked on while the rest comes.
    pub demands: u32,
    /// From one of them to the next, on the mean.
    pub demand_each: Duration,
    /// SO_RCVBUF of connections for boot files and image; `None` leaves it to the kernel. All machines share one kernel's TCP
    /// memory (`net.ipv4.tcp_mem`, a tenth of RAM) with the manager here: past it nothing moves, and it is nobody's fault.
    pub receive_buffer: Option<u32>,
    /// A machine whose boot fails, or takes longer than this, is switched off and on; `None` leaves it as it is.
    pub again: Option<Duration>,
    /// A machine that has not booted after this time has failed.
    pub deadline: Duration,
}

/// What of the image a machine needs to run, where the manager knows no profile of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hot {
    /// So much of it, scattered.
    Percent(u8),
    /// As a manager would serve it.
    Profile(Vec<u8>),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            machines: 100,
            interface: "eth0".to_owned(),
            seed: 1,
            within: Duration::from_secs(1),
            think: Duration::from_millis(500),
            streams: 4,
            sample: 64,
            prefer_wait: true,
            hot: None,
            demands: 4,
            demand_each: Duration::from_secs(5),
            receive_buffer: Some(256 << 10),
            again: None,
            deadline: Duration::from_secs(600),
        }
    }
}
