//! What the figures have to hold, and which do.

/// A limit of a figure, or of its ratio to a peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    pub(crate) fn held(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// The bar of a row's ratio to `peer`; with the peer `""` that of the figure itself.
pub(crate) fn bar(row: &str, what: &str, peer: &str) -> Option<Bar> {
    use Bar::{AtLeast, AtMost};
    let words: Vec<_> = row.split(' ').collect();
    match (words.as_slice(), what, peer) {
        // Serving is one copy by the kernel, and hardly more.
        (["http", "loopback", "4" | "64", "whole" | "apart"], "CPU", "nginx") => Some(AtMost(0.6)),
        (["http", "loopback", "4" | "64", "whole" | "apart"], "rate", "nginx") => {
            Some(AtLeast(1.2))
        }
        (["http", "veth", "4" | "64", "whole" | "apart"], "CPU", "nginx") => Some(AtMost(0.8)),
        (["http", "veth", "4" | "64", "whole" | "apart"], "rate", "nginx") => Some(AtLeast(1.0)),
        (["http", _, "4" | "64", "whole" | "apart"], "CPU", "limit") => Some(AtMost(1.3)),
        // Beside the mapping, with a thousand workers.
        (["http", _, "1000", _], "RSS", "") => Some(AtMost(64.0)),
        (["growth", "publish", "1000MB" | "8000MB"], "per GB", "") => Some(AtMost(2.0)),
        (["growth", "start", _, "images"], "time", "") => Some(AtMost(50.0)),
        _ => None,
    }
}
