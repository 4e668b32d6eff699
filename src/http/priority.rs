//! What a request says of how long it would wait, and what for: two header fields, read leniently. Pure.
//!
//! Who says nothing is served at once. Who says what cannot be has said nothing: a header never makes a request fail.

use std::time::Duration;

use hyper::header::HeaderMap;

use super::queue::Class;

/// A request that would wait for its worker's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priority {
    /// At most so long.
    pub(super) patience: Duration,
    /// What it asks for.
    pub(super) class: Class,
}

impl Priority {
    /// `None`: it would not wait.
    pub(super) fn of(request: &HeaderMap) -> Option<Self> {
        Some(Self {
            patience: patience(request)?,
            class: class(urgency(request)),
        })
    }
}

/// More urgent than what says nothing, as urgent, or less.
const fn class(urgency: u8) -> Class {
    match urgency {
        0..URGENCY => Class::Hot,
        URGENCY => Class::Whole,
        _ => Class::Rest,
    }
}

/// `Prefer: wait=<seconds>` among other preferences.
fn patience(request: &HeaderMap) -> Option<Duration> {
    members(request, "prefer").find_map(|wish| {
        // RFC 7240 §2: parameters follow a semicolon, and a value may be quoted.
        let (name, value) = wish.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| Duration::from_secs(seconds))
    })
}

/// `Priority: u=<0 to 7>` (RFC 9218 §4.1) among other members of a dictionary (RFC 9651 §3.2): keys are in lower case,
/// of several the last one counts, and one out of range is ignored.
fn urgency(request: &HeaderMap) -> u8 {
    let urgencies = members(request, "priority").filter_map(|member| {
        let (key, value) = member.split(';').next()?.split_once('=')?;
        match (key.trim(), value.trim().as_bytes()) {
            ("u", [digit @ b'0'..=b'7']) => Some(digit - b'0'),
            _ => None,
        }
    });
    urgencies.last().unwrap_or(URGENCY)
}

/// What stands between commas, on one line or several. A comma in a quoted text separates, too: no member that matters has
/// one.
fn members<'a>(request: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let fields = request.get_all(name).into_iter();
    let texts = fields.filter_map(|field| field.to_str().ok());
    texts.flat_map(|text| text.split(','))
}

/// Of who says nothing (RFC 9218 §4.1).
const URGENCY: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn request(name: &'static str, texts: &[&str]) -> HeaderMap {
        let value = |text: &&str| (name.parse().expect("a name"), value(text));
        texts.iter().map(value).collect()
    }

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_bytes(text.as_bytes()).expect("a value")
    }

    #[test]
    fn who_would_wait_says_so() {
        for (text, want) in [
            ("wait=1", Some(1)),
            ("respond-async, Wait=\"10\"; a=b", Some(10)),
            ("wait = 3", Some(3)),
            ("wait", None),
            ("wait=-1", None),
            ("wait=x", None),
            ("await=3", None),
            ("", None),
        ] {
            let map = request("prefer", &[text]);
            assert_eq!(patience(&map), want.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(patience(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_hot_and_what_has_time() {
        for (texts, want) in [
            (&["u=1"][..], Class::Hot),
            (&["u=6"], Class::Rest),
            (&["u=0"], Class::Hot),
            (&["u=2"], Class::Hot),
            (&["u=3"], Class::Whole),
            (&["u=4"], Class::Rest),
            (&["u=7, i"], Class::Rest),
            (&["i, u=1;x=y"], Class::Hot),
            (&["\tu=1 "], Class::Hot),
            (&["u=6, u=1"], Class::Hot),
            (&["u=1", "u=6"], Class::Rest),
            (&["u=1, u=8"], Class::Hot),
            (&["u=8"], Class::Whole),
            (&["u=-1"], Class::Whole),
            (&["u=1.0"], Class::Whole),
            (&["u=11"], Class::Whole),
            (&["u=\"1\""], Class::Whole),
            (&["u"], Class::Whole),
            (&["U=1"], Class::Whole),
            (&["u=99999999999999999999"], Class::Whole),
            (&["ü=1"], Class::Whole),
            (&[""], Class::Whole),
            (&[], Class::Whole),
        ] {
            assert_eq!(
                class(urgency(&request("priority", texts))),
                want,
                "{texts:?}"
            );
        }
    }

    #[test]
    fn without_prefer_nobody_waits() {
        let mut map = request("priority", &["u=6"]);
        assert_eq!(Priority::of(&map), None);
        map.insert("prefer", value("wait=2"));
        let want = Priority {
            patience: Duration::from_secs(2),
            class: Class::Rest,
        };
        assert_eq!(Priority::of(&map), Some(want));
    }

    proptest! {
        #[test]
        fn never_panics(texts in prop::collection::vec("[ui=0-9,; \t\"?a-z]{0,30}", 0..4)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert!(urgency(&request("priority", &texts)) <= 7);
        }
    }
}
