//! Whether a request says right which host it means (RFC 9112 §3.2). We are the same by any name, so nothing else is asked
//! of it; but whoever stands between and reads another host than we do could be made to mix answers up. Pure.

use hyper::Version;
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

/// Why a request has to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHost {
    #[error("a request of HTTP/1.1 has a Host field, and this one has none")]
    None,
    #[error("a request has one Host field, and this one has several")]
    Several,
    #[error("the Host field of this request is not a host name or address with or without a port")]
    Malformed,
}

/// Looks at the fields of a request.
pub(super) fn check(version: Version, fields: &HeaderMap) -> Result<(), BadHost> {
    let mut hosts = fields.get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 => Ok(()),
        (None, _) => Err(BadHost::None),
        (Some(_), Some(_)) => Err(BadHost::Several),
        // A target without an authority is asked for with an empty one.
        (Some(host), None) if host.is_empty() => Ok(()),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) if !authority.as_str().contains('@') => Ok(()),
            _ => Err(BadHost::Malformed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn of(version: Version, hosts: &[&[u8]]) -> Result<(), BadHost> {
        let field = |host: &&[u8]| (HOST, HeaderValue::from_bytes(host).expect("a value"));
        check(version, &hosts.iter().map(field).collect())
    }

    #[test]
    fn rfc_9112_section_3_2() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        for (version, hosts, want) in [
            (new, &[][..], Err(BadHost::None)),
            (old, &[], Ok(())),
            (new, &[&b"x"[..]], Ok(())),
            (new, &[b""], Ok(())),
            (new, &[b"10.0.0.1:8067"], Ok(())),
            (new, &[b"[2001:db8::1]:8067"], Ok(())),
            (new, &[b"Node_1.lab.example."], Ok(())),
            (new, &[b"x", b"x"], Err(BadHost::Several)),
            (old, &[b"x", b"y"], Err(BadHost::Several)),
            (new, &[b"a b"], Err(BadHost::Malformed)),
            (new, &[b"a/b"], Err(BadHost::Malformed)),
            (new, &[b"root@x"], Err(BadHost::Malformed)),
            (new, &[b"x, y"], Err(BadHost::Malformed)),
            (new, &[b"[::1"], Err(BadHost::Malformed)),
            (old, &[b"\xff"], Err(BadHost::Malformed)),
        ] {
            assert_eq!(of(version, hosts), want, "{version:?} {hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(host in "[ -~\u{80}-\u{ff}]{0,40}") {
            let _ = of(Version::HTTP_11, &[host.as_bytes()]);
        }
    }
}
