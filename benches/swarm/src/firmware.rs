//! DHCP and TFTP of all machines, in a thread of their own.
//!
//! A ROM waits for one small answer after the other. Behind thousands of streams in one thread each would come late, and
//! the manager would be blamed for it.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::dhcp::Air;
use crate::fault::Fault;
use crate::message::{Answer, Machine, Speaker};
use crate::random::Random;
use crate::route::Addresses;
use crate::stage::Question;

/// The thread; it ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Firmware {
    /// `None` when it is to end.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Firmware {
    /// The addresses are gone when this returns.
    fn drop(&mut self) {
        drop(self.jobs.take());
        // If it panicked, it has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What is noted of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) waits: Vec<(Question, Duration)>,
    /// Datagrams that were sent again.
    pub(crate) again: u64,
    /// DHCPNAKs, after each of which it began again.
    pub(crate) refused: u64,
}

type Done<T> = oneshot::Sender<(Result<T, Fault>, Notes)>;

#[derive(Debug)]
enum Job {
    Lease(Machine, Speaker, Random, Done<Answer>),
    File(Machine, Random, Wanted, Done<u64>),
}

/// A boot file, for whom, and where.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) own: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) name: String,
}

impl Firmware {
    /// In the network namespace of this thread.
    pub(crate) fn start(interface: String) -> anyhow::Result<Self> {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let made = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match made {
                Ok(runtime) => {
                    LocalSet::new().block_on(&runtime, work(&interface, receiver, &ready));
                }
                Err(error) => drop(ready.send(Err(error.into()))),
            }
        });
        is_ready.recv().context("the thread of DHCP and TFTP")??;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(crate) async fn lease(
        &self,
        machine: Machine,
        speaker: Speaker,
        random: Random,
    ) -> (Result<Answer, Fault>, Notes) {
        self.ask(|done| Job::Lease(machine, speaker, random, done))
            .await
    }

    pub(crate) async fn file(
        &self,
        machine: Machine,
        random: Random,
        wanted: Wanted,
    ) -> (Result<u64, Fault>, Notes) {
        self.ask(|done| Job::File(machine, random, wanted, done))
            .await
    }

    async fn ask<T>(&self, job: impl FnOnce(Done<T>) -> Job) -> (Result<T, Fault>, Notes) {
        let (done, is_done) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // An error is the other side's end, and then there is no answer either.
            let _ = jobs.send(job(done));
        }
        let gone = |_| (Err(Fault::NoAnswer("thread")), Notes::default());
        is_done.await.unwrap_or_else(gone)
    }
}

async fn work(
    interface: &str,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    ready: &std::sync::mpsc::Sender<anyhow::Result<()>>,
) {
    let made = Air::new(interface).and_then(|air| Ok((Rc::new(air), Rc::new(Addresses::new()?))));
    let (air, addresses) = match made {
        Ok(made) => made,
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("asking DHCP on {interface}"));
            return drop(ready.send(Err(error)));
        }
    };
    let heard = Rc::clone(&air);
    tokio::task::spawn_local(async move { heard.pump().await });
    // Who started this waits for it.
    let _ = ready.send(Ok(()));
    while let Some(job) = jobs.recv().await {
        let (air, addresses) = (Rc::clone(&air), Rc::clone(&addresses));
        tokio::task::spawn_local(async move {
            match job {
                Job::Lease(id, speaker, random, done) => {
                    let asker = Asker::new(id, air, random);
                    let lease = asker.lease(speaker, &addresses).await;
                    // A machine that gave up does not wait for it.
                    let _ = done.send((lease, asker.notes.into_inner()));
                }
                Job::File(id, random, wanted, done) => {
                    let asker = Asker::new(id, air, random);
                    let length = asker.tftp(&wanted).await;
                    let _ = done.send((length, asker.notes.into_inner()));
                }
            }
        });
    }
}

/// One machine during one exchange.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) id: Machine,
    pub(crate) air: Rc<Air>,
    pub(crate) notes: RefCell<Notes>,
    random: RefCell<Random>,
}

impl Asker {
    fn new(id: Machine, air: Rc<Air>, random: Random) -> Self {
        Self {
            id,
            air,
            notes: RefCell::default(),
            random: RefCell::new(random),
        }
    }

    pub(crate) fn waited(&self, question: Question, since: Instant) {
        let wait = (question, since.elapsed());
        self.notes.borrow_mut().waits.push(wait);
    }

    pub(crate) fn chance(&self) -> u32 {
        self.random.borrow_mut().word()
    }

    pub(crate) fn around(&self, time: Duration) -> Duration {
        self.random.borrow_mut().around(time)
    }
}
