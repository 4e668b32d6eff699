//! Numbers in a header's block: octal digits (POSIX.1-2017 pax, "ustar Interchange Format"), or base-256, GNU's and star's form
//! for what octal cannot say: the first bit set, then a number in two's complement.

use std::ops::Range;

use super::BLOCK;

/// Where the fields are.
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const MAJOR: Range<usize> = 329..337;
pub(super) const MINOR: Range<usize> = 337..345;

/// A field's number. An empty one is 0, as all programs that read tar take it; `None`: it is none.
pub(super) fn number(block: &[u8; BLOCK], field: Range<usize>) -> Option<i128> {
    let field = block.get(field)?;
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign.
        let high = i128::from(first & 0x3f) - i128::from(first & 0x40);
        let more = |number, byte: &u8| number * 256 + i128::from(*byte);
        return Some(rest.iter().fold(high, more));
    }
    let blanks = field.iter().take_while(|byte| **byte == b' ').count();
    let text = field.get(blanks..)?;
    let digits = text.iter().take_while(|byte| matches!(**byte, b'0'..=b'7'));
    let digits = digits.count();
    if !matches!(text.get(digits), None | Some(b' ' | 0)) {
        return None;
    }
    let more = |number, byte: &u8| number * 8 + i128::from(*byte - b'0');
    Some(text.iter().take(digits).fold(0, more))
}

/// The same, as one that cannot be negative.
pub(super) fn unsigned<T: TryFrom<i128>>(block: &[u8; BLOCK], field: Range<usize>) -> Option<T> {
    T::try_from(number(block, field)?).ok()
}

/// Whether the checksum is that of the block, its own bytes counted as spaces. Old archivers summed signed bytes.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    let mut unsigned = 0;
    let mut signed = 0;
    for (at, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
        unsigned += i128::from(byte);
        signed += i128::from(byte.cast_signed());
    }
    // Bytes that are not digits must not pass for the sum of nothing.
    number(block, CHECKSUM).is_some_and(|kept| kept != 0 && (kept == unsigned || kept == signed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(bytes: &[u8]) -> Option<i128> {
        let mut block = [0; BLOCK];
        block[SIZE][..bytes.len()].copy_from_slice(bytes);
        number(&block, SIZE)
    }

    #[test]
    fn a_number_is_octal_or_in_two_s_complement_and_nothing_is_zero() {
        for (bytes, want) in [
            (&b""[..], Some(0)),
            (b"            ", Some(0)),
            (b"00000000017\0", Some(15)),
            (b"     17 \0", Some(15)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"17\0garbage", Some(15)),
            (b"19", None),
            (b"x", None),
            (b"-1", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (&[0xff; 12], Some(-1)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0",
                Some(-256),
            ),
            // The largest negative and the smallest.
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", Some(-(1_i128 << 94))),
        ] {
            assert_eq!(field(bytes), want, "{bytes:?}");
        }
    }

    proptest! {
        /// What GNU tar writes for a number, octal where it fits, is that number.
        #[test]
        fn what_is_written_is_read(number in (-(1_i128 << 94)..1 << 94), width in 1_usize..12) {
            let small = number.unsigned_abs() >> (8 * (12 - width)) << 1;
            let small = i128::try_from(small).expect("fits").rem_euclid(1 << 33);
            prop_assert_eq!(field(format!("{small:o}").as_bytes()), Some(small));
            let mut bytes = number.to_be_bytes()[4..].to_vec();
            bytes[0] |= 0x80;
            prop_assert_eq!(field(&bytes), Some(number));
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..13)) {
            let _ = field(&bytes);
        }
    }
}
