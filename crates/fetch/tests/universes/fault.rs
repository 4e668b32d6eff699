//! What can be wrong with an answer, what it may cost, and what a worker says about it.

use ramboot_fetch::engine::STREAMS;
use ramboot_wire::CHUNK_BYTES;

/// What goes wrong with one answer. Places are taken modulo the length of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    // Allowed: costs nothing.
    /// The whole answer, in pieces, with pauses.
    Slow,
    /// HTTP/1.0, and the connection is closed after the body.
    Http10,
    /// `Connection: close`.
    SaysClose,
    /// 503 with these values of `Retry-After` and `ramboot-queue`: it is not the worker's turn.
    Busy {
        after: &'static str,
        place: &'static str,
    },

    // Seen in the head: costs a request.
    /// Another status, without a body.
    Status(u16),
    /// A status with a `Location` where the true bytes are.
    Redirect(u16),
    /// `Content-Range` names the bytes after those asked for.
    WrongRange,
    /// `Content-Range` names another size of the file.
    WrongTotal,
    /// 206 without `Content-Range`.
    NoContentRange,
    /// `Content-Length` is one too many; one byte more comes.
    Longer,
    /// `Content-Length` is one too few, and so are the bytes.
    Shorter,
    /// Two `Content-Length`s, the first one right.
    TwoLengths,
    /// No `Content-Length`: the body ends with the connection.
    NoLength,
    /// 200 and the whole file for a range of it.
    NoRange,
    /// A transfer coding.
    Chunked,
    /// A content coding.
    Gzip,
    /// Not HTTP.
    Garbage,
    /// A head without end.
    EndlessHead,
    /// Closed in the middle of the head.
    CutHead,
    /// Closed without an answer.
    Close,
    /// Open, and nothing comes.
    Silent,

    // Seen in the body: costs a request and the bytes of the chunk that was on its way.
    /// The connection is closed after this many bytes.
    Truncate { at: usize },
    /// The same with RST.
    Reset { at: usize },
    /// Nothing comes after this many bytes.
    Stall { at: usize },
    /// A byte now and then.
    Trickle,
    /// One bit of this byte is wrong.
    Flip { at: usize },

    // Seen by later requests.
    /// Closed after the body, without a word.
    Hangup,
    /// A forged answer follows the body, and nothing after it.
    Early,
    /// Closed without an answer, and the next connections are reset.
    Vanish { connections: u64 },
    /// All connections are closed, and none is taken for a while.
    Away { ms: u64 },
}

/// At most this much is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    /// Requests; `None` where nobody can count them.
    pub(crate) retries: Option<u64>,
}

impl Fault {
    pub(crate) const fn cost(self) -> Cost {
        let streams = STREAMS as u64;
        let (bytes, retries) = match self {
            Self::Slow | Self::Http10 | Self::SaysClose | Self::Busy { .. } => (0, Some(0)),
            Self::Truncate { .. }
            | Self::Reset { .. }
            | Self::Stall { .. }
            | Self::Trickle
            | Self::Flip { .. } => (CHUNK_BYTES, Some(1)),
            Self::Vanish { connections } => (0, Some(1 + connections)),
            // What the other streams were about is lost, too.
            Self::Away { .. } => (streams * CHUNK_BYTES, None),
            _ => (0, Some(1)),
        };
        Cost { bytes, retries }
    }

    /// Without its numbers.
    pub(crate) fn name(self) -> String {
        let all = format!("{self:?}");
        let end = all.find(|c: char| !c.is_alphanumeric());
        all[..end.unwrap_or(all.len())].to_owned()
    }

    /// Whether it changes anything about an answer: with the chunk list, or with a file asked for as a whole, there
    /// is no range to be wrong about.
    pub(crate) const fn applies(self, to_range: bool, to_whole: bool) -> bool {
        match self {
            Self::WrongRange | Self::WrongTotal | Self::NoContentRange => to_range,
            Self::NoRange => to_range && !to_whole,
            _ => true,
        }
    }

    /// The answer is a good one all the same.
    pub(crate) const fn is_good(self) -> bool {
        matches!(
            self,
            Self::Slow | Self::Http10 | Self::SaysClose | Self::Hangup | Self::Early
        )
    }

    /// Takes as long as the worker is patient.
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::Silent | Self::Stall { .. } | Self::Trickle)
    }

    /// What a worker says that suffers from it for ever.
    pub(crate) fn reason(self, list: bool) -> String {
        match self {
            Self::Busy { .. } => "waiting for our turn".into(),
            Self::Status(status) | Self::Redirect(status) => {
                format!("answered with status {status}")
            }
            Self::WrongRange | Self::WrongTotal | Self::NoContentRange => "Content-Range is".into(),
            Self::Longer | Self::Shorter | Self::TwoLengths | Self::NoLength => {
                "Content-Length is".into()
            }
            Self::NoRange => "does not know Range".into(),
            Self::Chunked | Self::Gzip => "the body is encoded".into(),
            Self::Garbage | Self::EndlessHead => "the answer is not HTTP/1.1".into(),
            Self::CutHead | Self::Close | Self::Silent => "asking for /images/".into(),
            Self::Truncate { .. } => "connection closed after".into(),
            Self::Reset { .. } => "Connection reset by peer".into(),
            Self::Stall { .. } | Self::Trickle => "stalled for".into(),
            Self::Flip { .. } if list => "chunk list belongs to image".into(),
            Self::Flip { .. } => " does not match ".into(),
            other => panic!("{other:?} is never for ever"),
        }
    }
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 30;

/// A server that cannot be connected to.
pub(crate) const REFUSED: &str = "connecting: Connection refused";
