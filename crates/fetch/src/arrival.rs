//! The image comes: all of it, or, in a worker that streams, what its gate waits for. One way for both.

use anyhow::Context as _;
use ramboot_wire::{ChunkList, Profile};

use crate::engine::{Fetch, Pace};
use crate::event::Event;
use crate::order::{Order, Waits, tables};
use crate::sources::Sources;

/// What is to come.
#[expect(missing_debug_implementations, reason = "a closure has none")]
pub struct Arrival<'a> {
    /// The image's proven chunks.
    pub list: &'a ChunkList,
    /// What must be there before the image's init starts; `None` in full mode.
    pub waits: Option<Waits>,
    /// What boots read.
    pub profile: Option<&'a Profile>,
    /// How the fetch behaves in time.
    pub pace: Pace,
    /// Whom it tells.
    pub tell: &'a (dyn Fn(Event) + Sync),
}

impl Arrival<'_> {
    /// Fetches it into its places in `image` and says which chunks are there.
    ///
    /// # Errors
    /// This machine cannot go on. A server can never cause one.
    pub fn run(&self, sources: &mut Sources, image: &mut [u8]) -> anyhow::Result<Vec<bool>> {
        let count = self.list.count();
        let mut done = vec![false; usize::try_from(count).context("the chunks")?];
        let Some(waits) = self.waits else {
            self.fetch(Order::file(count), sources, image, &mut done)?;
            return Ok(done);
        };
        let mut order = Order::stream(count, waits, self.profile, &(0..0));
        if matches!(waits, Waits::All | Waits::Tables) {
            // Where the tables are stands in the first chunk.
            let first = order.only(|index| index == 0);
            self.fetch(first, sources, image, &mut done)?;
            let tables = tables(image, self.list.size());
            order = Order::stream(count, waits, self.profile, &tables);
        }
        self.fetch(order.gate(), sources, image, &mut done)?;
        Ok(done)
    }

    /// Fetches what is not `done` yet, as in full mode.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn rest(
        &self,
        sources: &mut Sources,
        image: &mut [u8],
        done: &mut [bool],
    ) -> anyhow::Result<()> {
        self.fetch(Order::file(self.list.count()), sources, image, done)
    }

    fn fetch(
        &self,
        order: Order,
        sources: &mut Sources,
        image: &mut [u8],
        done: &mut [bool],
    ) -> anyhow::Result<()> {
        let at = |index: u64| usize::try_from(index).ok();
        let is_done = |index: u64| at(index).and_then(|i| done.get(i)) == Some(&true);
        let order = order.only(|index| !is_done(index));
        let (list, pace, tell) = (self.list, self.pace, self.tell);
        Fetch::new(list, order.clone(), sources, image, pace, tell)?.run()?;
        for index in order.queue() {
            if let Some(done) = at(*index).and_then(|i| done.get_mut(i)) {
                *done = true;
            }
        }
        Ok(())
    }
}
