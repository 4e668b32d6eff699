//! One machine: what is known of it, and what each thing seen of it changes. Pure; times are since the manager's start.
//!
//! Reports and heartbeats are untrusted: texts are cut and made plain, lists are bounded, and nothing is decided by them.

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::{Arch, Heartbeat, ImageId, Mac, Report, Stage, Uuid};

use super::boot::Boot;
use super::event::{Asked, AskedBy, Part};
use super::place::Place;
use super::problem::{self, Problem};
use super::streaming::WHOLE;
use crate::pi::id::Identity;

/// What is known of one machine.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(super) mac: Mac,
    pub(super) hostname: Option<Box<str>>,
    pub(super) place: Option<Place>,
    /// What it is, in words.
    pub(super) model: Box<str>,
    pub(super) pi: Option<Identity>,
    pub(super) uuid: Option<Uuid>,
    pub(super) arch: Option<Arch>,
    /// Bytes of RAM.
    pub(super) memory: Option<u64>,
    /// What it boots, or runs.
    pub(super) image: Option<ImageId>,
    pub(super) state: State,
    /// Since when it is in this state.
    pub(super) since: Duration,
    pub(super) boot: Boot,
    /// The last thing that went wrong in this boot.
    pub(super) problem: Option<Problem>,
    pub(super) vitals: Option<Vitals>,
    /// When it was last heard of.
    pub(super) seen: Duration,
    /// It has loaded a boot file here: there is a machine, and not just somebody who says so.
    pub(super) took: bool,
    /// It asked DHCP.
    pub(super) asked_dhcp: bool,
    /// How often its firmware looked for a DHCP server, since it was first heard of.
    pub(super) asks: u32,
    /// What is for it, until it begins to load that.
    pub(super) pending: Option<Box<Pending>>,
    /// The image whose end it fetched, and its address then, until it says what it read of it.
    pub(super) ended: Option<(ImageId, Ipv4Addr)>,
    budget: Budget,
}

/// What was decided for a machine when somebody asked in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    /// Its host name and its image.
    Chosen(Option<Box<str>>, ImageId),
    /// There is nothing for it to boot, and why.
    Nothing(Box<str>),
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its firmware asks for an address, so often.
    Asking(u32),
    /// It loads something.
    Loading(Part),
    /// All is loaded: Linux starts.
    Starting,
    /// `/init` works on this stage.
    Booting(Stage),
    /// `/init` stopped in this stage.
    Failed(Stage),
    /// The image's init runs.
    Up,
}

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    pub(super) up_s: u64,
    pub(super) memory: u64,
    pub(super) available: u64,
    pub(super) load_percent: u32,
    /// When it came.
    pub(super) at: Duration,
}

/// What somebody who counts hears of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A stage ended well, after so many milliseconds.
    Stage(Stage, u64),
    /// The image's init runs: the milliseconds of the last stage, and those since the firmware first asked, if that was seen.
    Up(u64, Option<u64>),
    /// `/init` stopped in this stage.
    Failed(Stage),
    /// All of its image is there, so many milliseconds after it was mounted.
    Untethered(u64),
}

impl Worker {
    pub(super) fn new(mac: Mac, now: Duration) -> Self {
        Self {
            mac,
            hostname: None,
            place: None,
            model: Box::default(),
            pi: None,
            uuid: None,
            arch: None,
            memory: None,
            image: None,
            state: State::Asking(0),
            since: now,
            boot: Boot::default(),
            problem: None,
            vitals: None,
            seen: now,
            took: false,
            asked_dhcp: false,
            asks: 0,
            pending: None,
            ended: None,
            budget: Budget::new(now),
        }
    }

    /// Its address, as far as is known.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.place.map(|place| place.address)
    }

    /// There is room for one more report of it.
    pub(super) fn may_report(&mut self, now: Duration) -> bool {
        self.budget.take(now)
    }

    pub(super) fn asked(&mut self, asked: &Asked, now: Duration) {
        self.asked_dhcp = true;
        if asked.discover {
            self.asks = self.asks.saturating_add(1);
        }
        if asked.asker == AskedBy::Firmware {
            if self.begins_anew(now) {
                self.anew(now);
            }
            if let State::Asking(asks) = self.state
                && asked.discover
            {
                self.state = State::Asking(asks.saturating_add(1));
            }
            // iPXE says less of the machine than its firmware did.
            if self.model.is_empty() || asked.pi.is_some() {
                self.model = plain(&asked.model, MAX_MODEL);
            }
            self.pi = match (self.pi, asked.pi) {
                // A Pi 3's ROM does not know its serial number; what it has loaded does.
                (Some(old), Some(new)) if new.serial.is_none() => Some(old),
                (old, new) => new.or(old),
            };
            self.uuid = asked.uuid.or(self.uuid);
            self.arch = asked.arch.or(self.arch);
        }
        self.seen = now;
    }

    /// Its firmware asks in the middle of something that firmware does not do: it was switched off and on.
    fn begins_anew(&self, now: Duration) -> bool {
        match self.state {
            State::Asking(_) | State::Loading(Part::Loader) => {
                self.boot.began.is_none() || now.saturating_sub(self.seen) > PAUSE
            }
            State::Loading(_)
            | State::Starting
            | State::Booting(_)
            | State::Failed(_)
            | State::Up => true,
        }
    }

    fn anew(&mut self, now: Duration) {
        self.boot = Boot {
            began: Some(now),
            ..Boot::default()
        };
        self.problem = None;
        self.vitals = None;
        self.enter(State::Asking(0), now);
    }

    fn enter(&mut self, state: State, now: Duration) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    pub(super) fn begins(&mut self, part: Part, now: Duration) {
        self.seen = now;
        if matches!(self.state, State::Up | State::Failed(_)) {
            self.anew(now);
        }
        if self.boot.firmware.is_empty() && self.boot.began.is_some() {
            self.boot.bar("dhcp", self.boot.began.unwrap_or(now), now);
        }
        if self.boot.open.is_none_or(|(open, _)| open != part) {
            self.boot.open = Some((part, now));
        }
        if !matches!(self.state, State::Booting(_)) {
            self.enter(State::Loading(part), now);
        }
        // What is chosen is chosen with the first thing that is loaded.
        if matches!(part, Part::Loader | Part::Uki) {
            self.settle(now);
        }
    }

    /// It was this machine that asked, from where it is.
    pub(super) fn settle(&mut self, now: Duration) {
        match self.pending.take().map(|pending| *pending) {
            Some(Pending::Chosen(hostname, image)) => {
                self.hostname = hostname;
                self.image = Some(image);
            }
            Some(Pending::Nothing(why)) => self.nothing(why, now),
            None => {}
        }
    }

    pub(super) fn loaded(&mut self, part: Part, now: Duration) {
        self.seen = now;
        if let Some((open, begin)) = self.boot.open
            && open == part
        {
            self.boot.bar(part.name(), begin, now);
            self.boot.open = None;
        }
        let last = matches!(part, Part::Initramfs | Part::Uki);
        if last && matches!(self.state, State::Loading(_)) {
            self.enter(State::Starting, now);
        }
    }

    fn nothing(&mut self, why: Box<str>, now: Duration) {
        self.seen = now;
        self.problem = Some(Problem {
            sentence: why,
            remedy: problem::NOTHING,
            at: now,
        });
    }

    pub(super) fn sent(&mut self, bytes: u64, now: Duration) {
        self.seen = now;
        let boot = &mut self.boot;
        boot.fetched = boot.fetched.saturating_add(bytes);
        if let Some(before) = boot.fetched_at {
            // What has just begun is told together with what came since the last time.
            let ms = now.saturating_sub(before).max(TOLD).as_millis();
            let rate = u64::try_from(u128::from(bytes) * 1000 / ms).unwrap_or(u64::MAX);
            // Half of what it was: smooth enough to read, quick enough to believe.
            boot.rate = if boot.rate == 0 {
                rate
            } else {
                boot.rate / 2 + rate / 2
            };
        }
        boot.fetched_at = Some(now);
    }

    pub(super) fn reported(&mut self, report: &Report, now: Duration) -> Option<News> {
        self.seen = now;
        let (stage, line) = (report.line.stage, &report.line);
        let again = line.error.is_some() && line.fact("again") == Some("yes");
        if stage == Stage::Untethered {
            return self.untethered(report, now);
        }
        // Of one that runs, what fetches the rest of the image says that.
        if self.state == State::Up && stage != Stage::Handover && !again {
            // It has started over, and its firmware did not ask here.
            self.boot = Boot::default();
            self.problem = None;
            self.vitals = None;
        }
        self.image = Some(report.image);
        if stage == Stage::Early {
            if let Some(machine) = line.fact("machine").filter(|_| self.pi.is_none()) {
                self.model = plain(machine, MAX_MODEL);
            }
            let memory = line.fact("memory").and_then(|bytes| bytes.parse().ok());
            self.memory = memory.or(self.memory);
        }
        if let Some(error) = &line.error {
            self.fails(stage, error, now);
            if again {
                return None;
            }
        }
        self.boot.stage(report, now);
        if line.error.is_some() {
            self.enter(State::Failed(stage), now);
            return Some(News::Failed(stage));
        }
        if stage == Stage::Fetch {
            self.boot.gate = line.fact("resident").and_then(share);
        }
        let next = Stage::BOOT.into_iter().find(|next| *next > stage);
        match next {
            Some(next) => {
                if next == Stage::Fetch {
                    (self.boot.fetched, self.boot.rate) = (0, 0);
                    self.boot.fetched_at = Some(now);
                }
                self.enter(State::Booting(next), now);
                Some(News::Stage(stage, line.ms))
            }
            None => {
                self.enter(State::Up, now);
                let took = self.boot.began.map(|began| ms(now.saturating_sub(began)));
                self.boot.took_ms = took;
                if let Some(gate) = self.boot.gate {
                    self.boot.holding.starts(gate, now);
                }
                Some(News::Up(line.ms, took))
            }
        }
    }

    /// It runs, and what fetches the rest of its image says how that ended, or goes on.
    fn untethered(&mut self, report: &Report, now: Duration) -> Option<News> {
        self.image = Some(report.image);
        self.enter(State::Up, now);
        if let Some(error) = &report.line.error {
            self.fails(Stage::Untethered, error, now);
            return None;
        }
        // It may be told twice.
        if !self.boot.holding.ends(now) {
            return None;
        }
        self.boot.untethered(report);
        Some(News::Untethered(report.line.ms.min(MAX_BOOT_MS)))
    }

    fn fails(&mut self, stage: Stage, error: &str, now: Duration) {
        self.problem = Some(Problem {
            sentence: plain(error, MAX_SENTENCE),
            remedy: problem::of_stage(stage),
            at: now,
        });
    }

    pub(super) fn beat(&mut self, beat: &Heartbeat, now: Duration) {
        self.seen = now;
        // Two processes send them, and UDP changes their order.
        let before = self.vitals.map(|vitals| vitals.up_s);
        if before.is_some_and(|before| beat.up_s.saturating_add(OUT_OF_ORDER_S) < before) {
            // Its kernel has started anew, and nothing else of that was seen.
            self.boot = Boot::default();
            self.problem = None;
            self.since = now;
        }
        self.image = Some(beat.image);
        if let Some(filling) = beat.filling {
            self.boot.holding.hears(filling, now);
        }
        if let Some(name) = &beat.hostname {
            self.hostname = Some(name.as_str().into());
        }
        self.memory = Some(beat.memory);
        self.vitals = Some(Vitals {
            up_s: beat.up_s,
            memory: beat.memory,
            available: beat.available.min(beat.memory),
            load_percent: beat.load_percent,
            at: now,
        });
        let took = self.boot.took_ms.get_or_insert(beat.boot_ms);
        *took = (*took).min(MAX_BOOT_MS);
        if self.state != State::Up {
            self.enter(State::Up, now);
        }
    }
}

/// So many reports at once, and one each second: a boot has nine.
#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u8,
    at: Duration,
}

impl Budget {
    const fn new(now: Duration) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let seconds = now.saturating_sub(self.at).as_secs();
        if seconds > 0 {
            let more = u8::try_from(seconds).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.at = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// One line of at most `max` characters, whatever was in it.
pub(super) fn plain(text: &str, max: usize) -> Box<str> {
    ramboot_wire::plain::line(text, max).into()
}

/// `37%`.
fn share(text: &str) -> Option<u8> {
    let share = text.strip_suffix('%')?.parse().ok()?;
    (share <= WHOLE).then_some(share)
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How often is told what was sent.
const TOLD: Duration = Duration::from_millis(500);
/// Firmware that asks after a longer silence begins anew.
const PAUSE: Duration = Duration::from_secs(120);
/// Heartbeats of one machine may overtake each other by so much, in seconds.
const OUT_OF_ORDER_S: u64 = 60;
const BURST: u8 = 64;
/// Characters.
const MAX_MODEL: usize = 80;
/// Characters.
pub(super) const MAX_SENTENCE: usize = 400;
/// A month: what is longer is nonsense.
pub(super) const MAX_BOOT_MS: u64 = 30 * 24 * 3600 * 1000;
