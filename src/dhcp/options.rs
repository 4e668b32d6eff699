//! The options of a packet, wherever they stand: the options field, then `file` and `sname` where option 52 says that they
//! hold options, too (RFC 2131 §4.1). Parts of one option belong together in that order (RFC 3396 §7).
//!
//! They are read one by one, so an option that makes no sense cannot hide the ones behind it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ignore_reason::Why;

const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;
const COOKIE: Range<usize> = 236..240;
/// RFC 2131 §3.
const MAGIC: [u8; 4] = [99, 130, 83, 99];

const PAD: u8 = 0;
const OVERLOAD: u8 = 52;
const END: u8 = 255;

/// By code, the parts of each option in their order.
#[derive(Debug, Default)]
pub(super) struct Options<'a>(BTreeMap<u8, Vec<&'a [u8]>>);

impl<'a> Options<'a> {
    /// Reads a packet; none without the magic cookie.
    pub(super) fn read(packet: &'a [u8]) -> Self {
        let mut options = Self::default();
        if packet.get(COOKIE) != Some(&MAGIC) {
            return options;
        }
        options.field(packet.get(COOKIE.end..));
        let overload = options.0.get(&OVERLOAD).and_then(|parts| parts.first());
        let (file, sname) = match overload {
            Some([1]) => (true, false),
            Some([2]) => (false, true),
            Some([3]) => (true, true),
            _ => (false, false),
        };
        if file {
            options.field(packet.get(FILE));
        }
        if sname {
            options.field(packet.get(SNAME));
        }
        options
    }

    /// Up to the end option, or what does not fit.
    fn field(&mut self, field: Option<&'a [u8]>) {
        let mut rest = field.unwrap_or_default();
        loop {
            match rest {
                [PAD, tail @ ..] => rest = tail,
                [] | [END, ..] | [_] => return,
                [code, len, tail @ ..] => {
                    let Some((data, next)) = tail.split_at_checked(usize::from(*len)) else {
                        return;
                    };
                    self.0.entry(*code).or_default().push(data);
                    rest = next;
                }
            }
        }
    }

    /// All of an option.
    pub(super) fn whole(&self, code: u8) -> Option<Vec<u8>> {
        self.0.get(&code).map(|parts| parts.concat())
    }

    /// An option of `N` bytes. One that is there twice and was not split counts as it stands first.
    ///
    /// # Errors
    /// It has another length.
    pub(super) fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Why> {
        let Some(parts) = self.0.get(&code) else {
            return Ok(None);
        };
        if let Some(first) = parts.first().and_then(|first| (*first).try_into().ok()) {
            return Ok(Some(first));
        }
        let whole = parts.concat();
        let len = whole.len();
        let fits = whole.try_into().map_err(|_| Why::BadOption { code, len })?;
        Ok(Some(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sname: &[u8], file: &[u8], options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; COOKIE.start];
        packet[SNAME][..sname.len()].copy_from_slice(sname);
        packet[FILE][..file.len()].copy_from_slice(file);
        packet.extend(MAGIC);
        packet.extend(options);
        packet
    }

    #[test]
    fn where_options_stand() {
        let whole = |packet: &[u8], code| Options::read(packet).whole(code);
        let in_sname = [12, 1, b'c', 255, 12, 1, b'x'];
        let in_file = [0, 12, 1, b'b', 61, 2, 1, 2, 255];
        let name = |text: &str| Some(text.as_bytes().to_vec());
        for (overload, want, id) in [
            (None, "a", None),
            (Some(0), "a", None),
            (Some(1), "ab", Some(vec![1, 2])),
            (Some(2), "ac", None),
            // RFC 3396 §5: options, file, sname.
            (Some(3), "abc", Some(vec![1, 2])),
            (Some(4), "a", None),
        ] {
            let mut options = vec![12, 1, b'a', 0];
            options.extend(overload.iter().flat_map(|value| [OVERLOAD, 1, *value]));
            options.push(END);
            let packet = packet(&in_sname, &in_file, &options);
            assert_eq!(whole(&packet, 12), name(want), "{overload:?}");
            assert_eq!(whole(&packet, 61), id, "{overload:?}");
        }
        // Only the options field says so.
        let nested = packet(&in_sname, &[OVERLOAD, 1, 2, 255], &[OVERLOAD, 1, 1, 255]);
        assert_eq!(whole(&nested, 12), None);
        let mut other = packet(&[], &[], &[12, 1, b'a', 255]);
        other[COOKIE.start] = 0;
        assert_eq!(whole(&other, 12), None, "no magic cookie");
    }

    #[test]
    fn split_options_are_one() {
        let fixed = |options: &[u8]| Options::read(&packet(&[], &[], options)).fixed::<4>(50);
        let split = [50, 2, 10, 0, 12, 1, b'a', 50, 2, 0, 9, 255];
        assert_eq!(fixed(&split), Ok(Some([10, 0, 0, 9])));
        let twice = [50, 4, 10, 0, 0, 9, 50, 4, 10, 0, 0, 8, 255];
        assert_eq!(fixed(&twice), Ok(Some([10, 0, 0, 9])));
        let long = [50, 3, 10, 0, 0, 50, 2, 0, 9, 255];
        assert_eq!(fixed(&long), Err(Why::BadOption { code: 50, len: 5 }));
        assert_eq!(fixed(&[255]), Ok(None));
    }

    /// An option, cut anywhere, and in which field each part stands.
    fn written(value: &[u8], cuts: &[(usize, u8)]) -> Option<Vec<u8>> {
        let mut fields: [Vec<u8>; 3] = [vec![OVERLOAD, 1, 3], Vec::new(), Vec::new()];
        let mut rest = value;
        let mut cuts: Vec<_> = cuts.to_vec();
        cuts.sort_by_key(|(_, field)| *field);
        for (at, field) in cuts {
            let (part, tail) = rest.split_at(at.min(rest.len()));
            fields[usize::from(field)].extend([61, u8::try_from(part.len()).ok()?]);
            fields[usize::from(field)].extend(part);
            rest = tail;
        }
        let fits = rest.is_empty() && fields[1].len() < FILE.len() && fields[2].len() < SNAME.len();
        fields.iter_mut().for_each(|field| field.push(END));
        fits.then(|| packet(&fields[2], &fields[1], &fields[0]))
    }

    proptest! {
        #[test]
        fn whatever_is_split_is_read_as_it_was(
            value in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec((0_usize..120, 0_u8..3), 0..8),
        ) {
            if let Some(packet) = written(&value, &cuts) {
                let want = (!cuts.is_empty()).then_some(value);
                prop_assert_eq!(Options::read(&packet).whole(61), want);
            }
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..700),
            overload in 0_u8..5,
        ) {
            let mut bytes = bytes;
            if bytes.len() > COOKIE.end + 3 {
                bytes[COOKIE].copy_from_slice(&MAGIC);
                bytes[COOKIE.end..COOKIE.end + 3].copy_from_slice(&[OVERLOAD, 1, overload]);
            }
            let options = Options::read(&bytes);
            let read: usize = options.0.values().flatten().map(|part| part.len()).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
