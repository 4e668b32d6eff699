//! Takes a request's body: of bounded length, in bounded time, and not what is framed wrongly.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};

use super::answer::Answer;

/// All of the body of `what`; or the refusal, after which the connection ends, as nobody knows where the next request
/// would begin.
pub(super) async fn receive(
    body: Incoming,
    what: &str,
    most: usize,
    patience: Duration,
) -> Result<Bytes, Answer> {
    let too_large = || {
        let text = format!("{what} has at most {most} bytes\n");
        Answer::text(StatusCode::PAYLOAD_TOO_LARGE, text).last()
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(patience, collect(Limited::new(body, most))).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        // RFC 9112 §7.1 and §8: what is no chunk, or ends before its end.
        Ok(Err(error)) => {
            let text = format!(
                "the body of this request cannot be read: {}\n",
                chain(&*error)
            );
            Err(Answer::text(StatusCode::BAD_REQUEST, text).last())
        }
        Ok(Ok(None)) | Err(_) => {
            let text =
                format!("{what} comes within {patience:?}, and without a pause of {STALL:?}\n");
            Err(Answer::text(StatusCode::REQUEST_TIMEOUT, text).last())
        }
    }
}

/// `None`: nothing came for too long.
async fn collect(
    mut body: Limited<Incoming>,
) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = BytesMut::new();
    loop {
        let Ok(frame) = tokio::time::timeout(STALL, body.frame()).await else {
            return Ok(None);
        };
        match frame.transpose()? {
            // A frame that is no data is a trailer, and none is known.
            Some(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            None => return Ok(Some(bytes.freeze())),
        }
    }
}

/// hyper's own words: none of them are the client's.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// A lost packet is sent again after 0.2, 0.6, 1.4 and 3 s.
const STALL: Duration = Duration::from_secs(5);
