//! The fetch stage: RAM for the image, the image into it, verified, and a loop device over it.

use anyhow::Context as _;
use ramboot_fetch::arrival::Arrival;
use ramboot_fetch::engine::{Counts, Pace, STREAMS};
use ramboot_fetch::order::Waits;
use ramboot_fetch::sources::Sources;
use ramboot_wire::{BootArgs, ChunkList, Profile, Stage, Streaming};

use crate::agent::stream::start::{Arrived, Device, UNKNOWN};
use crate::clock;
use crate::console;
use crate::console::journal::{Facts, Journal, fact};
use crate::net::links::Link;
use crate::root::mount;
use crate::root::ram;
use crate::root::sys::{Mapped, Room};

/// What is known of the image before its first byte comes.
pub(super) struct Coming<'a> {
    pub(super) args: &'a BootArgs,
    /// The kernel's command line.
    pub(super) cmdline: &'a str,
    pub(super) link: &'a Link,
    pub(super) list: &'a ChunkList,
    pub(super) profile: Option<&'a Profile>,
    /// Asked for, and possible here.
    pub(super) streaming: Option<Streaming>,
    pub(super) pace: Pace,
}

/// The image, ready to be mounted.
pub(super) struct Image {
    pub(super) device: Device,
    /// Bytes that still come after the handover, in a worker that streams.
    pub(super) to_come: u64,
}

impl Coming<'_> {
    /// Fetches the image, or what its gate waits for, into `room` if that was taken ahead.
    ///
    /// # Errors
    /// This machine cannot hold the image. A server can never cause one.
    pub(super) fn fetch(
        &self,
        room: Option<Mapped>,
        sources: &mut Sources,
        journal: &Journal,
    ) -> anyhow::Result<(Image, Facts)> {
        let size = self.args.size;
        let mut image = self.room(room)?;
        let tell = |event| journal.event(&event, Stage::Fetch);
        let is_known = self.profile.is_some();
        let waits = self
            .streaming
            .map(|streaming| Waits::of(streaming.gate, is_known));
        if waits == Some(Waits::All) {
            console::say(UNKNOWN);
        }
        let arrival = Arrival {
            list: self.list,
            waits,
            profile: self.profile,
            pace: self.pace,
            tell: &tell,
        };
        let (start, before) = (clock::now(), Counts::of(sources));
        let done = arrival.run(sources, image.bytes_mut())?;
        let seconds = clock::now().duration_since(start).as_secs_f64();
        let counts = Counts::of(sources) - before;
        let here = resident(self.list, &done);
        let mut facts = vec![
            fact("bytes", counts.bytes),
            fact("chunks", self.list.count()),
            fact("streams", STREAMS),
            fact("retries", counts.retries),
            fact("bad", counts.bad),
            fact("mbps", megabits(here, seconds)),
        ];
        if let Some(waits) = waits {
            let percent = u128::from(here) * 100 / u128::from(size);
            facts.push(fact("resident", format!("{percent}%")));
            facts.push(fact("gate", waits.name()));
        }
        let arrived = Arrived {
            file: image.into_file().context("unmapping the image")?,
            done,
            waits,
            cmdline: self.cmdline,
        };
        let device = arrived.under_loop(&arrival, self.args, self.link, sources)?;
        let to_come = match device.until_handover {
            Some(_) => size.saturating_sub(here),
            None => 0,
        };
        Ok((Image { device, to_come }, facts))
    }

    /// RAM for the image, if there is enough.
    fn room(&self, room: Option<Mapped>) -> anyhow::Result<Mapped> {
        let size = self.args.size;
        let taken = if room.is_some() { size } else { 0 };
        // Only said, not counted: a boot does not end for it.
        let initramfs = ram::initramfs().unwrap_or(0);
        let available = ram::available()?.saturating_add(taken);
        ram::check(size, initramfs, available)?;
        match room {
            Some(image) => Ok(image),
            None => {
                let room = match self.streaming {
                    Some(_) => Room::AsTheyCome,
                    None => Room::Now,
                };
                Ok(ram::image_file(&mount::part("image"), size, room)?)
            }
        }
    }
}

/// Bytes of the chunks that are there.
fn resident(list: &ChunkList, done: &[bool]) -> u64 {
    let here = (0..).zip(done).filter(|(_, done)| **done);
    here.map(|(index, _)| list.chunk_len(index)).sum()
}

fn megabits(bytes: u64, seconds: f64) -> String {
    format!("{:.0}", bytes as f64 * 8.0 / 1e6 / seconds.max(0.001))
}
