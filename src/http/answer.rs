//! What to answer to a request, as a value: (method, headers, content) → status, headers and slices of the content.
//!
//! No socket, no disk, no clock. GET and HEAD, conditional by a strong ETag, single and multiple ranges as RFC 9110
//! has them; every refusal names what would have been right.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use ramboot_wire::plain;
use ramboot_wire::queue::{self, Place};

use super::range::{self, Wanted};
use crate::fleet::event::Part;
use crate::store::Mapping;
use crate::store::rope::Rope;

/// One representation (RFC 9110 §3.2): what a path names.
#[derive(Debug, Clone)]
pub struct Content {
    /// All of it; usually one slice of a mapping.
    pub bytes: Rope,
    /// Strong ETag without its quotes; `None` for what is made anew for each request.
    pub etag: Option<String>,
    /// Media type.
    pub media_type: &'static str,
    /// What the bytes are of, if pages of it may have to come from a disk.
    pub mapping: Option<Mapping>,
    /// Which part of a machine's boot it is, where its path does not say that.
    pub part: Option<Part>,
}

/// Status, headers and body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// All headers but `Date`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in order; empty for HEAD.
    pub body: VecDeque<Bytes>,
    /// As in [`Content`].
    pub mapping: Option<Mapping>,
    /// As in [`Content`].
    pub part: Option<Part>,
}

/// A year, the most that RFC 9111 §5.2.2.1 gives a meaning; what a digest names never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Nothing from elsewhere, nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Separates the parts of a multipart answer. The parts' lengths are in their `Content-Range`, so it would not matter
/// if an image held these bytes.
const BOUNDARY: &str = "ramboot-5f1e0c6a9d3b47";

/// Answers a GET or HEAD for something that exists.
#[must_use]
pub fn content(method: &Method, request: &HeaderMap, content: &Content) -> Answer {
    let len = content.bytes.len();
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: validators(content),
        body: VecDeque::new(),
        mapping: content.mapping.clone(),
        part: content.part,
    };
    // In the order of RFC 9110 §13.2.2. Nothing here has a modification date, so conditions by date are not looked at
    // (§13.1.3, §13.1.4).
    if !may_go_on(request, content) {
        let text = "the content is another one than If-Match names\n";
        return Answer::text(StatusCode::PRECONDITION_FAILED, text);
    }
    if is_known(request, content) {
        answer.status = StatusCode::NOT_MODIFIED;
        return answer;
    }
    answer.push(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // RFC 9110 §14.2: Range is defined for GET only.
    let field = request
        .get(header::RANGE)
        .filter(|_| *method == Method::GET && may_range(request, content));
    match field
        .and_then(|field| field.to_str().ok())
        .map_or(Wanted::Whole, |field| range::parse(field, len))
    {
        Wanted::Whole => {
            answer.push(
                header::CONTENT_TYPE,
                HeaderValue::from_static(content.media_type),
            );
            answer.push(header::CONTENT_LENGTH, len.into());
            if *method == Method::GET {
                answer.body.extend(content.bytes.slices().iter().cloned());
            }
        }
        Wanted::Parts(parts) => answer.partial(content, &parts),
        Wanted::Unsatisfiable => {
            let text = format!("the content has {len} bytes\n");
            return Answer::text(StatusCode::RANGE_NOT_SATISFIABLE, text)
                .with(header::CONTENT_RANGE, value(format!("bytes */{len}")));
        }
    }
    answer
}

impl Answer {
    /// A status with one sentence for whoever looks.
    #[must_use]
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        // It may name what was asked for.
        let text = plain::lines(&text.into());
        let headers = vec![
            (header::CONTENT_TYPE, TEXT),
            (header::CONTENT_LENGTH, text.len().into()),
            (header::CACHE_CONTROL, NO_STORE),
        ];
        Self {
            status,
            headers,
            body: VecDeque::from([Bytes::from(text)]),
            mapping: None,
            part: None,
        }
    }

    /// 204.
    #[must_use]
    pub const fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: VecDeque::new(),
            mapping: None,
            part: None,
        }
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "no such file here\n")
    }

    /// 410: it was here, and will not come back (RFC 9110 §15.5.11).
    #[must_use]
    pub fn gone(text: &'static str) -> Self {
        Self::text(StatusCode::GONE, text)
    }

    /// 503: others fetch, and it is this one's turn after them (RFC 9110 §10.2.3).
    #[must_use]
    pub fn later(place: Place) -> Self {
        let text = format!("others are served first, place {place}\n");
        Self::text(StatusCode::SERVICE_UNAVAILABLE, text)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            .with(
                HeaderName::from_static(queue::FIELD),
                value(place.to_string()),
            )
    }

    /// The same for whoever asks to come back after so many seconds (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with(header::RETRY_AFTER, seconds.into())
    }

    /// Whether its body ends with the content's last byte: all of it, or one range.
    #[must_use]
    pub fn has_the_end(&self) -> bool {
        let range = self
            .headers
            .iter()
            .find(|(name, _)| *name == header::CONTENT_RANGE);
        !self.body.is_empty()
            && match (self.status, range) {
                (StatusCode::OK, _) => true,
                (StatusCode::PARTIAL_CONTENT, Some((_, range))) => ends_with_it(range),
                _ => false,
            }
    }

    /// 405, naming the methods that there are.
    #[must_use]
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self::text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("only {allowed} here\n"),
        )
        .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// The same for no other page to frame, and for no browser to guess what it is.
    #[must_use]
    pub fn unframed(self) -> Self {
        self.with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
        .with(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        )
        .with(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        )
    }

    /// The same for caches to ask each time whether it is still so.
    #[must_use]
    pub fn not_kept(mut self) -> Self {
        self.headers
            .retain(|(name, _)| *name != header::CACHE_CONTROL);
        self.with(header::CACHE_CONTROL, NO_CACHE)
    }

    /// The same, after which the connection ends.
    #[must_use]
    pub fn last(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// The same without its body, as HEAD wants it.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.body.clear();
        self
    }

    /// The same with a body of its own: a small part of something large does not keep all of that in memory.
    #[must_use]
    pub fn copied(mut self) -> Self {
        let parts: Vec<Bytes> = self.body.into();
        self.body = VecDeque::from([Bytes::from(parts.concat())]);
        self
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.body.iter().map(|part| part.len() as u64).sum()
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.push(name, value);
        self
    }

    fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }

    fn partial(&mut self, content: &Content, parts: &[Range<u64>]) {
        let len = content.bytes.len();
        self.status = StatusCode::PARTIAL_CONTENT;
        if let [part] = parts {
            self.push(
                header::CONTENT_TYPE,
                HeaderValue::from_static(content.media_type),
            );
            self.push(header::CONTENT_RANGE, value(content_range(part, len)));
            self.take(content, part);
        } else {
            // RFC 9110 §14.6; the framing is RFC 2046 §5.1.
            for part in parts {
                let head = format!(
                    "\r\n--{BOUNDARY}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
                    content.media_type,
                    content_range(part, len)
                );
                self.body.push_back(Bytes::from(head));
                self.take(content, part);
            }
            self.body
                .push_back(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n")));
            self.push(
                header::CONTENT_TYPE,
                value(format!("multipart/byteranges; boundary={BOUNDARY}")),
            );
        }
        self.push(header::CONTENT_LENGTH, self.body_len().into());
    }

    fn take(&mut self, content: &Content, part: &Range<u64>) {
        let part = content.bytes.range(part.clone());
        self.body.extend(part.slices().iter().cloned());
    }
}

fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

/// `bytes 5-9/10`
fn ends_with_it(range: &HeaderValue) -> bool {
    let parts = range.to_str().ok().and_then(|text| {
        let (range, len) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (_, last) = range.split_once('-')?;
        Some((last.parse::<u64>().ok()?, len.parse::<u64>().ok()?))
    });
    parts.is_some_and(|(last, len)| last.checked_add(1) == Some(len))
}

fn validators(content: &Content) -> Vec<(HeaderName, HeaderValue)> {
    match &content.etag {
        Some(etag) => vec![
            (header::ETAG, value(format!("\"{etag}\""))),
            (header::CACHE_CONTROL, IMMUTABLE),
        ],
        None => vec![(header::CACHE_CONTROL, NO_STORE)],
    }
}

/// RFC 9110 §13.1.1: strong comparison; `*` is any content there is.
fn may_go_on(request: &HeaderMap, content: &Content) -> bool {
    let has_field = request.contains_key(header::IF_MATCH);
    !has_field
        || tags(request, header::IF_MATCH)
            .any(|tag| tag == "*" || is_strong_match(unquoted(tag), content))
}

/// RFC 9110 §13.1.2: weak comparison; `*` is any content there is.
fn is_known(request: &HeaderMap, content: &Content) -> bool {
    tags(request, header::IF_NONE_MATCH).any(|tag| {
        let opaque = unquoted(tag.strip_prefix("W/").unwrap_or(tag));
        tag == "*" || is_strong_match(opaque, content)
    })
}

/// The members of a list, on one line or several.
fn tags(request: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = request.get_all(name).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

fn is_strong_match(tag: Option<&str>, content: &Content) -> bool {
    tag.is_some() && tag == content.etag.as_deref()
}

/// RFC 9110 §13.1.5: `If-Range` holds only by strong comparison; a date never does, there is no Last-Modified.
fn may_range(request: &HeaderMap, content: &Content) -> bool {
    match request.get(header::IF_RANGE) {
        None => true,
        Some(field) => is_strong_match(field.to_str().ok().and_then(unquoted), content),
    }
}

fn unquoted(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}

/// Every text here is made of digits, hexadecimal, checked names and constants.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten() -> Content {
        Content {
            bytes: Bytes::from_static(b"0123456789").into(),
            etag: Some("e".to_owned()),
            media_type: "application/octet-stream",
            mapping: None,
            part: None,
        }
    }

    fn ask(method: &Method, headers: &[(HeaderName, &str)]) -> Answer {
        let map = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("value")))
            .collect();
        content(method, &map, &ten())
    }

    fn body(answer: &Answer) -> String {
        answer
            .body
            .iter()
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    }

    fn field(answer: &Answer, name: &HeaderName) -> Option<String> {
        let (_, value) = answer.headers.iter().find(|(n, _)| n == name)?;
        Some(value.to_str().expect("ascii").to_owned())
    }

    #[test]
    fn one_row_per_rule() {
        use header::{
            IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
        };
        let other = "the content is another one than If-Match names\n";
        let past = "Tue, 15 Nov 1994 12:45:26 GMT";
        let get = Method::GET;
        for (headers, status, want, range) in [
            (vec![], 200, "0123456789", None),
            (vec![(RANGE, "bytes=2-4")], 206, "234", Some("bytes 2-4/10")),
            (vec![(RANGE, "bytes=-3")], 206, "789", Some("bytes 7-9/10")),
            (
                vec![(RANGE, "bytes=10-")],
                416,
                "the content has 10 bytes\n",
                Some("bytes */10"),
            ),
            (vec![(RANGE, "pages=1-2")], 200, "0123456789", None),
            (
                vec![(RANGE, "bytes=2-4"), (IF_RANGE, "\"e\"")],
                206,
                "234",
                Some("bytes 2-4/10"),
            ),
            (
                vec![(RANGE, "bytes=2-4"), (IF_RANGE, "\"other\"")],
                200,
                "0123456789",
                None,
            ),
            (
                vec![(RANGE, "bytes=2-4"), (IF_RANGE, "W/\"e\"")],
                200,
                "0123456789",
                None,
            ),
            (
                vec![
                    (RANGE, "bytes=2-4"),
                    (IF_RANGE, "Tue, 15 Nov 1994 12:45:26 GMT"),
                ],
                200,
                "0123456789",
                None,
            ),
            (vec![(IF_NONE_MATCH, "\"e\"")], 304, "", None),
            (vec![(IF_NONE_MATCH, "\"x\", W/\"e\"")], 304, "", None),
            (vec![(IF_NONE_MATCH, "*")], 304, "", None),
            (vec![(IF_NONE_MATCH, "\"x\"")], 200, "0123456789", None),
            (
                vec![(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"e\"")],
                304,
                "",
                None,
            ),
            (vec![(IF_MATCH, "\"e\"")], 200, "0123456789", None),
            (vec![(IF_MATCH, "*")], 200, "0123456789", None),
            (vec![(IF_MATCH, "\"x\", \"e\"")], 200, "0123456789", None),
            (vec![(IF_MATCH, "\"x\"")], 412, other, None),
            (vec![(IF_MATCH, "")], 412, other, None),
            (vec![(IF_MATCH, "e")], 412, other, None),
            // §13.1.1: a weak tag never matches.
            (vec![(IF_MATCH, "W/\"e\"")], 412, other, None),
            // §13.2.2: first If-Match, then If-None-Match, then Range.
            (
                vec![(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"e\"")],
                412,
                other,
                None,
            ),
            (
                vec![(IF_MATCH, "\"e\""), (IF_NONE_MATCH, "\"e\"")],
                304,
                "",
                None,
            ),
            (
                vec![(IF_MATCH, "\"e\""), (RANGE, "bytes=2-4")],
                206,
                "234",
                Some("bytes 2-4/10"),
            ),
            (
                vec![(IF_MATCH, "\"x\""), (RANGE, "bytes=2-4")],
                412,
                other,
                None,
            ),
            // §13.1.3 and §13.1.4: ignored where there is no modification date.
            (vec![(IF_UNMODIFIED_SINCE, past)], 200, "0123456789", None),
            (vec![(IF_MODIFIED_SINCE, past)], 200, "0123456789", None),
        ] {
            let answer = ask(&get, &headers);
            assert_eq!(answer.status.as_u16(), status, "{headers:?}");
            assert_eq!(body(&answer), want, "{headers:?}");
            assert_eq!(
                field(&answer, &header::CONTENT_RANGE).as_deref(),
                range,
                "{headers:?}"
            );
            if status != 304 {
                assert_eq!(
                    field(&answer, &header::CONTENT_LENGTH),
                    Some(want.len().to_string()),
                    "{headers:?}"
                );
            }
        }
    }

    /// What is made anew for each request is some content, and no tag names it.
    #[test]
    fn what_has_no_tag_matches_an_asterisk() {
        let untagged = Content {
            etag: None,
            ..ten()
        };
        for (name, value, want) in [
            (header::IF_MATCH, "*", 200),
            (header::IF_MATCH, "\"e\"", 412),
            (header::IF_NONE_MATCH, "*", 304),
            (header::IF_NONE_MATCH, "\"e\"", 200),
        ] {
            let map = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let answer = content(&Method::GET, &map, &untagged);
            assert_eq!(answer.status.as_u16(), want, "{map:?}");
        }
    }

    #[test]
    fn head_has_the_length_and_no_body_and_knows_no_range() {
        let answer = ask(&Method::HEAD, &[(header::RANGE, "bytes=2-4")]);
        assert_eq!((answer.status.as_u16(), body(&answer).as_str()), (200, ""));
        assert_eq!(
            field(&answer, &header::CONTENT_LENGTH).as_deref(),
            Some("10")
        );
        assert_eq!(field(&answer, &header::ETAG).as_deref(), Some("\"e\""));
    }

    #[test]
    fn who_has_the_end_is_known() {
        for (range, want) in [
            (None, true),
            (Some("bytes=0-"), true),
            (Some("bytes=-1"), true),
            (Some("bytes=9-99"), true),
            (Some("bytes=0-8"), false),
            (Some("bytes=0-1,8-"), false),
            (Some("bytes=10-"), false),
        ] {
            let headers: Vec<_> = range
                .map(|range| (header::RANGE, range))
                .into_iter()
                .collect();
            assert_eq!(ask(&Method::GET, &headers).has_the_end(), want, "{range:?}");
            assert!(!ask(&Method::HEAD, &headers).has_the_end());
        }
    }

    #[test]
    fn several_ranges_are_parts() {
        let answer = ask(&Method::GET, &[(header::RANGE, "bytes=0-1,8-")]);
        assert_eq!(answer.status.as_u16(), 206);
        let want = format!(
            "\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
             \r\n--{BOUNDARY}--\r\n"
        );
        assert_eq!(body(&answer), want);
        assert_eq!(
            field(&answer, &header::CONTENT_LENGTH),
            Some(want.len().to_string())
        );
    }

    #[test]
    fn only_what_a_digest_names_may_be_cached() {
        assert_eq!(
            field(&ask(&Method::GET, &[]), &header::CACHE_CONTROL).as_deref(),
            Some("public, max-age=31536000, immutable")
        );
        let fresh = Content {
            etag: None,
            ..ten()
        };
        let answer = content(&Method::GET, &HeaderMap::new(), &fresh);
        assert_eq!(
            field(&answer, &header::CACHE_CONTROL).as_deref(),
            Some("no-store")
        );
        assert_eq!(
            field(&Answer::method_not_allowed("GET, HEAD"), &header::ALLOW).as_deref(),
            Some("GET, HEAD")
        );
    }

    #[test]
    fn a_body_is_a_slice_of_the_mapping() {
        let content = ten();
        let map = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=3-5"))]);
        let answer = super::content(&Method::GET, &map, &content);
        assert_eq!(
            answer.body[0].as_ptr(),
            content.bytes.slices()[0][3..].as_ptr(),
            "not a copy"
        );
        let copied = answer.clone().copied();
        assert_eq!(body(&copied), body(&answer));
        assert_ne!(copied.body[0].as_ptr(), answer.body[0].as_ptr());
    }
}
