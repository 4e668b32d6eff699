//! From the image's file to a loop device: the plain file, or, in a worker that streams, the file that another process serves.
//! If that cannot be, all of the image is fetched after all.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::ChildStdin;

use anyhow::Context as _;
use ramboot_fetch::arrival::Arrival;
use ramboot_fetch::order::Waits;
use ramboot_fetch::sources::Sources;
use ramboot_wire::BootArgs;

use super::handoff::{Handoff, Line};
use super::spawn;
use crate::agent::heartbeat;
use crate::console;
use crate::net::links::Link;
use crate::root::mount::attach;
use crate::root::sys::{LoopReads, Mapped};

/// What came of the image.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// Where it lies.
    pub file: File,
    /// Which chunks are there.
    pub done: Vec<bool>,
    /// What was waited for, in a worker that streams.
    pub waits: Option<Waits>,
    /// The kernel's command line.
    pub cmdline: &'a str,
}

/// The image, ready to be mounted.
#[derive(Debug)]
pub struct Device {
    /// The loop device.
    pub device: PathBuf,
    /// Holds the device until it is mounted, where no other process does.
    _held: Option<File>,
    /// Closes when this process becomes the image's init; `None` if nobody streams.
    pub until_handover: Option<ChildStdin>,
}

impl Arrived<'_> {
    /// Puts it under a loop device.
    ///
    /// # Errors
    /// There is none.
    pub fn under_loop(
        mut self,
        arrival: &Arrival<'_>,
        args: &BootArgs,
        link: &Link,
        sources: &mut Sources,
    ) -> anyhow::Result<Device> {
        if let Some(waits) = self.waits {
            match spawn(&self.handoff(waits, arrival, args, link)) {
                Ok(started) => {
                    return Ok(Device {
                        device: started.device,
                        _held: None,
                        until_handover: Some(started.until_handover),
                    });
                }
                Err(error) => {
                    console::say(&format!(
                        "ramboot: streaming is not possible ({error:#}): all of the image is fetched before it starts"
                    ));
                    self.complete(arrival, sources)?;
                }
            }
        }
        let (device, held) = attach(&self.file, LoopReads::Cached)?;
        Ok(Device {
            device,
            _held: Some(held),
            until_handover: None,
        })
    }

    fn complete(&mut self, arrival: &Arrival<'_>, sources: &mut Sources) -> anyhow::Result<()> {
        let len = usize::try_from(arrival.list.size()).context("the image's size")?;
        let file = self.file.try_clone().context("the image's file")?;
        let mut mapped = Mapped::of(file, len).context("mapping the image")?;
        arrival.rest(sources, mapped.bytes_mut(), &mut self.done)
    }

    fn handoff(
        &self,
        waits: Waits,
        arrival: &Arrival<'_>,
        args: &BootArgs,
        link: &Link,
    ) -> Handoff {
        Handoff {
            line: Line {
                image: args.image,
                size: args.size,
                file: format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into(),
                cmdline: self.cmdline.to_owned(),
                heartbeat: heartbeat::Orders::new(args, link.mac).words(),
                link: link.index,
                waits,
                has_profile: arrival.profile.is_some(),
            },
            list: arrival.list.clone(),
            done: self.done.clone(),
            profile: arrival.profile.cloned(),
        }
    }
}

/// Said when the gate has to wait for everything.
pub const UNKNOWN: &str = "ramboot: nothing is known of this image yet: all of it is fetched before it starts, and what it \
                           reads is recorded";
