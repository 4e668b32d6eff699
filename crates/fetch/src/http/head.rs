//! The head of an answer, read from bytes: pure.

use std::time::Duration;

use ramboot_wire::queue::{self, Place};

use super::HttpError;

/// What of an answer's head matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Content-Length` as it stands there; empty if it does not.
    pub(super) length: String,
    /// `Content-Range`, likewise.
    pub(super) range: String,
    /// A transfer or content coding.
    pub(super) coding: Option<String>,
    /// No request can follow on this connection.
    pub(super) close: bool,
    /// `Retry-After`: how long the peer wants to be left alone, as it says; nothing bounds it here.
    pub(super) retry_after: Option<Duration>,
    /// [`queue::FIELD`], if it can be read.
    pub(super) place: Option<Place>,
}

impl Head {
    /// `None` if the end is not there yet, else the head and its length.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let len = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(HttpError::Head(error.to_string())),
        };
        let mut head = Self {
            status: response.code.unwrap_or(0),
            close: response.version != Some(1),
            ..Self::default()
        };
        for field in response.headers.iter() {
            let value = String::from_utf8_lossy(field.value).trim().to_owned();
            match field.name.to_ascii_lowercase().as_str() {
                // RFC 9110 §8.6: several lengths are an attack or a bug; joined, they match no number.
                "content-length" if !head.length.is_empty() => head.length += ", twice",
                "content-length" => head.length = value,
                "content-range" => head.range = value,
                "transfer-encoding" => head.coding = Some(value),
                "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                    head.coding = Some(value);
                }
                "connection" if value.to_ascii_lowercase().contains("close") => head.close = true,
                "retry-after" => head.retry_after = Some(delay(&value)),
                queue::FIELD => head.place = value.parse().ok(),
                _ => {}
            }
        }
        Ok(Some((head, len)))
    }
}

/// RFC 9110 §10.2.3: seconds, or a date, which says nothing to a machine that may think it is 1970. What is neither is
/// still somebody who wants to be asked later.
fn delay(value: &str) -> Duration {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(seconds) if is_number => Duration::from_secs(seconds),
        _ if is_number => Duration::MAX,
        _ => UNREADABLE,
    }
}

/// What a `Retry-After` without a number is taken for.
const UNREADABLE: Duration = Duration::from_secs(5);
/// Caches in between add some fields; a head with more is no answer to us.
const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads() {
        let text = b"HTTP/1.1 206 Partial Content\r\nContent-LENGTH: 5\r\ncontent-range: bytes 0-4/9\r\nConnection: Close\r\n\r\nhello";
        let (head, len) = Head::parse(text).expect("parses").expect("whole");
        assert_eq!(len, text.len() - 5);
        let want = Head {
            status: 206,
            length: "5".to_owned(),
            range: "bytes 0-4/9".to_owned(),
            coding: None,
            close: true,
            retry_after: None,
            place: None,
        };
        assert_eq!(head, want);
        for cut in 0..len {
            assert_eq!(Head::parse(&text[..cut]).expect("so far"), None);
        }
        let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        let (head, _) = Head::parse(twice).expect("parses").expect("whole");
        assert_eq!(head.length, "5, twice");
    }

    #[test]
    fn who_is_busy_says_until_when() {
        let max = Duration::MAX;
        for (field, want) in [
            ("0", Duration::ZERO),
            ("120", Duration::from_secs(120)),
            ("18446744073709551615", Duration::from_secs(u64::MAX)),
            ("99999999999999999999999", max),
            ("Fri, 31 Dec 1999 23:59:59 GMT", UNREADABLE),
            ("-1", UNREADABLE),
            ("+1", UNREADABLE),
            ("1.5", UNREADABLE),
            ("", UNREADABLE),
        ] {
            let text = format!(
                "HTTP/1.1 503 Busy\r\nRetry-After: {field}\r\nRamboot-Queue: 17/120\r\n\r\n"
            );
            let (head, _) = Head::parse(text.as_bytes())
                .expect("parses")
                .expect("whole");
            assert_eq!(head.retry_after, Some(want), "{field:?}");
            assert_eq!(head.place.map(|p| (p.place, p.waiting)), Some((17, 120)));
        }
        let text = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nramboot-queue: 3/2\r\n\r\n";
        let (head, _) = Head::parse(text).expect("parses").expect("whole");
        assert_eq!(head.place, None, "no place in that queue");
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::parse(&garbage);
            let _ = Head::parse(&[b"HTTP/1.1 200 OK\r\n", &garbage[..]].concat());
            let _ = Head::parse(&[b"HTTP/1.1 503 Busy\r\nRetry-After: ", &garbage[..], b"\r\n\r\n"].concat());
        }
    }
}
