//! What a machine does, in the order of a boot, and what it noted of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

/// A stage of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its ROM asks DHCP.
    Pxe,
    /// The ROM loads iPXE.
    Tftp,
    /// iPXE asks DHCP.
    Ipxe,
    /// iPXE gets its script.
    Script,
    /// iPXE gets the kernel.
    Kernel,
    /// iPXE gets the initramfs.
    Initrd,
    /// `/init` asks DHCP.
    Init,
    /// `/init` gets the chunk list.
    List,
    /// `/init` was told to wait, and no chunk is on its way.
    Queue,
    /// `/init` gets the image, or what is hot of it.
    Image,
    /// It runs, and no chunk of the rest is on its way.
    Runs,
    /// It runs, and gets the rest.
    Rest,
}

impl Stage {
    /// In the order of a boot.
    pub const ALL: [Self; 12] = [
        Self::Pxe,
        Self::Tftp,
        Self::Ipxe,
        Self::Script,
        Self::Kernel,
        Self::Initrd,
        Self::Init,
        Self::List,
        Self::Queue,
        Self::Image,
        Self::Runs,
        Self::Rest,
    ];

    /// The image is waited for, or comes.
    #[must_use]
    pub const fn is_fetching(self) -> bool {
        matches!(self, Self::Queue | Self::Image | Self::Runs | Self::Rest)
    }

    /// In a table or a legend.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pxe => "DHCP of the ROM",
            Self::Tftp => "TFTP boot file",
            Self::Ipxe => "DHCP of iPXE",
            Self::Script => "boot script",
            Self::Kernel => "kernel",
            Self::Initrd => "initramfs",
            Self::Init => "DHCP of /init",
            Self::List => "chunk list",
            Self::Queue => "waits its turn",
            Self::Image => "image",
            Self::Runs => "runs, and waits",
            Self::Rest => "runs, and fetches",
        }
    }

    /// On a white ground; neighbours differ in brightness, too.
    #[must_use]
    pub const fn colour(self) -> &'static str {
        match self {
            Self::Pxe => "#7b3294",
            Self::Tftp => "#f1a340",
            Self::Ipxe => "#c2a5cf",
            Self::Script => "#222222",
            Self::Kernel => "#b2182b",
            Self::Initrd => "#ef8a62",
            Self::Init => "#9970ab",
            Self::List => "#01665e",
            Self::Queue => "#d9d9d9",
            Self::Image => "#4393c3",
            Self::Runs => "#e6f5d0",
            Self::Rest => "#7fbc41",
        }
    }
}

/// A stage of one machine. Times are since the storm began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which.
    pub stage: Stage,
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
}

/// What somebody waits for the first byte of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// DISCOVER to OFFER, REQUEST to ACK.
    Dhcp,
    /// A read request to the first block or OACK.
    Tftp,
    /// Script, kernel, initramfs and chunk list: from the first SYN, where there was no connection yet.
    Boot,
    /// Chunks, likewise; a 503 is an answer.
    Chunks,
}

impl Question {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dhcp, Self::Tftp, Self::Boot, Self::Chunks];

    /// In a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "DHCP",
            Self::Tftp => "TFTP",
            Self::Boot => "HTTP, boot files",
            Self::Chunks => "HTTP, chunks",
        }
    }
}

/// A chunk that a program was blocked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Until all of it was there.
    pub took: Duration,
    /// Answers that told it to come back.
    pub told_to_wait: u64,
    /// Bytes that anybody received in that time, its own among them: what was sent beside it or before it, however fast the
    /// machine is that this runs on.
    pub received: u64,
}

/// All of one machine.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// When it was switched on.
    pub on: Duration,
    /// When it had what it needs to run, if that is less than its image.
    pub runs: Option<Duration>,
    /// When it had all of its image, or gave up.
    pub off: Duration,
    /// What it did when.
    pub spans: Vec<Span>,
    /// How long it waited for each first answer.
    pub waits: Vec<(Question, Duration)>,
    /// Chunks that programs were blocked on.
    pub demands: Vec<Demand>,
    /// Bytes that all machines had received when this one had what it needs to run.
    pub received_when_it_runs: u64,
    /// Bytes of boot files.
    pub boot_bytes: u64,
    /// Bytes of chunks.
    pub image_bytes: u64,
    /// Chunks that were read and verified, not thrown away.
    pub verified: u64,
    /// Datagrams that were sent again.
    pub again: u64,
    /// Answers that told it to wait.
    pub told_to_wait: u64,
    /// The last place in the queue of the first such answer.
    pub first_place: Option<ramboot_wire::queue::Place>,
    /// What failed on the way, and how often.
    pub faults: BTreeMap<String, u64>,
    /// Why it did not boot; `None` if it did.
    pub failed: Option<String>,
}

impl Log {
    /// From here on it does something else.
    pub(crate) fn enter(&mut self, stage: Stage, now: Duration) {
        self.spans.push(Span {
            stage,
            from: now,
            to: now,
        });
    }

    /// It goes on with what it did last, as long as it does nothing else.
    pub(crate) fn leave(&mut self, now: Duration) {
        if let Some(span) = self.spans.last_mut() {
            span.to = now;
        }
    }

    /// Ends a stage and begins another, unless that is the one.
    pub(crate) fn change(&mut self, stage: Stage, now: Duration) {
        if self.spans.last().is_none_or(|span| span.stage != stage) {
            self.leave(now);
            self.enter(stage, now);
        }
    }

    /// How long a stage took in all; `None` if there was none.
    #[must_use]
    pub fn time_in(&self, stage: Stage) -> Option<Duration> {
        let spans = self.spans.iter().filter(|span| span.stage == stage);
        spans
            .map(|span| span.to.saturating_sub(span.from))
            .reduce(|sum, time| sum + time)
    }
}
