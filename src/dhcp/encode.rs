//! A message as bytes that its client takes: the options in the order that ROMs know, option 82 once and last (RFC 3046
//! §2.2), and no more bytes than option 57 allows. Where they do not fit, they stand in `sname` and `file` as well (option
//! overload, RFC 2131 §4.1), and the least important ones are left out.

/// Fixed fields and magic cookie.
const OPTIONS_AT: usize = 240;
/// Where `sname` begins; 64 bytes.
const SNAME_AT: usize = 44;
const SNAME_BYTES: usize = 64;
/// Where `file` begins; 128 bytes.
const FILE_AT: usize = 108;
const FILE_BYTES: usize = 128;

/// RFC 951 has 64 bytes where the options stand today; relays and old ROMs drop what is shorter (RFC 1542 §2.1).
const MIN_BYTES: usize = 300;
/// A relay's words may make a packet longer than the client takes, as the relay takes them out (RFC 3046 §2.1), but no
/// longer than an Ethernet does.
const MAX_BYTES: usize = 1_472;

const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const RELAY: u8 = 82;
const END: u8 = 255;

/// The most important options first. Without the first nine no machine gets an address or boots; renewal times (58, 59) are
/// what a client assumes anyway.
const BY_IMPORTANCE: [u8; 14] = [
    MESSAGE_TYPE,
    54,
    51,
    1,
    60,
    43,
    67,
    175,
    3,
    97,
    61,
    6,
    58,
    59,
];
const ESSENTIAL: usize = 9;

/// An option as it stands in a packet; a long one in several parts (RFC 3396).
#[derive(Debug, Clone)]
struct Written {
    code: u8,
    bytes: Vec<u8>,
}

/// `encoded` has the fixed fields and all options but 82, which is `relay`. At most `limit` bytes; more only if `relay` leaves
/// no room for what the client needs.
pub(super) fn fit(encoded: Vec<u8>, relay: Option<&[u8]>, limit: usize) -> Vec<u8> {
    let relay = relay.map_or_else(Vec::new, |info| written(RELAY, info));
    let options = in_order(&encoded);
    let length: usize = options.iter().map(|option| option.bytes.len()).sum();
    let mut fixed = encoded;
    fixed.truncate(OPTIONS_AT);
    let taken = OPTIONS_AT + relay.len() + 1;
    let mut packet = if taken + length <= limit {
        let mut packet = fixed;
        options
            .iter()
            .for_each(|option| packet.extend(&option.bytes));
        packet
    } else {
        squeeze(&fixed, &options, limit.saturating_sub(taken)).unwrap_or_else(|| {
            let room = limit
                .saturating_sub(OPTIONS_AT + 1)
                .min(MAX_BYTES.saturating_sub(taken));
            squeeze(&fixed, &options, room).unwrap_or(fixed)
        })
    };
    packet.extend(relay);
    packet.push(END);
    if packet.len() < MIN_BYTES {
        packet.resize(MIN_BYTES, 0);
    }
    packet
}

/// Every server puts the message type first, and a ROM's parser may never have seen it elsewhere. The others as they are.
fn in_order(encoded: &[u8]) -> Vec<Written> {
    let mut options: Vec<Written> = Vec::new();
    let mut rest = encoded.get(OPTIONS_AT..).unwrap_or_default();
    while let [code, len, tail @ ..] = rest {
        let Some(next) = tail.get(usize::from(*len)..).filter(|_| *code != END) else {
            break;
        };
        let part = &rest[..rest.len() - next.len()];
        match options.last_mut().filter(|last| last.code == *code) {
            Some(last) => last.bytes.extend(part),
            None => options.push(Written {
                code: *code,
                bytes: part.to_vec(),
            }),
        }
        rest = next;
    }
    options.sort_by_key(|option| option.code != MESSAGE_TYPE);
    options
}

/// An option's code, length and data, in parts of at most 255 bytes.
fn written(code: u8, data: &[u8]) -> Vec<u8> {
    let part = |part: &[u8]| {
        let len = u8::try_from(part.len()).unwrap_or(u8::MAX);
        [&[code, len], part].concat()
    };
    if data.is_empty() {
        return part(&[]);
    }
    data.chunks(u8::MAX.into()).flat_map(part).collect()
}

/// A place for options.
#[derive(Debug)]
struct Field {
    room: usize,
    bytes: Vec<u8>,
}

impl Field {
    const fn new(room: usize) -> Self {
        Self {
            room,
            bytes: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.room;
        if fits {
            self.bytes.extend(bytes);
        }
        fits
    }
}

/// The fixed fields and as many of the options as fit into `room` bytes and the two fields, the most important first. Not a
/// packet if one of those is left out without which there is no sense in it.
fn squeeze(fixed: &[u8], options: &[Written], room: usize) -> Option<Vec<u8>> {
    // The file's name is what a machine boots; the server's name stands in siaddr, too.
    let named = fixed.get(FILE_AT).is_some_and(|first| *first != 0);
    let file_room = if named { 0 } else { FILE_BYTES - 1 };
    let mut fields = [
        Field::new(room.checked_sub(3)?),
        Field::new(file_room),
        Field::new(SNAME_BYTES - 1),
    ];
    for (rank, code) in BY_IMPORTANCE.into_iter().enumerate() {
        let Some(option) = options.iter().find(|option| option.code == code) else {
            continue;
        };
        let fits = fields.iter_mut().any(|field| field.take(&option.bytes));
        if !fits && rank < ESSENTIAL {
            return None;
        }
    }
    let [main, file, sname] = fields;
    let overload = u8::from(!file.bytes.is_empty()) + 2 * u8::from(!sname.bytes.is_empty());
    let mut packet = fixed.to_vec();
    for (field, at, bytes) in [(file, FILE_AT, FILE_BYTES), (sname, SNAME_AT, SNAME_BYTES)] {
        if !field.bytes.is_empty() {
            let place = &mut packet[at..at + bytes];
            place.fill(0);
            place[..field.bytes.len()].copy_from_slice(&field.bytes);
            place[field.bytes.len()] = END;
        }
    }
    packet.extend(main.bytes);
    if overload != 0 {
        packet.extend([OVERLOAD, 1, overload]);
    }
    Some(packet)
}
