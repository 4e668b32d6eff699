//! A universe: an image and the servers that say they have it. All of it follows from its seed.

use std::fmt;

use ramboot_wire::image::CHUNK_LEN;

use crate::chance::Chance;
use crate::fault::Fault;
use crate::image::MAX_CHUNKS;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Universe {
    pub(crate) seed: u64,
    /// Bytes of the image.
    pub(crate) size: usize,
    /// The chunk list is asked for first; else the worker has it already, as when all servers fail after that.
    pub(crate) with_list: bool,
    pub(crate) servers: Vec<Script>,
}

/// What one server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// One for each request it applies to, in this order.
    pub(crate) faults: Vec<Fault>,
    /// And then, for ever.
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Honest,
    /// Refuses connections.
    Dead,
    Always(Fault),
}

impl Universe {
    pub(crate) fn new(seed: u64) -> Self {
        let chance = &mut Chance::new(seed);
        let size = size(chance);
        let mut servers: Vec<Script> = (0..=chance.below(3)).map(|_| script(chance)).collect();
        if !chance.one_in(4) {
            let one = chance.below(servers.len());
            servers[one].end = End::Honest;
        }
        let honest = servers.iter().any(|server| server.end == End::Honest);
        let most_good = if honest { usize::MAX } else { too_few(size) };
        let (mut slow, mut good) = (0, 0);
        for fault in servers.iter_mut().flat_map(|server| &mut server.faults) {
            slow += usize::from(fault.is_slow());
            good += usize::from(fault.is_good());
            if fault.is_slow() && slow > MAX_SLOW || fault.is_good() && good > most_good {
                *fault = Fault::Close;
            }
        }
        Self {
            seed,
            size,
            with_list: chance.one_in(2),
            servers,
        }
    }

    /// It takes as long as a worker is patient.
    pub(crate) fn is_slow(&self) -> bool {
        self.servers.iter().any(|server| {
            matches!(server.end, End::Always(fault) if fault.is_slow())
                || server.faults.iter().any(|fault| fault.is_slow())
        })
    }

    /// All that differ in one thing less.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for (i, server) in self.servers.iter().enumerate() {
            if self.servers.len() > 1 {
                let mut less = self.clone();
                less.servers.remove(i);
                all.push(less);
            }
            for j in 0..server.faults.len() {
                let mut less = self.clone();
                less.servers[i].faults.remove(j);
                all.push(less);
            }
        }
        if self.size > CHUNK_LEN {
            let mut less = self.clone();
            less.size = self.size - CHUNK_LEN;
            all.push(less);
        }
        all
    }
}

impl fmt::Display for Universe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.with_list { "and" } else { "without" };
        write!(f, "{} bytes {list} their chunk list from", self.size)?;
        self.servers.iter().enumerate().try_for_each(|(i, server)| {
            write!(
                f,
                "\n  base {i}: {:?}, then {:?}",
                server.faults, server.end
            )
        })
    }
}

fn size(chance: &mut Chance) -> usize {
    let chunks = match chance.below(20) {
        0 => 0,
        1 => 16 + chance.below(MAX_CHUNKS - 16),
        _ => 1 + chance.below(5),
    };
    let any = 1 + chance.below(CHUNK_LEN);
    chunks * CHUNK_LEN + chance.pick(&[1, 1023, 1024, CHUNK_LEN - 1, CHUNK_LEN, any, any])
}

/// So many good answers do not make an image of this size, if a worker shares it among its streams: it asks for at
/// most two chunks at a time until there are many.
fn too_few(size: usize) -> usize {
    ((size.div_ceil(CHUNK_LEN) - 1) / 2).min(7)
}

fn script(chance: &mut Chance) -> Script {
    let count = chance.pick(&[0, 0, 1, 1, 2, 3, 4, 6]);
    let faults = (0..count).map(|_| fault(chance)).collect();
    let end = match chance.below(10) {
        0..4 => End::Honest,
        4..6 => End::Dead,
        // The commonest lie is the one digests are for.
        6 => End::Always(Fault::Flip {
            at: chance.below(CHUNK_LEN),
        }),
        _ => End::Always(lasting(chance)),
    };
    Script { faults, end }
}

/// A fault that ends no request well, however often it is repeated.
fn lasting(chance: &mut Chance) -> Fault {
    loop {
        let fault = fault(chance);
        if !fault.is_good() && !matches!(fault, Fault::Vanish { .. } | Fault::Away { .. }) {
            return fault;
        }
    }
}

fn fault(chance: &mut Chance) -> Fault {
    let any = chance.below(4 * CHUNK_LEN);
    let at = chance.pick(&[0, 1, CHUNK_LEN - 1, CHUNK_LEN, any, any, any]);
    if chance.one_in(150) {
        return chance.pick(&[Fault::Silent, Fault::Stall { at }, Fault::Trickle]);
    }
    let status = chance.pick(&[204, 304, 400, 403, 404, 416, 429, 500, 502, 503, 999]);
    let redirect = chance.pick(&[301, 302, 303, 307, 308]);
    let after = chance.pick(&RETRY_AFTER);
    let place = chance.pick(&["3/17", "1/1", "4/3", "0/0", "", "3 of 17", "1/4294967296"]);
    let connections = 1 + chance.next() % 6;
    let ms = 1 + chance.next() % 30;
    chance.pick(&[
        Fault::Slow,
        Fault::Http10,
        Fault::SaysClose,
        Fault::Busy { after, place },
        Fault::Busy { after, place },
        Fault::Status(status),
        Fault::Redirect(redirect),
        Fault::WrongRange,
        Fault::WrongTotal,
        Fault::NoContentRange,
        Fault::Longer,
        Fault::Shorter,
        Fault::TwoLengths,
        Fault::NoLength,
        Fault::NoRange,
        Fault::Chunked,
        Fault::Gzip,
        Fault::Garbage,
        Fault::EndlessHead,
        Fault::CutHead,
        Fault::Close,
        Fault::Truncate { at },
        Fault::Truncate { at },
        Fault::Reset { at },
        Fault::Reset { at },
        Fault::Flip { at },
        Fault::Flip { at },
        Fault::Flip { at },
        Fault::Hangup,
        Fault::Early,
        Fault::Vanish { connections },
        Fault::Away { ms },
    ])
}

/// What is honest, what is old, and what would stop a worker that believed it.
const RETRY_AFTER: [&str; 9] = [
    "0",
    "1",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999999999",
    "-1",
    "1e9",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "",
];
/// Each costs the patience of a stream.
const MAX_SLOW: usize = 2;
