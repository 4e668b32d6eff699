//! A body that is slices of mappings, in order: handed to hyper window by window and never copied here.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::events::Events;
use crate::store::Mapping;

/// What an answer consists of.
#[derive(Debug)]
pub enum Content {
    /// Bytes that are there.
    Slices(Slices),
    /// Lines that come when something has changed.
    Events(Events),
}

/// Told when all of a body was handed over, and not if it was given up before.
pub type Told = Box<dyn FnOnce() + Send>;

/// What is left of it.
pub struct Slices {
    slices: VecDeque<Bytes>,
    left: u64,
    /// What most of the slices are of, if pages of it may have to come from a disk.
    mapping: Option<Mapping>,
    /// The next window is being read in.
    reading: Option<JoinHandle<io::Result<()>>>,
    /// Somebody who wants to know when it is over.
    told: Option<Told>,
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slices")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        if self.left == 0
            && let Some(told) = self.told.take()
        {
            told();
        }
    }
}

impl Slices {
    pub(super) fn new(slices: VecDeque<Bytes>, mapping: Option<Mapping>) -> Self {
        Self {
            left: slices.iter().map(|slice| slice.len() as u64).sum(),
            slices,
            mapping,
            reading: None,
            told: None,
        }
    }

    pub(super) fn telling(mut self, told: Option<Told>) -> Self {
        self.told = told;
        self
    }

    /// The next bytes that are in memory; `Err` with the window that has to be read in first.
    fn next(&mut self) -> Result<Option<Bytes>, (Mapping, usize)> {
        while self.slices.front().is_some_and(Bytes::is_empty) {
            self.slices.pop_front();
        }
        let Some(slice) = self.slices.front_mut() else {
            return Ok(None);
        };
        let len = match &self.mapping {
            // hyper asks for more when it has sent most of what it has: who is told is told about when.
            None if self.told.is_some() => slice.len().min(PIECE_BYTES),
            None => slice.len(),
            Some(mapping) => match mapping.first_window(slice) {
                (len, None) => len,
                (_, Some(window)) => return Err((mapping.clone(), window)),
            },
        };
        let frame = slice.split_to(len);
        self.left -= frame.len() as u64;
        Ok(Some(frame))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Slices(slices) => Pin::new(slices).poll_frame(context),
            Self::Events(events) => events.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Slices(slices) => slices.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Slices(slices) => slices.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

impl Body for Slices {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                if let Err(error) = read.map_err(io::Error::other).flatten() {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            match self.next() {
                Ok(frame) => return Poll::Ready(frame.map(|frame| Ok(Frame::data(frame)))),
                Err((mapping, window)) => {
                    let read = tokio::task::spawn_blocking(move || mapping.read_in(window));
                    self.reading = Some(read);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// As much as a socket holds.
const PIECE_BYTES: usize = 256 * 1024;
