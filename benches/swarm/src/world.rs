//! What all machines of a storm share, in its thread.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::firmware::Firmware;
use crate::plan::Plan;

/// Time, the plan, the network.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) firmware: Firmware,
    /// Where bytes go that nobody wants: never written to, so it costs no memory, but for what is verified.
    pub(crate) bin: RefCell<Vec<u8>>,
    pub(crate) began: Instant,
}

impl World {
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Self> {
        Ok(Self {
            firmware: Firmware::start(plan.interface.clone())?,
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
const BIN_BYTES: usize = 1 << 18;
