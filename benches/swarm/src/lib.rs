//! A boot storm: many simulated machines in two threads, each with the real sequence of a boot, over real sockets.
//!
//! A PC's ROM asks DHCP and loads iPXE by TFTP; iPXE asks DHCP and gets script, kernel and initramfs; `/init` asks DHCP and
//! gets chunk list and chunks, as [`ramboot_fetch::schedule`] chooses them, over four connections, waiting its turn where it is
//! told to; or, streaming, what is hot first. Each machine goes by what it is answered, never by what the swarm was told. Server and swarm share a machine,
//! so bytes are thrown away in the kernel, but for a sample, which is verified.
//!
//! The network namespace it runs in needs an interface that is up and a route, no addresses:
//!
//! ```text
//! ip link set c0 up; ip link set lo up; ip route add 10.98.0.0/16 dev c0
//! ```
//!
//! Linux keeps at most `net.ipv4.neigh.default.gc_thresh3` neighbours (1 024), of all namespaces together.
#![allow(
    clippy::disallowed_methods,
    reason = "sockets, processes and the clock are what this is for"
)]

mod dhcp;
mod fault;
mod firmware;
mod head;
mod hot;
mod http;
mod image;
mod machine;
mod message;
mod plan;
mod random;
pub mod rig;
mod route;
mod script;
pub mod stage;
pub mod strangers;
pub mod summary;
pub mod svg;
mod tftp;
mod world;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::{JoinSet, LocalSet};

use machine::Machine;
pub use plan::{Hot, Plan};
use stage::Log;
use world::World;

/// What came of it.
#[derive(Debug)]
pub struct Storm {
    /// Each machine's notes.
    pub logs: Vec<Log>,
    /// When it began: the zero of all times in the notes.
    pub began: Instant,
    /// The longest that the swarm itself was late to act.
    pub own_delay: Duration,
}

impl Storm {
    /// In numbers.
    #[must_use]
    pub fn summary(&self) -> summary::Summary {
        summary::Summary::of(&self.logs, self.own_delay)
    }
}

/// Runs it, in the network namespace of this thread.
///
/// # Errors
/// The swarm cannot work here. What becomes of machines is in their logs.
pub fn run(plan: Plan) -> anyhow::Result<Storm> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    LocalSet::new().block_on(&runtime, storm(plan))
}

async fn storm(plan: Plan) -> anyhow::Result<Storm> {
    let world = Rc::new(World::new(plan)?);
    let late = Rc::new(Cell::new(Duration::ZERO));
    let watch = tokio::task::spawn_local(watch(Rc::clone(&late)));
    let mut machines = JoinSet::new();
    for number in 1..=world.plan.machines {
        machines.spawn_local(Machine::new(Rc::clone(&world), number).live());
    }
    let mut logs = Vec::new();
    while let Some(log) = machines.join_next().await {
        logs.push(log.context("a machine panicked")?);
    }
    watch.abort();
    Ok(Storm {
        logs,
        began: world.began,
        own_delay: late.get(),
    })
}

/// Finds out how late it is.
async fn watch(late: Rc<Cell<Duration>>) {
    const TICK: Duration = Duration::from_millis(10);
    loop {
        let asleep = Instant::now();
        tokio::time::sleep(TICK).await;
        let delay = asleep.elapsed().saturating_sub(TICK);
        late.set(late.get().max(delay));
    }
}

/// A machine has up to four connections, and a thousand of them more than the usual 1 024.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // What is refused shows as a machine's failure to open a socket.
    let _ = setrlimit(Resource::Nofile, raised);
}
