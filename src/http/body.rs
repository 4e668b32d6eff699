//! A body that is slices of mappings, in order: handed to hyper window by window and never copied here.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::store::Mapping;

/// What is left of it.
#[derive(Debug)]
pub struct Slices {
    slices: VecDeque<Bytes>,
    left: u64,
    /// What most of the slices are of, if pages of it may have to come from a disk.
    mapping: Option<Mapping>,
    /// The next window is being read in.
    reading: Option<JoinHandle<io::Result<()>>>,
}

impl Slices {
    pub(super) fn new(slices: VecDeque<Bytes>, mapping: Option<Mapping>) -> Self {
        Self {
            left: slices.iter().map(|slice| slice.len() as u64).sum(),
            slices,
            mapping,
            reading: None,
        }
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
