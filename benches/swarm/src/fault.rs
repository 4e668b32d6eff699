//! Why something a machine asked for did not come; the text is the same for all machines, so that it can be counted.

use std::io;
use std::time::Duration;

/// How a question failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("DHCP: no {0} within {GIVE_UP:?}")]
    NoAnswer(&'static str),
    #[error("DHCP: refused (NAK)")]
    Refused,
    #[error("DHCP: the ACK names {0:?} to boot, expected {1}")]
    NotBootable(String, &'static str),
    #[error("TFTP: no answer after {0} questions")]
    TftpSilent(u32),
    #[error("TFTP: error {0}: {1}")]
    TftpError(u16, String),
    #[error("TFTP: {0} bytes, promised were {1}")]
    TftpShort(u64, u64),
    #[error("HTTP: connecting: {}", .0.kind())]
    Connect(io::Error),
    #[error("HTTP: nothing for {0:?}")]
    Stalled(Duration),
    #[error("HTTP: connection ended in a {0}")]
    Closed(&'static str),
    #[error("HTTP: {0}")]
    Head(String),
    #[error("HTTP: status {0} to {1}")]
    Status(u16, &'static str),
    #[error("boot script: {0}")]
    Script(String),
    #[error("the bytes are not the image's: {0}")]
    Lied(String),
    #[error("the bytes of {0} are not what its name says")]
    BootFile(&'static str),
    #[error("a profile of {0} bytes is not of this image: one byte a chunk")]
    Profile(usize),
    #[error("not booted within {0:?}, switched off and on")]
    TooLong(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// PXE 2.1 §2.2.6 gives up after 60 s.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(60);
