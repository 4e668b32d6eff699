//! `Range` of RFC 9110 §14: text and length in, byte ranges out.

use std::ops::Range;

/// More ranges than this in one request are not answered as ranges (RFC 9110 §14.2 lets a server ignore "many small
/// ranges"): each costs a part header.
const MAX_RANGES: usize = 64;

/// What a `Range` field asks for, given how long the content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No usable `Range`: everything, with 200.
    Whole,
    /// One or more ranges, each non-empty and inside the content, in the order asked for.
    Parts(Vec<Range<u64>>),
    /// Understood, but none of it lies inside the content: 416.
    Unsatisfiable,
}

/// Reads a `Range` field. Anything that is not a well-formed `bytes` range set is ignored, as RFC 9110 §14.2 says.
#[must_use]
pub fn parse(field: &str, len: u64) -> Wanted {
    let Some((unit, set)) = field.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut parts = Vec::new();
    let mut asked = 0_usize;
    for spec in set
        .split(',')
        .map(|spec| spec.trim_matches([' ', '\t']))
        .filter(|spec| !spec.is_empty())
    {
        asked += 1;
        match one(spec, len) {
            Some(range) if !range.is_empty() => parts.push(range),
            Some(_) => {}
            None => return Wanted::Whole,
        }
        if asked > MAX_RANGES {
            return Wanted::Whole;
        }
    }
    let bytes = parts
        .iter()
        .fold(0_u64, |sum, part| sum.saturating_add(part.end - part.start));
    match (asked, parts.is_empty()) {
        (0, _) => Wanted::Whole,
        (_, true) => Wanted::Unsatisfiable,
        // Overlapping ranges must not make an answer larger than the content.
        _ if bytes > len => Wanted::Whole,
        _ => Wanted::Parts(parts),
    }
}

/// `first-last`, `first-` or `-suffix`. `None` if it is none of them; an empty range if it is outside.
fn one(spec: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    match (first, last) {
        ("", suffix) => Some(len.saturating_sub(number(suffix)?)..len),
        (first, "") => Some(number(first)?.min(len)..len),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(len)..last.saturating_add(1).min(len))
        }
    }
}

/// Digits only (`u64::from_str` would take a sign). A number too large to hold lies behind any content.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a list of one range is meant"
    )]
    fn ranges_of_rfc_9110() {
        let parts = |ranges: &[Range<u64>]| Wanted::Parts(ranges.to_vec());
        for (field, want) in [
            ("bytes=0-499", parts(&[0..500])),
            ("bytes=500-999", parts(&[500..1000])),
            ("bytes=-500", parts(&[9500..10000])),
            ("bytes=9500-", parts(&[9500..10000])),
            ("bytes=0-0,-1", parts(&[0..1, 9999..10000])),
            (
                "bytes= 0-999, 4500-5499, -1000",
                parts(&[0..1000, 4500..5500, 9000..10000]),
            ),
            ("Bytes=0-0", parts(&[0..1])),
            ("bytes=,0-0,", parts(&[0..1])),
            ("bytes=0-99999999999999999999999", parts(&[0..10000])),
            ("bytes=-99999", parts(&[0..10000])),
            ("bytes=20000-30000, 0-1", parts(&[0..2])),
            ("bytes=10000-", Wanted::Unsatisfiable),
            ("bytes=10000-10001,20000-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=0x0-0x1", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=0-1,x", Wanted::Whole),
            ("bytes=--1", Wanted::Whole),
            ("bytes=0-9999,0-9999", Wanted::Whole),
        ] {
            assert_eq!(parse(field, 10_000), want, "{field}");
        }
    }

    #[test]
    fn bounded_and_at_home_on_the_edges() {
        assert_eq!(parse("bytes=0-0", 0), Wanted::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Wanted::Unsatisfiable);
        let many = format!(
            "bytes={}",
            (0..=MAX_RANGES)
                .map(|i| format!("{i}-{i}"))
                .collect::<Vec<_>>()
                .join(",")
        );
        assert_eq!(parse(&many, 10_000), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn never_outside_never_empty(field in "(bytes=)?[0-9,\\- x]{0,40}", len in 0_u64..1000) {
            if let Wanted::Parts(parts) = parse(&field, len) {
                prop_assert!(!parts.is_empty());
                for part in parts {
                    prop_assert!(part.start < part.end && part.end <= len);
                }
            }
        }
    }
}
