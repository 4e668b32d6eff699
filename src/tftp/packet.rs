//! Datagrams: what clients send is parsed once, here; what the server sends is written here.
//!
//! Nothing is believed: a request has at most 512 bytes, a name at most 200, an option that is unknown or no number is
//! as if it were not there (RFC 2347). Parsing keeps one string, the name.

/// What fits into an Ethernet frame (1 500 − IPv4 20 − UDP 8 − TFTP 4): ROMs do not reassemble fragments.
pub const MAX_BLOCK_BYTES: u16 = 1468;
/// RFC 2347: "The maximum size of a request packet is 512 octets."
pub const MAX_REQUEST_BYTES: usize = 512;
/// Longer than any name a boot ROM has room for (BOOTP's `file` has 128 bytes).
pub const MAX_NAME_BYTES: usize = 200;
/// Opcode and block number.
const HEADER_BYTES: usize = 4;
/// Room for each datagram of this server.
pub type Buffer = [u8; HEADER_BYTES + MAX_BLOCK_BYTES as usize];

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ
    Read(Request),
    /// ACK of this block, modulo 65 536.
    Ack(u16),
    /// ERROR
    Error {
        /// RFC 1350 §5; 8 is RFC 2347's.
        code: u16,
        /// As it came, without the NUL at its end.
        text: &'a [u8],
    },
}

/// A read request in mode octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// See [`normalise`].
    pub name: String,
    /// What it asked for beside that.
    pub options: Options,
}

/// Options as asked for, not yet judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// RFC 2349; the number a client puts there says nothing.
    pub tsize: bool,
    /// RFC 2348, bytes.
    pub blksize: Option<u64>,
    /// RFC 7440, blocks.
    pub windowsize: Option<u64>,
    /// RFC 2349, seconds.
    pub timeout: Option<u64>,
}

/// Why a datagram is not a [`Packet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No opcode, or less than the opcode demands.
    #[error("{0} bytes are too few for a TFTP packet")]
    Short(usize),
    /// DATA and OACK are a server's here; others do not exist.
    #[error("opcode {0} is not a client's")]
    Opcode(u16),
    /// WRQ
    #[error("it wants to write")]
    Write,
    /// More than [`MAX_REQUEST_BYTES`].
    #[error("a request has more than {MAX_REQUEST_BYTES} bytes")]
    Long,
    /// Name or mode lacks its NUL.
    #[error("a request ends before its mode does")]
    Unfinished,
    /// RFC 1350's `netascii`, which would change the bytes of a boot file; its `mail`, or something that never was a mode.
    #[error("mode \"{0}\" is not octet")]
    Mode(String),
    /// See [`normalise`].
    #[error(
        "name \"{0}\" is empty, over {MAX_NAME_BYTES} bytes, not text or has \"..\" or control characters"
    )]
    Name(String),
}

impl Unreadable {
    /// What its sender is told. Nothing, if it was no request: an ERROR must not be answered by one (RFC 1350 §7).
    #[must_use]
    pub const fn answer(&self) -> Option<Refusal> {
        match self {
            Self::Short(_) | Self::Opcode(_) => None,
            Self::Write => Some(Refusal::ReadOnly),
            Self::Long | Self::Unfinished => Some(Refusal::Illegal),
            Self::Mode(_) => Some(Refusal::Mode),
            Self::Name(_) => Some(Refusal::NotFound),
        }
    }
}

/// Reads what a client sent.
///
/// # Errors
/// It is none of a client's packets, or a request this server never fulfils.
pub fn parse(datagram: &[u8]) -> Result<Packet<'_>, Unreadable> {
    let short = || Unreadable::Short(datagram.len());
    let (opcode, rest) = datagram.split_first_chunk().ok_or_else(short)?;
    let number = || {
        rest.first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
            .ok_or_else(short)
    };
    match u16::from_be_bytes(*opcode) {
        RRQ if datagram.len() > MAX_REQUEST_BYTES => Err(Unreadable::Long),
        RRQ => request(rest).map(Packet::Read),
        WRQ => Err(Unreadable::Write),
        ACK => number().map(Packet::Ack),
        ERROR => {
            let code = number()?;
            let text = rest.get(2..).unwrap_or_default();
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok(Packet::Error { code, text })
        }
        other => Err(Unreadable::Opcode(other)),
    }
}

fn request(mut rest: &[u8]) -> Result<Request, Unreadable> {
    let mut word = || {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (word, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        Some(word)
    };
    let name = word().ok_or(Unreadable::Unfinished)?;
    let mode = word().ok_or(Unreadable::Unfinished)?;
    if !mode.eq_ignore_ascii_case(b"octet") {
        return Err(Unreadable::Mode(mode.escape_ascii().to_string()));
    }
    let name = normalise(name).ok_or_else(|| Unreadable::Name(name.escape_ascii().to_string()))?;
    let mut options = Options::default();
    // What comes twice counts once (RFC 2347); what has no value ends the list.
    while let (Some(option), Some(value)) = (word(), word()) {
        match option.to_ascii_lowercase().as_slice() {
            b"tsize" => options.tsize = true,
            b"blksize" => options.blksize = options.blksize.or_else(|| decimal(value)),
            b"windowsize" => options.windowsize = options.windowsize.or_else(|| decimal(value)),
            b"timeout" => options.timeout = options.timeout.or_else(|| decimal(value)),
            _ => {}
        }
    }
    Ok(Request { name, options })
}

fn decimal(text: &[u8]) -> Option<u64> {
    // str::parse would take a sign.
    let digits = text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok())?
}

/// A name as all parts of the manager know it, `None` if nobody could mean a file by it.
///
/// Leading slashes go (many ROMs send one), doubled ones become one (a Pi 5 asks for `5b154510//config.txt`), `\` is `/`
/// (BIOS ROMs that were made for Windows servers). No `..`, no control characters, at most [`MAX_NAME_BYTES`].
#[must_use]
pub fn normalise(name: &[u8]) -> Option<String> {
    let text = str::from_utf8(name).ok()?;
    let mut normal = String::new();
    for c in text.chars().map(|c| if c == '\\' { '/' } else { c }) {
        if c.is_control() {
            return None;
        }
        if c != '/' || !(normal.is_empty() || normal.ends_with('/')) {
            normal.push(c);
        }
    }
    let fits = !normal.is_empty() && normal.len() <= MAX_NAME_BYTES;
    (fits && normal.split('/').all(|part| part != "..")).then_some(normal)
}

/// What the server accepted of a client's options; only what was asked for may be said (RFC 2347).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Bytes of the file.
    pub tsize: Option<u64>,
    /// Bytes of a block.
    pub blksize: Option<u16>,
    /// Blocks of a window.
    pub windowsize: Option<u16>,
    /// Seconds between retransmissions.
    pub timeout: Option<u16>,
}

impl Accepted {
    /// Nothing was asked for, or nothing of it is known: no OACK is sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                tsize: None,
                blksize: None,
                windowsize: None,
                timeout: None
            }
        )
    }
}

/// An OACK, in the order in which a Raspberry Pi asks.
pub fn oack<'b>(accepted: &Accepted, buffer: &'b mut Buffer) -> &'b [u8] {
    let options = [
        ("tsize", accepted.tsize),
        ("blksize", accepted.blksize.map(u64::from)),
        ("windowsize", accepted.windowsize.map(u64::from)),
        ("timeout", accepted.timeout.map(u64::from)),
    ];
    let mut bytes = OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        if let Some(value) = value {
            bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
    }
    // Four names and numbers are less than 120 bytes.
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    &buffer[..len]
}

/// A DATA packet of `block` modulo 65 536, whose `len` bytes of content are in their [`place`] already.
pub fn data(block: u64, len: usize, buffer: &mut Buffer) -> &[u8] {
    buffer[..2].copy_from_slice(&DATA.to_be_bytes());
    buffer[2..HEADER_BYTES].copy_from_slice(&number(block).to_be_bytes());
    &buffer[..HEADER_BYTES + len.min(usize::from(MAX_BLOCK_BYTES))]
}

/// Where the content of a DATA packet stands.
pub fn place(size: u16, buffer: &mut Buffer) -> &mut [u8] {
    let size = usize::from(size.min(MAX_BLOCK_BYTES));
    &mut buffer[HEADER_BYTES..HEADER_BYTES + size]
}

/// A block's number on the wire: after 65 535 comes 0, as all clients that go on at all expect it.
#[must_use]
pub const fn number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The ERROR packets of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Code 1: a Raspberry Pi takes that, and nothing else, for "there is none" and goes on at once.
    NotFound,
    /// Code 4, RFC 1350's for what is not possible at all.
    ReadOnly,
    /// Code 4 as well.
    Illegal,
    /// Code 4: of RFC 1350's modes there is one here. Programs for people (tftp-hpa's, BSD's) ask in netascii unless they are told
    /// otherwise, and show this sentence.
    Mode,
    /// Code 0: our disk.
    Unreadable,
    /// Code 0: a Raspberry Pi asks again after 5 s.
    Busy,
}

impl Refusal {
    /// The packet.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let (code, text) = match self {
            Self::NotFound => (1_u16, "File not found"),
            Self::ReadOnly => (4, "This server is read-only"),
            Self::Illegal => (4, "Illegal TFTP operation"),
            Self::Mode => (
                4,
                "Files are sent in mode octet only: ask for mode octet (binary)",
            ),
            Self::Unreadable => (0, "The server cannot read this file, its log says why"),
            Self::Busy => (0, "Busy, ask again"),
        };
        let mut bytes = ERROR.to_be_bytes().to_vec();
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes
    }
}

#[cfg(test)]
mod tests;
