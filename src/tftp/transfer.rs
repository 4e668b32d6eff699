//! One transfer as a state machine: packets and the time go in, what is to be sent and the [`Outcome`] come out.
//!
//! Time is a [`Duration`] since any fixed moment. Whoever drives it sends what [`Transfer::next`] gives until that is
//! `None`, and calls [`Transfer::on_timeout`] not before [`Transfer::deadline`]; earlier calls do nothing.
//!
//! - A repeated ACK never makes it send: only the timer does (RFC 1123 §4.2.3.1, Sorcerer's Apprentice).
//! - An ACK inside the window says that the block after it is missing: the window begins anew there (RFC 7440 §4).
//! - Each datagram is owed to a new ACK or to the timer, so what is sent is bounded by what is acknowledged.
//! - When the timer repeats is [`super::timer`]'s.

use std::time::Duration;

use super::timer::{self, Timer};
use crate::tftp::packet::{self, Accepted, MAX_BLOCK_BYTES, Options, Packet};

/// RFC 2348.
const MIN_BLOCK_BYTES: u16 = 8;
/// RFC 1350, where no other size was asked for.
const DEFAULT_BLOCK_BYTES: u16 = 512;
/// IPv4, UDP and TFTP before the content of a block.
const HEADERS_BYTES: u32 = 20 + 8 + 4;
/// 16 blocks are 23 KiB in flight: no ROM's receive ring overflows by it, and it is past where the gain ends.
pub const MAX_WINDOW_BLOCKS: u16 = 16;
/// RFC 2349: "Valid values range between "1" and "255" seconds, inclusive."
const MAX_TIMEOUT_SECONDS: u16 = 255;
/// A client that acknowledges a block now and then holds a socket that long and no longer. 100 MB at 28 kB/s.
pub const MAX_AGE: Duration = Duration::from_secs(3600);
/// Of what a client says when it stops.
const MAX_ERROR_TEXT_BYTES: usize = 80;

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The last block was acknowledged.
    Completed,
    /// The client said no before it took any of it: a Raspberry Pi looks so whether a file is there (ERROR 0, "Early
    /// terminate"), UEFI how large it is (ERROR 8, "User aborted the transfer"; AAVMF of Debian 12).
    Probed,
    /// The client ended it otherwise.
    Stopped {
        /// RFC 1350 §5.
        code: u16,
        /// Escaped and cut.
        text: String,
    },
    /// The client's host says that nobody has the port any more.
    Gone,
    /// Nothing new was acknowledged for [`super::timer::give_up`].
    Silent,
    /// It took longer than [`MAX_AGE`].
    TooSlow,
    /// Our own disk does not give the file. Whoever drives the transfer says so.
    Unreadable(String),
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// An OACK.
    Offer(Accepted),
    /// DATA.
    Block {
        /// From 1 on; never rolls over here.
        number: u64,
        /// Where its content begins in the file.
        offset: u64,
        /// Bytes of content; the last block may have fewer.
        size: u16,
    },
}

/// A file on its way to a client.
#[derive(Debug)]
pub struct Transfer {
    len: u64,
    accepted: Accepted,
    blocks: u64,
    phase: Phase,
    began: Duration,
    /// When something new was acknowledged last.
    progress: Duration,
    timer: Timer,
}

/// Blocks count from 1 and never roll over here.
#[derive(Debug)]
enum Phase {
    /// OACK, until ACK 0.
    Offering { sent: bool },
    /// DATA.
    Sending {
        acked: u64,
        /// Sent last; at least `acked`.
        sent: u64,
        /// The highest ever sent: an ACK may be for a block sent before the timer went back.
        highest: u64,
    },
}

impl Transfer {
    /// A transfer of `len` bytes that has sent nothing yet; blocks have at most `max_block` bytes. Without options it begins with
    /// DATA 1; with any that is known, with an OACK: `start.elf` since 2020-04 takes a file for empty whose `tsize` it was not
    /// told.
    #[must_use]
    pub fn begin(options: &Options, len: u64, max_block: u16, now: Duration) -> Self {
        let accepted = accept(options, len, max_block);
        let block = accepted.blksize.unwrap_or(DEFAULT_BLOCK_BYTES);
        Self {
            // The last block is shorter than the others, if need be empty.
            blocks: len / u64::from(block) + 1,
            phase: if accepted.is_empty() {
                SENDING
            } else {
                Phase::Offering { sent: false }
            },
            len,
            accepted,
            began: now,
            progress: now,
            timer: Timer::begin(accepted.timeout, now),
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The file has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The client has acknowledged nothing of the file yet.
    #[must_use]
    pub const fn is_opening(&self) -> bool {
        !matches!(self.phase, Phase::Sending { acked: 1.., .. })
    }

    /// The client has acknowledged anything: its address is not forged.
    const fn is_heard(&self) -> bool {
        match self.phase {
            Phase::Offering { .. } => false,
            Phase::Sending { acked, .. } => acked > 0 || !self.accepted.is_empty(),
        }
    }

    /// When something new was acknowledged last, or it began.
    #[must_use]
    pub const fn progress(&self) -> Duration {
        self.progress
    }

    /// What is to be sent next, and `now`.
    pub fn next(&mut self, now: Duration) -> Option<Due> {
        let window = u64::from(self.accepted.windowsize.unwrap_or(1));
        let size = self.accepted.blksize.unwrap_or(DEFAULT_BLOCK_BYTES);
        match &mut self.phase {
            Phase::Offering { sent } => {
                if std::mem::replace(sent, true) {
                    return None;
                }
                self.timer.sent(0, now);
                Some(Due::Offer(self.accepted))
            }
            Phase::Sending {
                acked,
                sent,
                highest,
            } => {
                if *sent >= self.blocks.min(*acked + window) {
                    return None;
                }
                let offset = *sent * u64::from(size);
                *sent += 1;
                self.timer.sent(*sent, now);
                *highest = (*highest).max(*sent);
                Some(Due::Block {
                    number: *sent,
                    offset,
                    size,
                })
            }
        }
    }

    /// A packet from the client came; the transfer is over if there is an outcome.
    #[must_use]
    pub fn on_packet(&mut self, packet: &Packet<'_>, now: Duration) -> Option<Outcome> {
        match packet {
            Packet::Ack(number) => self.acknowledged(*number, now),
            Packet::Error { code: 0 | 8, .. } if self.is_opening() => Some(Outcome::Probed),
            Packet::Error { code, text } => Some(Outcome::Stopped {
                code: *code,
                text: text[..text.len().min(MAX_ERROR_TEXT_BYTES)]
                    .escape_ascii()
                    .to_string(),
            }),
            // Requests have a port of their own.
            Packet::Read(_) => None,
        }
    }

    fn acknowledged(&mut self, number: u16, now: Duration) -> Option<Outcome> {
        let done = match &mut self.phase {
            Phase::Offering { .. } if number == 0 => {
                self.phase = SENDING;
                self.timer.acknowledged(0, now);
                false
            }
            Phase::Offering { .. } => return None,
            Phase::Sending {
                acked,
                sent,
                highest,
            } => {
                // A window is much smaller than 65 536, so the number names one block at most.
                let new = u64::from(number.wrapping_sub(packet::number(*acked)));
                if new == 0 || new > *highest - *acked {
                    return None;
                }
                *acked += new;
                *sent = *acked;
                self.timer.acknowledged(*acked, now);
                *acked == self.blocks
            }
        };
        self.progress = now;
        done.then_some(Outcome::Completed)
    }

    /// ICMP said that the client's port is closed. ROMs that only wanted the size leave without a word.
    #[must_use]
    pub const fn on_unreachable(&self) -> Outcome {
        if self.is_opening() {
            Outcome::Probed
        } else {
            Outcome::Gone
        }
    }

    /// Time has passed: perhaps the last window is due again, perhaps it is over.
    #[must_use]
    pub fn on_timeout(&mut self, now: Duration) -> Option<Outcome> {
        if now >= self.silent_at() {
            return Some(Outcome::Silent);
        }
        if now >= self.began + MAX_AGE {
            return Some(Outcome::TooSlow);
        }
        if now >= self.timer.repeat_at() {
            match &mut self.phase {
                Phase::Offering { sent } => *sent = false,
                Phase::Sending { acked, sent, .. } => *sent = *acked,
            }
            self.timer.expired(now);
        }
        None
    }

    fn silent_at(&self) -> Duration {
        self.progress + timer::give_up(self.accepted.timeout, self.is_heard())
    }

    /// When [`Transfer::on_timeout`] will have something to do, if no packet comes.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.timer
            .repeat_at()
            .min(self.silent_at())
            .min(self.began + MAX_AGE)
    }
}

/// Bytes of content that a datagram has room for which is not cut into fragments on a path of this MTU: ROMs do not put
/// fragments together. More than an Ethernet frame takes is nobody's gain.
#[must_use]
pub fn max_block(mtu: u32) -> u16 {
    let room = u16::try_from(mtu.saturating_sub(HEADERS_BYTES)).unwrap_or(MAX_BLOCK_BYTES);
    // RFC 2348's least goes through any link that carries IP (RFC 791: 68 bytes).
    room.clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES)
}

const SENDING: Phase = Phase::Sending {
    acked: 0,
    sent: 0,
    highest: 0,
};

/// Smaller than asked is allowed for block (RFC 2348) and window (RFC 7440); a timeout is taken as it is or not at all
/// (RFC 2349). A number outside of its RFC's range is as if it were not there, but too large a block is cut.
fn accept(options: &Options, len: u64, max_block: u16) -> Accepted {
    let cut = |asked: Option<u64>, min: u16, max: u16| {
        let asked = asked.filter(|asked| *asked >= min.into())?;
        Some(u16::try_from(asked).unwrap_or(max).min(max))
    };
    Accepted {
        tsize: options.tsize.then_some(len),
        blksize: cut(options.blksize, MIN_BLOCK_BYTES, max_block),
        windowsize: cut(options.windowsize, 1, MAX_WINDOW_BLOCKS),
        timeout: options
            .timeout
            .and_then(|seconds| u16::try_from(seconds).ok())
            .filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds)),
    }
}

#[cfg(test)]
mod tests;
