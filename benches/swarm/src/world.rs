//! What all machines of a storm share, in one thread.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use crate::dhcp::Air;
use crate::plan::Plan;
use crate::route::Addresses;

/// Time, the plan, the network.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) air: Air,
    pub(crate) addresses: Addresses,
    /// Where bytes go that nobody wants: never written to, so it costs no memory, but for what is verified.
    pub(crate) bin: RefCell<Vec<u8>>,
    pub(crate) began: Instant,
}

impl World {
    /// Needs a runtime around it.
    pub(crate) fn new(plan: Plan) -> io::Result<Self> {
        Ok(Self {
            air: Air::new(&plan.interface)?,
            addresses: Addresses::new()?,
            bin: RefCell::new(vec![0; BIN_BYTES]),
            began: Instant::now(),
            plan,
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Taken from one socket before others have their turn.
const BIN_BYTES: usize = 1 << 20;
