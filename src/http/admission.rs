//! The shell around [`super::queue`]: requests that wait for their workers' turn, and the clock.
//!
//! One gate a listener, that is a network: what a link carries is shared by those who are behind it. Only images pass it,
//! and only requests that say that they would wait ([`super::priority`]): everything else is served at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ramboot_wire::queue::Place;
use tokio::sync::{Notify, Semaphore};

use super::meter::Meter;
use super::priority::Priority;
use super::queue::{Answer, Queue};

/// Between two looks at the meters.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// The longest that a request is held, whatever it says it would wait.
const LONGEST: Duration = Duration::from_secs(2);

/// All workers of one listener.
#[derive(Debug)]
pub(super) struct Admission {
    inner: Mutex<Inner>,
    /// Bytes sent to anybody.
    sent: Arc<AtomicU64>,
}

/// Bytes that went to one address.
pub(super) type Sent = (IpAddr, u64);

#[derive(Debug)]
struct Inner {
    turns: Queue,
    workers: HashMap<IpAddr, Worker>,
    /// What went to those who are gone, and was not told yet.
    gone: Vec<Sent>,
}

/// One address with a connection.
#[derive(Debug)]
struct Worker {
    connections: usize,
    meter: Arc<Meter>,
    /// Of its bytes, those that were told.
    told: u64,
    turn: Arc<Notify>,
    making: Arc<Semaphore>,
}

/// How soon an answer is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Beside all others.
    Usual,
    /// Before them: a program on a running worker is blocked on it.
    Blocked,
}

/// A connection that was counted in; counted out when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Admission>,
    worker: IpAddr,
    pub(super) meter: Arc<Meter>,
    turn: Arc<Notify>,
    /// What is made for it, one thing at a time.
    pub(super) making: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                turns: Queue::new(now()),
                workers: HashMap::new(),
                gone: Vec::new(),
            }),
            sent: Arc::default(),
        }
    }

    /// A worker connects.
    pub(super) fn enter(self: &Arc<Self>, worker: IpAddr) -> Ticket {
        let mut inner = self.lock();
        let one = inner.workers.entry(worker).or_insert_with(|| Worker {
            connections: 0,
            meter: Arc::new(Meter::new(Arc::clone(&self.sent))),
            told: 0,
            turn: Arc::default(),
            making: Arc::new(Semaphore::new(1)),
        });
        one.connections += 1;
        Ticket {
            gate: Arc::clone(self),
            worker,
            meter: Arc::clone(&one.meter),
            turn: Arc::clone(&one.turn),
            making: Arc::clone(&one.making),
        }
    }

    /// Time goes by.
    pub(super) fn tick(&self) {
        let now = now();
        let mut inner = self.lock();
        let Inner { turns, workers, .. } = &mut *inner;
        for (worker, one) in workers.iter() {
            turns.sent(*worker, one.meter.own(), now);
        }
        turns.tick(self.sent.load(Ordering::Relaxed), now);
        inner.admit(now);
    }

    /// What went to whom since this was asked for last.
    pub(super) fn told(&self) -> Vec<Sent> {
        let mut inner = self.lock();
        let mut sent = std::mem::take(&mut inner.gone);
        for (worker, one) in &mut inner.workers {
            let new = one.meter.own() - one.told;
            if new > 0 {
                one.told += new;
                sent.push((*worker, new));
            }
        }
        sent
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admit(&mut self, now: Instant) {
        for worker in self.turns.admit(now) {
            if let Some(one) = self.workers.get(&worker) {
                one.turn.notify_waiters();
            }
        }
    }
}

impl Ticket {
    /// Waits for the worker's turn, as long as it would; its place if that was too short.
    pub(super) async fn turn(&self, wish: Priority) -> Result<Urgency, Place> {
        let deadline = tokio::time::Instant::now() + wish.patience.min(LONGEST);
        // Counts as waiting from here on, so that a turn that comes before it is awaited is not missed.
        let mut turn = Box::pin(self.turn.notified());
        let mut held = {
            let now = now();
            let mut inner = self.gate.lock();
            match inner.turns.ask(self.worker, wish.class, now) {
                Answer::Go => return Ok(Urgency::Usual),
                Answer::Urgent => return Ok(Urgency::Blocked),
                Answer::Wait => inner.admit(now),
            }
            Held(Some(self))
        };
        // The request may be given up at any moment; then it no longer waits, either.
        match tokio::time::timeout_at(deadline, &mut turn).await {
            // It is in line no longer, or again for another request.
            Ok(()) => {
                held.disarm();
                Ok(Urgency::Usual)
            }
            Err(_) => held.leave().map_or(Ok(Urgency::Usual), Err),
        }
    }
}

/// A request that waits in line; it leaves the line when this is dropped, unless it is disarmed.
struct Held<'a>(Option<&'a Ticket>);

impl Held<'_> {
    /// The request no longer stands in line.
    fn disarm(mut self) {
        self.0 = None;
    }

    /// Leaves the line; the place it had, if it still waited.
    fn leave(&mut self) -> Option<Place> {
        let pass = self.0.take()?;
        pass.gate.lock().turns.leave(pass.worker, now())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        let last = match inner.workers.get_mut(&self.worker) {
            None => false,
            Some(one) => {
                one.connections -= 1;
                one.connections == 0
            }
        };
        if last {
            if let Some(one) = inner.workers.remove(&self.worker)
                && inner.gone.len() < MAX_GONE
            {
                inner.gone.push((self.worker, one.meter.own() - one.told));
            }
            let now = now();
            inner.turns.gone(self.worker, now);
            inner.admit(now);
        }
    }
}

/// Between two looks; more connections than that do not end meanwhile, or it does not matter any more.
const MAX_GONE: usize = 4096;

#[expect(clippy::disallowed_methods, reason = "shell: owns the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::queue::Class;

    fn wish(ms: u64) -> Priority {
        Priority {
            patience: Duration::from_millis(ms),
            class: Class::Whole,
        }
    }

    #[tokio::test]
    async fn a_worker_waits_until_another_is_gone() {
        let gate = Arc::new(Admission::new());
        let enter = |number: u8| gate.enter(IpAddr::from([10, 0, 0, number]));
        let mut first: Vec<Ticket> = (1..=4).map(enter).collect();
        for pass in &first {
            pass.turn(wish(1000)).await.expect("its turn");
        }
        let fifth = enter(5);
        let place = Place {
            place: 1,
            waiting: 1,
        };
        assert_eq!(fifth.turn(wish(1)).await, Err(place));
        let waits = fifth.turn(wish(1000));
        let leaves = async { drop(first.pop()) };
        let (turn, ()) = tokio::join!(waits, leaves);
        turn.expect("its turn");
        drop((first, fifth));
        let inner = gate.lock();
        assert!(inner.turns.is_idle() && inner.workers.is_empty());
    }
}
