//! How a boot ended, and what was wrong with the answers on the way.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::pc::PcKind;

/// One machine's boot: a Pi's, unless it says otherwise.
#[derive(Debug, Clone)]
pub struct Outcome<B = Booted> {
    /// What it loaded, or why it did not.
    pub boot: Result<B, Failure>,
    /// What servers did wrong, whether it booted or not; the first [`MAX_VIOLATIONS`].
    pub violations: Vec<Violation>,
    /// Numbers.
    pub numbers: Numbers,
}

/// A long list says nothing more than a short one.
pub const MAX_VIOLATIONS: usize = 100;

/// What a Pi's firmware has in memory when it starts the kernel.
#[derive(Debug, Clone)]
pub struct Booted {
    /// All files that were read, by path as it was asked for.
    pub files: BTreeMap<String, File>,
    /// Paths that were answered with "not found".
    pub absent: Vec<String>,
    /// Path of the kernel.
    pub kernel: String,
    /// Paths of what was put together to one initramfs.
    pub initramfs: Vec<String>,
    /// Path of the device tree.
    pub device_tree: String,
    /// Paths of the overlays.
    pub overlays: Vec<String>,
    /// The kernel's command line, its first line.
    pub cmdline: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whom it asked.
    pub tftp: Ipv4Addr,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Bytes.
    pub len: u64,
    /// [`digest`] of them.
    pub digest: u64,
    /// Themselves, if there were no more than [`crate::Params::keep`].
    pub bytes: Option<Arc<[u8]>>,
}

/// FNV-1a, 64 bits: tells damage, not malice.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    digest_on(EMPTY_DIGEST, bytes)
}

pub(crate) const EMPTY_DIGEST: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) fn digest_on(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What was counted and measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// From power on to the end.
    pub duration: Duration,
    /// From the first DISCOVER to the address, of the last stage.
    pub dhcp: Duration,
    /// The longest wait between a file's first request and the first answer to it.
    pub worst_first_answer: Duration,
    /// The longest time for one file.
    pub slowest_file: Duration,
    /// Requests for files, without repetitions.
    pub requests: u32,
    /// Requests that were sent again.
    pub repeated_requests: u32,
    /// Bytes of files.
    pub bytes: u64,
    /// Packets to a port whose transfer was over.
    pub stray_packets: u32,
    /// How long after the transfer's end the last of those came.
    pub longest_stray: Duration,
    /// DATA that came again, or too early.
    pub repeated_data: u32,
}

/// Why a machine did not boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody offered an address.
    #[error("no DHCP server offered an address ({sent} DISCOVERs were sent)")]
    NoAddress {
        /// Attempts.
        sent: u32,
    },
    /// An address, and nothing else.
    #[error(
        "offered {address}, but no answer had an option 43 with \"Raspberry Pi Boot\" or an option 66 that this firmware \
         takes ({why}): no boot server"
    )]
    NoBootServer {
        /// What was offered.
        address: Ipv4Addr,
        /// What was closest.
        why: WhyNot,
    },
    /// An address, and nothing to boot; a PC's.
    #[error("offered {address}, but no answer named a boot file that {firmware} takes")]
    NoBootFile {
        /// What was offered.
        address: Ipv4Addr,
        /// What asked.
        firmware: PcKind,
    },
    /// An offer said to ask there, and nobody answered.
    #[error("{server}, port 4011, did not say which file to boot")]
    NoBootServerAnswer {
        /// Whom it asked.
        server: Ipv4Addr,
    },
    /// REQUEST without ACK.
    #[error("{server} offered {address} and did not acknowledge the request for it")]
    NoAck {
        /// What was offered.
        address: Ipv4Addr,
        /// By whom.
        server: Ipv4Addr,
    },
    /// ARP for the TFTP server, or for the router to it.
    #[error("nobody answered ARP for {hop}, which is the way to {tftp}")]
    NoArp {
        /// The first hop.
        hop: Ipv4Addr,
        /// The TFTP server.
        tftp: Ipv4Addr,
    },
    /// No answer, or not to its end.
    #[error("{path} from {tftp}: nothing new for {silence:?} after {bytes} bytes")]
    Timeout {
        /// What was asked for.
        path: String,
        /// Whom.
        tftp: Ipv4Addr,
        /// How long.
        silence: Duration,
        /// Bytes before.
        bytes: u64,
    },
    /// An ERROR that is not "not found".
    #[error("{path} from {tftp}: ERROR {code} {text:?}")]
    Refused {
        /// What was asked for.
        path: String,
        /// Whom.
        tftp: Ipv4Addr,
        /// RFC 1350's code.
        code: u16,
        /// What it said.
        text: String,
    },
    /// More than 65 535 blocks, which this firmware does not count.
    #[error("{path}: more than 65535 blocks of {block_size} bytes; this firmware stops there")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// Bytes of a block.
        block_size: u16,
    },
    /// A file the boot cannot do without.
    #[error("{path} is not there: {why}")]
    Missing {
        /// What was asked for.
        path: String,
        /// What it is for.
        why: &'static str,
    },
    /// The test's time was over first.
    #[error("not finished in {limit:?}, but {doing}")]
    Unfinished {
        /// How long was waited.
        limit: Duration,
        /// What it did then.
        doing: String,
    },
    /// A text file with more than a mebibyte, or `include`s without end.
    #[error("{path} is no text file of this firmware: {why}")]
    BadText {
        /// The file.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Why no answer was a boot server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// Neither option.
    #[error("none had either")]
    Nothing,
    /// One that this firmware does not take.
    #[error("one had option 43 in a form it does not take")]
    Form,
    /// Too early for the ROM.
    #[error("one came too soon after the DISCOVER, when this ROM does not listen yet")]
    TooSoon,
    /// Not on the same subnet.
    #[error("one was from another subnet, which this ROM does not take")]
    OtherSubnet,
}

/// What a server did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it, with all fields")]
pub enum Violation {
    #[error("{server}: a BOOTP message of {bytes} bytes, at least 300 are due (RFC 951)")]
    ReplyTooShort { server: Ipv4Addr, bytes: usize },
    #[error("{server}: an answer of {bytes} bytes, the client takes 576 (RFC 2131 §2)")]
    ReplyTooLong { server: Ipv4Addr, bytes: usize },
    #[error("{server}: options without their end, 255")]
    OptionsWithoutEnd { server: Ipv4Addr },
    #[error("{server}: no server identifier, option 54")]
    NoServerId { server: Ipv4Addr },
    #[error("{server}: option 43 is not a list of sub-options that ends with 255: {bytes:02x?}")]
    Option43Malformed { server: Ipv4Addr, bytes: Vec<u8> },
    #[error("{server}: option 66 is not an IPv4 address in ASCII: {bytes:02x?}")]
    Option66NotAnAddress { server: Ipv4Addr, bytes: Vec<u8> },
    #[error("{id}: option 66 says {tftp}, option 43 leads to {id}")]
    Option66Disagrees { tftp: Ipv4Addr, id: Ipv4Addr },
    #[error("{server}: option 97 is not the client's own")]
    GuidChanged { server: Ipv4Addr },
    #[error("{server}: option 97 does not come back (PXE 2.1 §2.2.1)")]
    GuidMissing { server: Ipv4Addr },
    #[error(
        "{server}: option 60 is {said:?}, the client takes {wanted} (PXE 2.1 §2.2.1, UEFI §24.7)"
    )]
    Class {
        server: Ipv4Addr,
        wanted: &'static str,
        said: String,
    },
    #[error("a frame with a wrong checksum, or a fragment: {what}")]
    DamagedFrame { what: &'static str },

    #[error("{path}: OACK has {name}={value}, which was not asked for, or not so (RFC 2347)")]
    Oack {
        path: String,
        name: String,
        value: String,
    },
    #[error("{path}: OACK is no list of names and values")]
    OackMalformed { path: String },
    #[error(
        "{path}: no OACK, though tsize was asked for: this start.elf takes the file for missing"
    )]
    NoOack { path: String },
    #[error("{path}: tsize was {said}, the file has {got} bytes (RFC 2349)")]
    Tsize { path: String, said: u64, got: u64 },
    #[error("{path}: a block of {bytes} bytes, {block_size} are agreed")]
    BlockTooLong {
        path: String,
        bytes: usize,
        block_size: u16,
    },
    #[error("{path}: the file ended with a full block, without the empty one behind it")]
    NoLastBlock { path: String },
    #[error("{path}: block {block} before block {expected}; no window was agreed")]
    BlockTooEarly {
        path: String,
        block: u16,
        expected: u16,
    },
    #[error("{path}: answers from port {port}, the transfer has {tid} (RFC 1350 §4)")]
    TidChanged { path: String, port: u16, tid: u16 },
    #[error("{path}: a second transfer, from port {port} beside {tid}, for a request sent again")]
    SecondSession { path: String, port: u16, tid: u16 },
    #[error(
        "{path}: ERROR {code} {text:?}; only 1, not found, lets the firmware go on (RN2711 2020-06-03)"
    )]
    ErrorCode {
        path: String,
        code: u16,
        text: String,
    },
    #[error(
        "{path}: no answer to its end; this start.elf takes the file for missing (raspberrypi/firmware#1292)"
    )]
    TimedOut { path: String },
    #[error("{path}: a byte that is not ASCII; the firmware reads no further")]
    TextNotAscii { path: String },
    #[error("{path}: a line of more than 98 bytes, of which the firmware reads 98")]
    LineTooLong { path: String },
    #[error("{path}: an opcode that is not an answer to a read request: {opcode}")]
    Opcode { path: String, opcode: u16 },
    #[error("config.txt names {path}, which is not there")]
    NamedButMissing { path: String },

    #[error("{address} was offered to this machine {after:?} after it was offered to another")]
    OfferedTwice { address: Ipv4Addr, after: Duration },
    #[error("{address} is in use by another machine")]
    SharedAddress { address: Ipv4Addr },
}

/// What is noted on the way to an [`Outcome`].
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) violations: Vec<Violation>,
    pub(crate) numbers: Numbers,
}

impl Notes {
    pub(crate) fn violation(&mut self, violation: Violation) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }
}
