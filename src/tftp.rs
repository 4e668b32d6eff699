//! TFTP for firmware that knows nothing better: read requests (RFC 1350), answered from memory and from files of the store.
//!
//! [`packet`] reads and writes datagrams, [`transfer`] is one transfer without socket and clock, [`timer`] says when it repeats,
//! [`sessions`] which transfers there may be, [`serve`] and its tasks own the sockets. Options: block size (RFC 2348), size and timeout (RFC 2349),
//! window (RFC 7440). Writing is refused.
//!
//! A name is looked up by whoever implements [`Files`], never joined to a path.

pub mod packet;
pub mod serve;
pub mod sessions;
mod task;
pub mod timer;
pub mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub use self::serve::run;
use crate::store::rope::Rope;

/// Who asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The client's address; its port is new for each file with most clients.
    pub client: SocketAddrV4,
    /// The address of ours that was asked.
    pub local: SocketAddrV4,
    /// Normalised by [`packet::normalise`]: no leading or doubled slash, no `..`, no control character, at most
    /// [`packet::MAX_NAME_BYTES`].
    pub name: &'a str,
}

/// What a server answers from.
pub trait Files: Send + Sync + 'static {
    /// The file of that name, `None` where there is none. May wait for a disk: it is called on a thread that nothing else needs.
    fn open(&self, ask: &Ask<'_>) -> Option<Rope>;

    /// DHCP has heard of the machine at this address: it is served when there is no room for strangers. Must not wait.
    fn knows(&self, _client: Ipv4Addr) -> bool {
        false
    }

    /// A client has taken all of a file.
    fn taken(&self, _client: SocketAddrV4, _name: &str) {}
}

/// Name → content, the same for every client.
pub type Table = BTreeMap<String, Bytes>;

impl Files for Table {
    fn open(&self, ask: &Ask<'_>) -> Option<Rope> {
        self.get(ask.name).cloned().map(Rope::from)
    }
}

/// What TFTP was asked for.
#[derive(Debug, Default)]
pub struct Counters {
    /// Files whose last block was acknowledged.
    pub served: AtomicU64,
    /// Transfers the client ended, or left, before it took any of it: it wanted to know whether the file is there, or its
    /// size.
    pub probed: AtomicU64,
    /// Requests for a name that is not there. Firmware asks for many of those.
    pub missing: AtomicU64,
    /// What is no request for a file: writes, refused names, garbage; and requests there was no room for.
    pub refused: AtomicU64,
    /// Transfers that ended otherwise: the client fell silent, left in the middle or said so.
    pub failed: AtomicU64,
    /// Bytes of datagrams that left.
    pub bytes: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} sent, {} probed, {} not found, {} refused, {} failed",
            of(&self.served),
            of(&self.probed),
            of(&self.missing),
            of(&self.refused),
            of(&self.failed)
        )
    }
}
