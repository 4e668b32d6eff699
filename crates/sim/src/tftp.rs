//! One file by TFTP (RFC 1350, 2347 to 2349), or the question whether it is there.
//!
//! Lock-step, as a Pi and a BIOS do it, or with EDK2's window (RFC 7440). What is not answered is sent again from the same
//! port; a transfer without progress ends. What the server must not do is noted.

use std::time::Duration;

use crate::net::be16;
use crate::outcome::{EMPTY_DIGEST, File, Notes, Violation, digest_on};

/// RFC 1350's well-known port.
pub(crate) const PORT: u16 = 69;
/// More than any firmware loads.
const MAX_FILE: u64 = 1 << 30;
/// Whatever `keep` says.
const MAX_KEPT: usize = 64 << 20;
/// Text files are kept always, for they are read.
pub(crate) const MAX_TEXT: usize = 64 << 10;

const DATA: u16 = 3;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// What is wanted of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whether it is there, or how long it is: the transfer is ended at once, by [`Manner::stop`].
    Probe,
    /// All of it.
    Read,
}

/// How this client asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) tsize: bool,
    pub(crate) block_size: Option<u16>,
    pub(crate) window: Option<u16>,
    /// ERROR that ends a probe.
    pub(crate) stop: (u8, &'static str),
    /// When a request is sent again,
    pub(crate) request_again: Duration,
    /// and an ACK.
    pub(crate) ack_again: Duration,
    pub(crate) needs_oack: bool,
    pub(crate) no_rollover: bool,
    pub(crate) timeout: Duration,
    pub(crate) keep: usize,
}

impl Manner {
    /// A Pi's, without options.
    pub(crate) const PI: Self = Self {
        tsize: false,
        block_size: None,
        window: None,
        stop: (0, "Early terminate"),
        // rpi-eeprom#74.
        request_again: Duration::from_secs(2),
        // Not known; assumed.
        ack_again: Duration::from_secs(1),
        needs_oack: false,
        no_rollover: false,
        timeout: Duration::from_secs(30),
        keep: 0,
    };
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With its `tsize`, if the server said it.
    Found(Option<u64>),
    File(File),
    Absent,
    NoOack,
    Refused {
        code: u16,
        text: String,
    },
    Timeout {
        bytes: u64,
    },
    TooLarge {
        block_size: u16,
    },
}

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) path: String,
    purpose: Purpose,
    manner: Manner,
    /// Ours.
    pub(crate) port: u16,
    /// The server's, from its first answer on.
    tid: Option<u16>,
    started: Duration,
    requests: u32,
    /// What is sent again.
    last: Vec<u8>,
    again_at: Duration,
    give_up_at: Duration,
    /// What the server agreed to, if it did.
    agreed: Option<Agreed>,
    expected: u16,
    /// Blocks since the last ACK.
    unacknowledged: u16,
    len: u64,
    digest: u64,
    bytes: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Agreed {
    block_size: u16,
    window: u16,
    tsize: Option<u64>,
}

/// RFC 1350's, where nothing is agreed.
const PLAIN: Agreed = Agreed {
    block_size: 512,
    window: 1,
    tsize: None,
};

/// Packets to send: to which port, and what.
pub(crate) type Out = Vec<(u16, Vec<u8>)>;

impl Transfer {
    /// Sends the request.
    pub(crate) fn start(
        path: String,
        purpose: Purpose,
        manner: Manner,
        port: u16,
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) -> Self {
        let last = request(&path, manner);
        out.push((PORT, last.clone()));
        notes.numbers.requests += 1;
        Self {
            path,
            purpose,
            manner,
            port,
            tid: None,
            started: now,
            requests: 1,
            last,
            again_at: now + manner.request_again,
            give_up_at: now + manner.timeout,
            agreed: None,
            expected: 1,
            unacknowledged: 0,
            len: 0,
            digest: EMPTY_DIGEST,
            bytes: Some(Vec::new()),
        }
    }

    /// When [`Transfer::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Duration {
        self.again_at.min(self.give_up_at)
    }

    /// Sends again what was not answered, and gives up at last.
    pub(crate) fn tick(
        &mut self,
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) -> Option<Ended> {
        if now >= self.give_up_at {
            if let Some(tsize) = self.agreed.and_then(|agreed| agreed.tsize)
                && self.len > 0
                && tsize == self.len
            {
                let path = self.path.clone();
                notes.violation(Violation::NoLastBlock { path });
            }
            return Some(Ended::Timeout { bytes: self.len });
        }
        if now >= self.again_at {
            let (port, wait) = match self.tid {
                None => {
                    self.requests += 1;
                    notes.numbers.repeated_requests += 1;
                    (PORT, self.manner.request_again)
                }
                Some(tid) => (tid, self.manner.ack_again),
            };
            out.push((port, self.last.clone()));
            self.again_at = now + wait;
        }
        None
    }

    /// A packet from the server to [`Transfer::port`].
    pub(crate) fn receive(
        &mut self,
        from: u16,
        packet: &[u8],
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) -> Option<Ended> {
        let opcode = be16(packet, 0).unwrap_or_default();
        if !matches!(opcode, DATA | ERROR | OACK) {
            let path = self.path.clone();
            notes.violation(Violation::Opcode { path, opcode });
            return None;
        }
        match self.tid {
            None => {
                self.tid = Some(from);
                let waited = now - self.started;
                let worst = &mut notes.numbers.worst_first_answer;
                *worst = waited.max(*worst);
            }
            Some(tid) if tid != from => {
                self.refuse_stranger(from, tid, notes, out);
                return None;
            }
            Some(_) => {}
        }
        let ended = match opcode {
            OACK => self.agree(packet.get(2..)?, now, notes, out),
            DATA => self.take(be16(packet, 2)?, packet.get(4..)?, now, notes, out),
            _ => Some(self.refused(be16(packet, 2)?, packet.get(4..)?, notes)),
        };
        if ended.is_some() {
            let took = now - self.started;
            notes.numbers.slowest_file = notes.numbers.slowest_file.max(took);
        }
        ended
    }

    /// RFC 1350 §4: ERROR 5, and the transfer goes on undisturbed.
    fn refuse_stranger(&self, port: u16, tid: u16, notes: &mut Notes, out: &mut Out) {
        out.push((port, error(5, "Unknown transfer ID")));
        let path = self.path.clone();
        notes.violation(if self.requests > 1 {
            Violation::SecondSession { path, port, tid }
        } else {
            Violation::TidChanged { path, port, tid }
        });
    }

    fn agree(
        &mut self,
        options: &[u8],
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) -> Option<Ended> {
        if self.purpose == Purpose::Probe {
            let agreed = self.check_oack(options, notes);
            self.stop(out);
            return Some(Ended::Found(agreed.tsize));
        }
        if self.len > 0 || self.expected != 1 || (self.agreed.is_some() && self.last.len() != 4) {
            return None;
        }
        if self.agreed.is_none() {
            self.agreed = Some(self.check_oack(options, notes));
            self.give_up_at = now + self.manner.timeout;
        }
        self.acknowledge(0, now, out);
        None
    }

    /// What was agreed, and whether it was asked for.
    fn check_oack(&self, options: &[u8], notes: &mut Notes) -> Agreed {
        let mut agreed = PLAIN;
        let path = || self.path.clone();
        let Some(texts) = options.strip_suffix(&[0]) else {
            notes.violation(Violation::OackMalformed { path: path() });
            return agreed;
        };
        let texts: Vec<_> = texts.split(|&byte| byte == 0).collect();
        for pair in texts.chunks(2) {
            let &[name, value] = pair else {
                notes.violation(Violation::OackMalformed { path: path() });
                continue;
            };
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let value = String::from_utf8_lossy(value).into_owned();
            let number: Option<u64> = value.parse().ok();
            let size = number.and_then(|number| u16::try_from(number).ok());
            let most = match name.as_str() {
                "blksize" => self.manner.block_size,
                "windowsize" => self.manner.window,
                _ => None,
            };
            match (name.as_str(), most, number, size) {
                ("tsize", _, Some(tsize), _) if self.manner.tsize => agreed.tsize = Some(tsize),
                ("blksize", Some(most), _, Some(size)) if (8..=most).contains(&size) => {
                    agreed.block_size = size;
                }
                ("windowsize", Some(most), _, Some(size)) if (1..=most).contains(&size) => {
                    agreed.window = size;
                }
                _ => notes.violation(Violation::Oack {
                    path: path(),
                    name,
                    value,
                }),
            }
        }
        agreed
    }

    fn take(
        &mut self,
        block: u16,
        data: &[u8],
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) -> Option<Ended> {
        let path = || self.path.clone();
        if self.agreed.is_none() && self.manner.tsize && self.manner.needs_oack {
            notes.violation(Violation::NoOack { path: path() });
            self.stop(out);
            return Some(Ended::NoOack);
        }
        if self.purpose == Purpose::Probe {
            self.stop(out);
            return Some(Ended::Found(None));
        }
        let agreed = *self.agreed.get_or_insert(PLAIN);
        if block != self.expected {
            self.unexpected(block, agreed.window, now, notes, out);
            return None;
        }
        let block_size = agreed.block_size;
        if data.len() > usize::from(block_size) {
            let bytes = data.len();
            notes.violation(Violation::BlockTooLong {
                path: path(),
                bytes,
                block_size,
            });
            return None;
        }
        self.keep(data);
        notes.numbers.bytes += data.len() as u64;
        self.give_up_at = now + self.manner.timeout;
        let full = data.len() == usize::from(block_size);
        if full && (self.expected == u16::MAX && self.manner.no_rollover || self.len > MAX_FILE) {
            out.push((self.tid?, error(3, "File too large")));
            return Some(Ended::TooLarge { block_size });
        }
        self.expected = block.wrapping_add(1);
        self.unacknowledged += 1;
        if !full || self.unacknowledged >= agreed.window {
            self.acknowledge(block, now, out);
        }
        (!full).then(|| self.complete(agreed, notes))
    }

    /// A block that came again, or one before which another was lost.
    fn unexpected(
        &mut self,
        block: u16,
        window: u16,
        now: Duration,
        notes: &mut Notes,
        out: &mut Out,
    ) {
        notes.numbers.repeated_data += 1;
        let ahead = block.wrapping_sub(self.expected);
        let is_early = ahead < 0x8000;
        if is_early && ahead >= window {
            notes.violation(Violation::BlockTooEarly {
                path: self.path.clone(),
                block,
                expected: self.expected,
            });
        } else if window > 1 {
            // Mtftp4RrqHandleData in EDK2: whatever comes out of turn is answered with what came last in turn.
            self.acknowledge(self.expected.wrapping_sub(1), now, out);
        } else if block.wrapping_add(1) == self.expected && self.len > 0 {
            // That before: its ACK was lost. Before block 1 there is block 0, and in a small file none.
            self.acknowledge(block, now, out);
        }
    }

    /// Ends the transfer at the server.
    fn stop(&self, out: &mut Out) {
        let (code, text) = self.manner.stop;
        out.extend(self.tid.map(|tid| (tid, error(code, text))));
    }

    fn keep(&mut self, data: &[u8]) {
        self.len += data.len() as u64;
        self.digest = digest_on(self.digest, data);
        let most = self.manner.keep.clamp(MAX_TEXT, MAX_KEPT);
        match &mut self.bytes {
            Some(bytes) if bytes.len() + data.len() <= most => bytes.extend_from_slice(data),
            bytes => *bytes = None,
        }
    }

    fn complete(&mut self, agreed: Agreed, notes: &mut Notes) -> Ended {
        let got = self.len;
        if let Some(said) = agreed.tsize.filter(|&said| said != got) {
            let path = self.path.clone();
            notes.violation(Violation::Tsize { path, said, got });
        }
        Ended::File(File {
            len: got,
            digest: self.digest,
            bytes: self.bytes.take().map(Into::into),
        })
    }

    fn refused(&self, code: u16, text: &[u8], notes: &mut Notes) -> Ended {
        if code == 1 {
            return Ended::Absent;
        }
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        let text = String::from_utf8_lossy(text).into_owned();
        notes.violation(Violation::ErrorCode {
            path: self.path.clone(),
            code,
            text: text.clone(),
        });
        Ended::Refused { code, text }
    }

    fn acknowledge(&mut self, block: u16, now: Duration, out: &mut Out) {
        let [hi, lo] = block.to_be_bytes();
        self.last = vec![0, 4, hi, lo];
        self.unacknowledged = 0;
        self.again_at = now + self.manner.ack_again;
        if let Some(tid) = self.tid {
            out.push((tid, self.last.clone()));
        }
    }
}

/// A read request; the order of options is the firmware's.
fn request(path: &str, manner: Manner) -> Vec<u8> {
    let mut request = vec![0, 1];
    let mut text = |text: &str| {
        request.extend_from_slice(text.as_bytes());
        request.push(0);
    };
    text(path);
    text("octet");
    if manner.tsize {
        text("tsize");
        text("0");
    }
    if let Some(size) = manner.block_size {
        text("blksize");
        text(&size.to_string());
    }
    if let Some(size) = manner.window {
        text("windowsize");
        text(&size.to_string());
    }
    request
}

fn error(code: u8, text: &str) -> Vec<u8> {
    let mut error = vec![0, 5, 0, code];
    error.extend_from_slice(text.as_bytes());
    error.push(0);
    error
}

#[cfg(test)]
mod tests;
