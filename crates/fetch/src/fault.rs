//! What is wrong with a base: the error in full, and its kind, as far as it matters to who asks next and to what helps. Pure.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;

use ramboot_wire::queue::Place;

use crate::http::HttpError;

/// Why something failed: in one word for who has to choose a remedy, and in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The kind.
    pub fault: Fault,
    /// The chain of causes.
    pub text: String,
}

/// What can be wrong with a base, as far as the remedies differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens at its address and port.
    Refused,
    /// Nothing comes back: it is off, or the way to it is broken.
    Silent,
    /// It began to send, and stopped.
    Broken,
    /// It does not have this image.
    Missing,
    /// It answers something that a manager does not answer.
    Strange,
    /// It sent bytes that are not what was published.
    Lied,
    /// Nothing is wrong: others are served first, and this is our place if it says.
    Busy(Option<Place>),
}

impl Why {
    /// Of an error on the way to verified bytes. The text has its causes behind it, as anyhow writes them.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let fault = error
            .downcast_ref::<HttpError>()
            // What came whole and is no chunk or chunk list is what somebody made it.
            .map_or(Fault::Lied, Fault::of);
        let causes = iter::successors(error.source(), |&cause| cause.source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self { fault, text }
    }

    /// Of a base that is busy.
    #[must_use]
    pub fn busy(place: Option<Place>) -> Self {
        Self {
            fault: Fault::Busy(place),
            text: "it is not our turn".to_owned(),
        }
    }
}

impl Fault {
    fn of(error: &HttpError) -> Self {
        match error {
            HttpError::Connect(source) | HttpError::Exchange { source, .. } => {
                match source.kind() {
                    io::ErrorKind::ConnectionRefused => Self::Refused,
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => Self::Broken,
                    _ => Self::Silent,
                }
            }
            HttpError::Broken { .. } | HttpError::Closed { .. } | HttpError::Stalled { .. } => {
                Self::Broken
            }
            HttpError::Status {
                status: 404 | 410, ..
            } => Self::Missing,
            HttpError::Busy { place, .. } => Self::Busy(*place),
            _ => Self::Strange,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lie;
    use ramboot_wire::image::ChunkListError;

    #[test]
    fn a_fault_is_what_the_remedy_depends_on() {
        let path = || "/x".to_owned();
        let io = |kind: io::ErrorKind| io::Error::from(kind);
        let (got, want) = (1, 2);
        for (error, fault) in [
            (
                HttpError::Connect(io(io::ErrorKind::ConnectionRefused)),
                Fault::Refused,
            ),
            (
                HttpError::Connect(io(io::ErrorKind::TimedOut)),
                Fault::Silent,
            ),
            (
                HttpError::Connect(io(io::ErrorKind::HostUnreachable)),
                Fault::Silent,
            ),
            (
                HttpError::Exchange {
                    path: path(),
                    source: io(io::ErrorKind::ConnectionReset),
                },
                Fault::Broken,
            ),
            (HttpError::Closed { got, want }, Fault::Broken),
            (
                HttpError::Status {
                    path: path(),
                    status: 404,
                },
                Fault::Missing,
            ),
            (
                HttpError::Status {
                    path: path(),
                    status: 503,
                },
                Fault::Strange,
            ),
            (HttpError::Head("x".to_owned()), Fault::Strange),
            (
                HttpError::Busy {
                    path: path(),
                    after: std::time::Duration::MAX,
                    place: None,
                },
                Fault::Busy(None),
            ),
        ] {
            let why = Why::of(&error);
            assert_eq!(why.fault, fault, "{error}");
            assert_eq!(why.text, format!("{:#}", anyhow::Error::new(error)));
        }
        let lie = Lie::List(ChunkListError::TooFew(1));
        let why = Why::of(&lie);
        assert_eq!(why.fault, Fault::Lied);
        assert_eq!(why.text, format!("{:#}", anyhow::Error::new(lie)));
    }
}
