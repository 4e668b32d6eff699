//! Simulated machines at the bridge, on a port of their own.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    setsockopt,
    sockopt::{RcvBuf, RcvBufForce},
};
use ramboot::host::packet_socket::{Frames, Link};
use ramboot_sim::{Conditions, Outcome, Params, Station, Wire};

use crate::lan::{BRIDGE, Lan};
use crate::process::run;

/// The Pis' end of the cable, and the bridge's.
const PIS: &str = "pis1";
const PORT: &str = "pis0";
/// Hundreds of Pis are read by one thread: what a burst of answers to them all needs.
const QUEUE_BYTES: usize = 32 << 20;

/// A cable with any number of Pis at its end.
#[derive(Debug)]
pub(crate) struct Cable {
    link: Link,
}

impl Cable {
    /// Plugs it in; there is one in a network.
    pub(crate) fn new(_in: &Lan) -> Result<Self> {
        for args in [
            format!("link add {PORT} type veth peer name {PIS}"),
            format!("link set {PORT} master {BRIDGE} up"),
            format!("link set {PIS} up"),
        ] {
            run("ip", &args.split(' ').collect::<Vec<_>>())?;
        }
        let link = Link::open(PIS, Frames::All).context("opening the Pis' end of the cable")?;
        // Past the host's limit for root only; others have what the limit allows.
        setsockopt(&link, RcvBufForce, &QUEUE_BYTES)
            .or_else(|_| setsockopt(&link, RcvBuf, &QUEUE_BYTES))
            .context("making room for frames")?;
        Ok(Self { link })
    }

    /// Boots machines of any kind, and gives them back, done.
    pub(crate) fn boot_stations(
        &mut self,
        stations: Vec<Station>,
        conditions: Conditions,
    ) -> Result<Vec<Station>> {
        let started = Instant::now();
        ramboot_sim::boot_stations(stations, conditions, self, &mut || started.elapsed())
            .context("carrying the machines' frames")
    }

    /// Boots Pis.
    pub(crate) fn boot(
        &mut self,
        params: Vec<Params>,
        conditions: Conditions,
    ) -> Result<Vec<Outcome>> {
        let started = Instant::now();
        ramboot_sim::boot_all(params, conditions, self, &mut || started.elapsed())
            .context("carrying the Pis' frames")
    }
}

impl Wire for Cable {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self.link.send(frame) {
            // A full queue loses a frame, as cables do.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
            result => result,
        }
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        self.link.receive(buffer, wait)
    }
}

/// One Pi of each kind; `n` tells those of one kind from others.
pub(crate) fn one_of_each(n: u16) -> Vec<Params> {
    use ramboot_sim::Date;
    vec![
        Params::pi3b(n),
        Params::pi3b_plus(n),
        Params::pi3_with_card(n),
        Params::pi4(n, Date(2019, 10, 8)),
        Params::pi4(n + 1, Date(2025, 10, 1)),
        Params::pi5(n, Date(2026, 1, 1)),
    ]
}

/// All booted, and no server did anything wrong that is not `excused`.
pub(crate) fn all_booted(
    params: &[Params],
    outcomes: &[Outcome],
    excused: fn(&ramboot_sim::Violation) -> bool,
) -> Result<()> {
    ensure!(params.len() == outcomes.len(), "an outcome is missing");
    for (params, outcome) in params.iter().zip(outcomes) {
        let who = || format!("{:?} {:02x?}", params.model, params.mac);
        if let Err(failure) = &outcome.boot {
            return Err(failure.clone()).with_context(who);
        }
        let wrong: Vec<_> = outcome.violations.iter().filter(|v| !excused(v)).collect();
        ensure!(wrong.is_empty(), "{} booted, but: {wrong:#?}", who());
    }
    Ok(())
}
