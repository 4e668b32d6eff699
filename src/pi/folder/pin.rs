//! What was chosen for a machine when its boot began, kept until its next one begins.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::path::{Class, Named};
use crate::pi::choice::PiChoice;

/// Machines booting at the same time; past that, who was silent longest loses its pin, and boots what is chosen anew.
pub(super) const MAX_PINS: usize = 1024;
/// No boot pauses that long: files take seconds, and a bootloader gives one up after 30 s (`TFTP_FILE_TIMEOUT`).
pub(super) const IDLE: Duration = Duration::from_secs(120);
/// A Pi 5 asks for config.txt first and again later, but gives up a file after this time: then it begins anew.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// How far a machine's boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It looked whether there is a start.elf.
    Begun,
    /// It read config.txt to find out which start.elf.
    Configured,
    /// start.elf runs, or (Pi 5) nothing of the kind is to come.
    Loaded,
    /// It read the command line: what it asks for after this, but armstub and kernel, belongs to the next boot.
    Last,
}

/// One machine's.
#[derive(Debug, Clone)]
pub(super) struct Pin {
    pub(super) choice: PiChoice,
    by: Named,
    stage: Stage,
    has_start_elf: bool,
    last: Duration,
}

impl Pin {
    fn new(choice: PiChoice, by: Named, class: Class, now: Duration) -> Self {
        let stage = match class {
            Class::Bootcode | Class::StartElf => Stage::Begun,
            _ => Stage::Loaded,
        };
        Self {
            choice,
            by,
            stage,
            has_start_elf: false,
            last: now,
        }
    }

    /// Whether this request begins another boot. By board: a ROM asks for bootcode.bin; then, as on a Pi 4, start.elf is
    /// looked for, config.txt read, start.elf read. A Pi 5 begins with config.txt. All of them end with the command
    /// line and the kernel.
    fn is_over(&self, by: Named, class: Class, now: Duration) -> bool {
        let silence = now.saturating_sub(self.last);
        self.by.contradicts(by)
            || silence > IDLE
            || match class {
                Class::Bootcode => true,
                Class::StartElf => self.stage != Stage::Configured,
                Class::Config => {
                    self.stage == Stage::Last || (!self.has_start_elf && silence > SILENCE)
                }
                Class::Cmdline | Class::Named | Class::Other => false,
            }
    }

    fn step(&mut self, class: Class, now: Duration) {
        self.last = now;
        self.has_start_elf |= class == Class::StartElf;
        self.stage = match (class, self.stage) {
            (Class::Config, Stage::Begun) => Stage::Configured,
            (Class::StartElf, Stage::Configured) => Stage::Loaded,
            (Class::Cmdline, _) => Stage::Last,
            (_, stage) => stage,
        };
    }
}

/// All machines', by address: the only thing that every request tells.
#[derive(Debug, Default)]
pub(super) struct Pins(BTreeMap<Ipv4Addr, Pin>);

impl Pins {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The pin this request belongs to, made with what `choose` gives if it begins a boot.
    ///
    /// # Errors
    /// `choose`'s; the machine has no pin then.
    pub(super) fn step<E>(
        &mut self,
        address: Ipv4Addr,
        by: Named,
        class: Class,
        now: Duration,
        choose: impl FnOnce() -> Result<PiChoice, E>,
    ) -> Result<&mut Pin, E> {
        let running = self.0.remove(&address);
        let mut pin = match running.filter(|pin| !pin.is_over(by, class, now)) {
            Some(pin) => pin,
            None => {
                let choice = choose()?;
                self.make_room(now);
                Pin::new(choice, by, class, now)
            }
        };
        pin.step(class, now);
        Ok(self.0.entry(address).or_insert(pin))
    }

    fn make_room(&mut self, now: Duration) {
        self.0.retain(|_, pin| now.saturating_sub(pin.last) <= IDLE);
        if self.0.len() >= MAX_PINS
            && let Some((&idlest, _)) = self.0.iter().min_by_key(|(_, pin)| pin.last)
        {
            self.0.remove(&idlest);
        }
    }
}
