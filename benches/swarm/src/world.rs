//! What all machines of a storm share, in its thread.

use std::cell::{Cell, RefCell};
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
    /// Bytes of HTTP that machines received, all of them together.
    pub(crate) received: Cell<u64>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Self> {
        let firmware = Firmware::start(plan.interface.clone())?;
        Ok(Self::of(plan, firmware))
    }

    /// Without ports below 1 024, for who is not root.
    #[cfg(test)]
    pub(crate) fn without_firmware(plan: Plan) -> Self {
        Self::of(plan, Firmware::default())
    }

    fn of(plan: Plan, firmware: Firmware) -> Self {
        Self {
            firmware,
            bin: RefCell::new(vec![0; BIN_BYTES]),
            began: Instant::now(),
            received: Cell::new(0),
            plan,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Taken from one socket before others have their turn.
const BIN_BYTES: usize = 1 << 18;
