//! Any simulated machine, for whoever drives and counts many.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::outcome::{Failure, Numbers, Violation};
use crate::params::{Mac, Model, Params};
use crate::pc::{Pc, PcParams};
use crate::pi::Pi;

/// A Pi or a PC.
#[derive(Debug)]
pub enum Station {
    /// A Raspberry Pi.
    Pi(Box<Pi>),
    /// A PC.
    Pc(Box<Pc>),
}

impl From<Params> for Station {
    fn from(params: Params) -> Self {
        Self::Pi(Box::new(Pi::new(params)))
    }
}

impl From<PcParams> for Station {
    fn from(params: PcParams) -> Self {
        Self::Pc(Box::new(Pc::new(params)))
    }
}

/// The same of both.
macro_rules! of_either {
    ($station:expr, $it:ident => $what:expr) => {
        match $station {
            Self::Pi($it) => $what,
            Self::Pc($it) => $what,
        }
    };
}

impl Station {
    /// What kind of machine it is, in a word or two.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Pi(pi) => match pi.params().model {
                Model::Rom3b => "Pi 3B".to_owned(),
                Model::Rom3bPlus => "Pi 3B+".to_owned(),
                Model::Bc3 => "Pi 3B with card".to_owned(),
                Model::Ee4 => "Pi 4".to_owned(),
                Model::Ee5 => "Pi 5".to_owned(),
            },
            Self::Pc(pc) => pc.params().kind.to_string(),
        }
    }

    /// Its MAC.
    #[must_use]
    pub fn mac(&self) -> Mac {
        of_either!(self, it => it.params().mac)
    }

    /// Its address, while it boots and when it has booted.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        of_either!(self, it => it.address())
    }

    /// It has an outcome.
    #[must_use]
    pub fn is_done(&self) -> bool {
        of_either!(self, it => it.outcome().is_some())
    }

    /// Why it did not boot, if it did not.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        of_either!(self, it => it.outcome().and_then(|outcome| outcome.boot.as_ref().err()))
    }

    /// What servers did wrong; of a machine that is done.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        of_either!(self, it => it.outcome().map_or(&[], |outcome| &outcome.violations))
    }

    /// Its numbers, when it is done.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        of_either!(self, it => it.outcome().map(|outcome| outcome.numbers).unwrap_or_default())
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        of_either!(self, it => it.next_deadline())
    }

    pub(crate) fn poll(&mut self, now: Duration, frame: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        of_either!(self, it => it.poll(now, frame, out));
    }

    pub(crate) fn violation(&mut self, violation: Violation) {
        of_either!(self, it => it.violation(violation));
    }

    pub(crate) fn give_up(&mut self, now: Duration, limit: Duration) {
        of_either!(self, it => it.give_up(now, limit));
    }
}
