//! The head of an answer, read from bytes: pure.

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
                _ => {}
            }
        }
        Ok(Some((head, len)))
    }
}

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
        };
        assert_eq!(head, want);
        for cut in 0..len {
            assert_eq!(Head::parse(&text[..cut]).expect("so far"), None);
        }
        let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        let (head, _) = Head::parse(twice).expect("parses").expect("whole");
        assert_eq!(head.length, "5, twice");
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::parse(&garbage);
            let _ = Head::parse(&[b"HTTP/1.1 200 OK\r\n", &garbage[..]].concat());
        }
    }
}
