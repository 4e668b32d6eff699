//! Paths that no worker asks for: another room says what there is, and HTTP shows it.

use std::fmt;
use std::net::SocketAddr;

use super::answer::Content;

/// What another room has at a path.
pub enum Page {
    /// The query asks for what there is not: this sentence says so.
    Unknown(String),
    /// One line each time that the fleet has changed, as server-sent events.
    Events,
    /// What is made for who asks.
    Made(Cost, Box<Make>),
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => f.debug_tuple("Unknown").field(why).finish(),
            Self::Events => f.write_str("Events"),
            Self::Made(cost, _) => f.debug_tuple("Made").field(cost).finish_non_exhaustive(),
        }
    }
}

/// What a page costs to make. Those that read the disk wait for those that do, those that look at the fleet for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A constant: it waits for nothing.
    Nothing,
    /// It reads the store.
    Disk,
    /// It looks at the whole fleet.
    Fleet,
}

/// Makes it, for somebody who reached us at this address of ours. An error is told to who asks. It may take long, and is called on
/// threads that may wait, but for [`Cost::Nothing`].
pub type Make = dyn FnOnce(SocketAddr) -> anyhow::Result<Content> + Send;

/// What there is at the path and the query of a request target; `None` if it is for HTTP itself.
pub type Pages = dyn Fn(&str, Option<&str>) -> Option<Page> + Send + Sync;
