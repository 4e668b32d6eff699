//! The head of an HTTP answer: pure.

use std::time::Duration;

use ramboot_wire::queue::{self, Place};

use crate::fault::Fault;

/// What of it matters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// `Content-Length`.
    pub(crate) length: u64,
    pub(crate) range: String,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) place: Option<Place>,
    pub(crate) close: bool,
}

impl Head {
    /// `None` if the end is not there yet, else the head and its length.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let len = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_BYTES => {
                return Err(Fault::Head(format!("a head of over {MAX_BYTES} bytes")));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Fault::Head(error.to_string())),
        };
        let mut head = Self {
            status: response.code.unwrap_or(0),
            close: response.version != Some(1),
            ..Self::default()
        };
        let mut length = None;
        for field in response.headers.iter() {
            let value = String::from_utf8_lossy(field.value);
            let value = value.trim();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "content-range" => value.clone_into(&mut head.range),
                "retry-after" => head.retry_after = value.parse().ok().map(Duration::from_secs),
                "connection" => head.close |= value.eq_ignore_ascii_case("close"),
                name if name == queue::FIELD => head.place = value.parse().ok(),
                _ => {}
            }
        }
        head.length = length.ok_or_else(|| Fault::Head("no Content-Length".to_owned()))?;
        Ok(Some((head, len)))
    }
}

/// The manager's heads have 300 bytes.
pub(crate) const MAX_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_in_the_queue() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nramboot-queue: 3/17\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbusy\n";
        let (head, len) = Head::parse(text).expect("parses").expect("whole");
        assert_eq!(len, text.len() - 5);
        let want = Head {
            status: 503,
            length: 5,
            range: String::new(),
            retry_after: Some(Duration::from_secs(2)),
            place: Some(Place {
                place: 3,
                waiting: 17,
            }),
            close: true,
        };
        assert_eq!(head, want);
        assert_eq!(Head::parse(&text[..len - 1]).expect("so far"), None);
        Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").expect_err("no length");
        Head::parse(&[b'x'; MAX_BYTES]).expect_err("no head");
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::parse(&[b"HTTP/1.1 200 OK\r\n", &garbage[..]].concat());
        }
    }
}
