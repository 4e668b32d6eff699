//! One transfer as a state machine: packets and the time go in, datagrams and the [`Outcome`] come out.
//!
//! Time is a [`Duration`] since any fixed moment. Whoever drives it sends what [`Transfer::next`] gives until that is
//! `None`, and calls [`Transfer::on_timeout`] not before [`Transfer::deadline`]; earlier calls do nothing.
//!
//! - A repeated ACK never makes it send: only the timer does (RFC 1123 §4.2.3.1, Sorcerer's Apprentice).
//! - An ACK inside the window says that the block after it is missing: the window begins anew there (RFC 7440 §4).
//! - Each datagram is owed to a new ACK or to the timer, so what is sent is bounded by what is acknowledged.

use std::time::Duration;

use crate::parts::Parts;
use crate::tftp::packet::{self, Accepted, Buffer, MAX_BLOCK_BYTES, Options, Packet};

/// RFC 2348.
const MIN_BLOCK_BYTES: u16 = 8;
/// RFC 1350, where no other size was asked for.
const DEFAULT_BLOCK_BYTES: u16 = 512;
/// 16 blocks are 23 KiB in flight: no ROM's receive ring overflows by it, and it is past where the gain ends.
pub const MAX_WINDOW_BLOCKS: u16 = 16;
/// What U-Boot asks for by default (`TIMEOUT` in its net/tftp.c). Two repetitions still fit into [`GIVE_UP`].
const MAX_TIMEOUT_SECONDS: u16 = 5;
/// The first repetition; each further one waits twice as long (as TCP, RFC 6298 §2: 1 s is late enough for a machine that
/// only is slow). Before a Raspberry Pi's own 2 s and EDK2's 4 s, so a lost OACK is not asked for twice.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Nothing new acknowledged for so long: repeated after 1, 3 and 7 s, and nobody is there.
pub const GIVE_UP: Duration = Duration::from_secs(12);
/// A client that acknowledges a block every 11 s holds a socket that long and no longer. 100 MB at 28 kB/s.
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
    /// Nothing new was acknowledged for [`GIVE_UP`].
    Silent,
    /// It took longer than [`MAX_AGE`].
    TooSlow,
}

/// A file on its way to a client.
#[derive(Debug)]
pub struct Transfer {
    file: Parts,
    accepted: Accepted,
    blocks: u64,
    phase: Phase,
    began: Duration,
    /// When something new was acknowledged last.
    progress: Duration,
    repeat_at: Duration,
    wait: Duration,
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
    /// A transfer that has sent nothing yet. Without options it begins with DATA 1; with any that is known, with an OACK:
    /// `start.elf` since 2020-04 takes a file for empty whose `tsize` it was not told.
    #[must_use]
    pub fn begin(options: &Options, file: Parts, now: Duration) -> Self {
        let accepted = accept(options, file.len());
        let wait = first_wait(&accepted);
        let block = accepted.blksize.unwrap_or(DEFAULT_BLOCK_BYTES);
        Self {
            // The last block is shorter than the others, if need be empty.
            blocks: file.len() / u64::from(block) + 1,
            phase: if accepted.is_empty() {
                SENDING
            } else {
                Phase::Offering { sent: false }
            },
            file,
            accepted,
            began: now,
            progress: now,
            repeat_at: now + wait,
            wait,
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.file.len()
    }

    /// The file has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// The client has acknowledged nothing of the file yet.
    #[must_use]
    pub const fn is_opening(&self) -> bool {
        !matches!(self.phase, Phase::Sending { acked: 1.., .. })
    }

    /// When something new was acknowledged last, or it began.
    #[must_use]
    pub const fn progress(&self) -> Duration {
        self.progress
    }

    /// The next datagram that is due now.
    pub fn next<'b>(&mut self, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
        let window = u64::from(self.accepted.windowsize.unwrap_or(1));
        let size = self.accepted.blksize.unwrap_or(DEFAULT_BLOCK_BYTES);
        match &mut self.phase {
            Phase::Offering { sent } => {
                (!std::mem::replace(sent, true)).then(|| packet::oack(&self.accepted, buffer))
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
                *highest = (*highest).max(*sent);
                let fill = |block: &mut [u8]| self.file.read_at(offset, block);
                Some(packet::data(*sent, size, fill, buffer))
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
                *acked == self.blocks
            }
        };
        self.progress = now;
        self.wait = first_wait(&self.accepted);
        self.repeat_at = now + self.wait;
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
        if now >= self.progress + GIVE_UP {
            return Some(Outcome::Silent);
        }
        if now >= self.began + MAX_AGE {
            return Some(Outcome::TooSlow);
        }
        if now >= self.repeat_at {
            match &mut self.phase {
                Phase::Offering { sent } => *sent = false,
                Phase::Sending { acked, sent, .. } => *sent = *acked,
            }
            // RFC 2349 leaves a server no choice once it agreed to an interval.
            if self.accepted.timeout.is_none() {
                self.wait *= 2;
            }
            self.repeat_at = now + self.wait;
        }
        None
    }

    /// When [`Transfer::on_timeout`] will have something to do, if no packet comes.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.repeat_at
            .min(self.progress + GIVE_UP)
            .min(self.began + MAX_AGE)
    }
}

fn first_wait(accepted: &Accepted) -> Duration {
    accepted
        .timeout
        .map_or(FIRST_WAIT, |seconds| Duration::from_secs(seconds.into()))
}

const SENDING: Phase = Phase::Sending {
    acked: 0,
    sent: 0,
    highest: 0,
};

/// Smaller than asked is allowed for block (RFC 2348) and window (RFC 7440); a timeout is taken as it is or not at all
/// (RFC 2349). A number outside of its RFC's range is as if it were not there, but too large a block is cut.
fn accept(options: &Options, len: u64) -> Accepted {
    let cut = |asked: Option<u64>, min: u16, max: u16| {
        let asked = asked.filter(|asked| *asked >= min.into())?;
        Some(u16::try_from(asked).unwrap_or(max).min(max))
    };
    Accepted {
        tsize: options.tsize.then_some(len),
        blksize: cut(options.blksize, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES),
        windowsize: cut(options.windowsize, 1, MAX_WINDOW_BLOCKS),
        timeout: options
            .timeout
            .and_then(|seconds| u16::try_from(seconds).ok())
            .filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds)),
    }
}

#[cfg(test)]
mod tests;
