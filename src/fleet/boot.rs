//! One boot of a machine: what was done when, and how much of the image is there. Pure.

use std::time::Duration;

use ramboot_wire::stage::Bar;
use ramboot_wire::{Report, Stage};

use super::event::Part;
use super::streaming::Holding;
use super::worker::{MAX_BOOT_MS, ms, plain};

/// One boot.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// When its firmware first asked; `None` if this manager did not see that.
    pub(super) began: Option<Duration>,
    /// What the firmware did, in milliseconds since `began`.
    pub(super) firmware: Vec<Bar>,
    /// What is being loaded, and since when.
    pub(super) open: Option<(Part, Duration)>,
    /// What `/init` did, in milliseconds since it started.
    pub(super) init: Vec<Bar>,
    /// When `/init` started.
    pub(super) init_began: Option<Duration>,
    /// From `began`, or from the kernel's start, to the image's init.
    pub(super) took_ms: Option<u64>,
    /// Bytes of the image that went to it.
    pub(super) fetched: u64,
    /// Bytes a second, of late.
    pub(super) rate: u64,
    /// When `fetched` last grew.
    pub(super) fetched_at: Option<Duration>,
    /// How much of the image was there, of a hundred, when it was to be mounted; of one that does not wait for all of it.
    pub(super) gate: Option<u8>,
    /// How much is there.
    pub(super) holding: Holding,
}

impl Boot {
    /// Adds to what the firmware did; a second file of the same kind makes its bar longer.
    pub(super) fn bar(&mut self, what: &str, begin: Duration, end: Duration) {
        let Some(began) = self.began else { return };
        let (begin_ms, end_ms) = (
            ms(begin.saturating_sub(began)),
            ms(end.saturating_sub(began)),
        );
        let room = self.firmware.len() < MAX_BARS;
        match self.firmware.last_mut() {
            Some(last) if last.what == what => last.end_ms = end_ms,
            _ if room => self.firmware.push(Bar {
                what: what.to_owned(),
                begin_ms,
                end_ms,
            }),
            _ => {}
        }
    }

    /// One more stage of `/init`, or all of them.
    pub(super) fn stage(&mut self, report: &Report, now: Duration) {
        let line = &report.line;
        if report.waterfall.is_empty() {
            let begin_ms = self.init.last().map_or(0, |last| last.end_ms);
            if self.init.len() < MAX_BARS {
                self.init.push(Bar {
                    what: line.stage.name().to_owned(),
                    begin_ms,
                    end_ms: begin_ms.saturating_add(line.ms).min(MAX_BOOT_MS),
                });
            }
        } else {
            let bars = report.waterfall.iter().take(MAX_BARS);
            self.init = bars
                .map(|bar| Bar {
                    what: plain(&bar.what, MAX_BAR_NAME).into(),
                    begin_ms: bar.begin_ms.min(MAX_BOOT_MS),
                    end_ms: bar
                        .end_ms
                        .min(MAX_BOOT_MS)
                        .max(bar.begin_ms.min(MAX_BOOT_MS)),
                })
                .collect();
        }
        let end = self.init.iter().map(|bar| bar.end_ms).max().unwrap_or(0);
        self.init_began = Some(now.saturating_sub(Duration::from_millis(end)));
    }

    /// From the mount until all of the image was there.
    pub(super) fn untethered(&mut self, report: &Report) {
        let name = Stage::Untethered.name();
        let mount = self.init.iter().find(|bar| bar.what == Stage::Mount.name());
        let mounted = mount
            .or_else(|| self.init.last())
            .map_or(0, |bar| bar.end_ms);
        let told = report.waterfall.iter().find(|bar| bar.what == name);
        let (begin, end) = match told {
            Some(bar) => (bar.begin_ms, bar.end_ms),
            None => (mounted, mounted.saturating_add(report.line.ms)),
        };
        let begin_ms = begin.min(MAX_BOOT_MS);
        self.init.retain(|bar| bar.what != name);
        self.init.push(Bar {
            what: name.to_owned(),
            begin_ms,
            end_ms: end.clamp(begin_ms, MAX_BOOT_MS),
        });
    }
}

const MAX_BARS: usize = 16;
const MAX_BAR_NAME: usize = 24;
