//! Server-sent events (WHATWG HTML §9.2): a body without end that says that something has changed, not what.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::watch;

use super::connections::Seat;

/// The body of one who looks.
pub struct Events {
    next: Next,
    /// One of those who may look at a time.
    _seat: Seat,
}

type Changes = watch::Receiver<u64>;
/// `None` when the manager ends.
type Next = Pin<Box<dyn Future<Output = Option<(Changes, Bytes)>> + Send>>;

impl Events {
    /// Begins with what is so now.
    pub(super) fn new(mut changes: Changes, seat: Seat) -> Self {
        changes.mark_changed();
        Self {
            next: Box::pin(next(changes, Duration::ZERO)),
            _seat: seat,
        }
    }

    /// The next line, whenever that is.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some((changes, line)) = ready!(self.next.as_mut().poll(context)) else {
            return Poll::Ready(None);
        };
        self.next = Box::pin(next(changes, PAUSE));
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// `None` when the manager ends.
async fn next(mut changes: Changes, pause: Duration) -> Option<(Changes, Bytes)> {
    tokio::time::sleep(pause).await;
    let line = match tokio::time::timeout(KEEP_ALIVE, changes.changed()).await {
        Ok(Ok(())) => format!("event: change\ndata: {}\n\n", *changes.borrow_and_update()),
        // A comment: it keeps whatever stands between from closing the connection.
        Err(_) => ":\n\n".to_owned(),
        Ok(Err(_)) => return None,
    };
    Some((changes, line.into()))
}

/// A page that is drawn anew more often than this is not read.
const PAUSE: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_most_one_a_second_and_a_sign_of_life() {
        let (sender, receiver) = watch::channel(7);
        let start = tokio::time::Instant::now();
        let mut changes = receiver;
        changes.mark_changed();
        let (mut changes, mut said) = (changes, Vec::new());
        let mut pause = Duration::ZERO;
        for round in 0..4 {
            if round < 2 {
                sender.send_replace(round + 8);
            }
            let (back, line) = next(changes, pause).await.expect("goes on");
            (changes, pause) = (back, PAUSE);
            let text = String::from_utf8(line.to_vec()).expect("text");
            said.push((start.elapsed().as_secs(), text));
        }
        let want = [
            (0, "event: change\ndata: 8\n\n"),
            (1, "event: change\ndata: 9\n\n"),
            (17, ":\n\n"),
            (33, ":\n\n"),
        ];
        assert_eq!(said, want.map(|(at, text)| (at, text.to_owned())));
        drop(sender);
        assert!(next(changes, PAUSE).await.is_none(), "the manager ended");
    }
}
