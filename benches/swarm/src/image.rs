//! The image as `/init` fetches it: chunk list, then runs of chunks over kept-alive connections, in the order of
//! `ramboot_fetch::schedule`; waiting its turn where it is told to. All of it, or what is hot first ([`crate::hot`]).

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ramboot_fetch::backoff::Backoff;
use ramboot_fetch::engine::Pace;
use ramboot_fetch::order::{MAX_RUN, Order};
use ramboot_fetch::schedule::{Ask, Chunks, Pick, Run};
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, BootArgs, CHUNK_BYTES, ChunkList, queue};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};

use crate::fault::Fault;
use crate::head::Head;
use crate::http::Connection;
use crate::machine::Machine;
use crate::stage::{Demand, Question, Stage};

/// How a fetch asks, and how it is noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// Of `Priority` (RFC 9218); none is said in full mode.
    urgency: Option<u8>,
    /// Chunks of one request.
    most: u64,
    waits: Stage,
    gets: Stage,
}

/// All of it, before the machine runs.
pub(crate) const WHOLE: Purpose = Purpose {
    urgency: None,
    most: MAX_RUN,
    waits: Stage::Queue,
    gets: Stage::Image,
};
/// What it needs to run.
pub(crate) const HOT: Purpose = Purpose {
    urgency: Some(1),
    ..WHOLE
};
/// What is left when it runs.
pub(crate) const REST: Purpose = Purpose {
    urgency: Some(6),
    most: 4,
    waits: Stage::Runs,
    gets: Stage::Rest,
};

/// Failures in a row after which a machine has failed; the real one goes on.
const MAX_FAILURES: u32 = 20;

impl Machine {
    /// The chunk list, folded against the image's id.
    pub(crate) async fn list(&self, args: &BootArgs) -> Result<ChunkList, Fault> {
        let base = args
            .bases
            .first()
            .ok_or_else(|| Fault::Script("no base".to_owned()))?;
        let request = self.request(base, &Resource::Chunks(args.image), "");
        let mut backoff = Backoff::new(Pace::WORKER.retry, Pace::WORKER.retry_cap);
        for _ in 0..MAX_FAILURES {
            match self.list_once(base, &request, args).await {
                Ok(Some(list)) => return Ok(list),
                Ok(None) => {}
                Err(fault) => {
                    self.note(&fault);
                    sleep(backoff.next(self.chance())).await;
                }
            }
        }
        Err(Fault::Status(503, "the chunk list, again and again"))
    }

    async fn list_once(
        &self,
        base: &Base,
        request: &str,
        args: &BootArgs,
    ) -> Result<Option<ChunkList>, Fault> {
        let (mut connection, head) = self
            .ask(&mut None, base.addr, request, Question::Boot)
            .await?;
        match head.status {
            200 if head.length == ChunkList::encoded_len(args.size) => {}
            503 if head.retry_after.is_some() => {
                sleep(self.told_to_wait(&head)).await;
                return Ok(None);
            }
            status => return Err(Fault::Status(status, "the chunk list")),
        }
        let mut bytes = Vec::new();
        let keep = |part: &[u8]| bytes.extend_from_slice(part);
        connection.read(&self.world, head.length, keep).await?;
        self.log.borrow_mut().boot_bytes += head.length;
        let list = ChunkList::prove(args.image, args.size, &bytes);
        list.map(Some)
            .map_err(|error| Fault::Lied(error.to_string()))
    }

    /// `more`: whole header fields.
    pub(crate) fn request(&self, base: &Base, resource: &Resource, more: &str) -> String {
        format!(
            "GET {}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ramboot-init/{}\r\n{more}\r\n",
            base.prefix,
            resource.path(),
            base.addr,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// All chunks.
    pub(crate) async fn image(&self, list: &ChunkList, args: &BootArgs) -> Result<(), Fault> {
        let base = args
            .bases
            .first()
            .ok_or_else(|| Fault::Script("no base".to_owned()))?;
        match &self.world.plan.hot {
            None => {
                let chunks = Chunks::new(Order::file(list.count()));
                self.fetch(list, base, WHOLE, chunks, &[]).await
            }
            Some(hot) => self.hot_first(list, base, hot).await,
        }
    }

    /// What is missing in `chunks`; those of `demanded` not in its order, but each at its moment.
    pub(crate) async fn fetch(
        &self,
        list: &ChunkList,
        base: &Base,
        purpose: Purpose,
        mut chunks: Chunks,
        demanded: &[u64],
    ) -> Result<(), Fault> {
        for &index in demanded {
            chunks.take(alone(index));
        }
        let job = Job {
            machine: self,
            base,
            purpose,
            chunks: RefCell::new(chunks),
            list,
            gate: Cell::new(Gate::Open),
            bodies: Cell::new(0),
            failures: Cell::new(0),
            changed: Notify::new(),
        };
        self.log.borrow_mut().enter(purpose.waits, self.world.now());
        let mut streams: Vec<Stream<'_>> = Vec::new();
        for _ in 0..self.world.plan.streams.max(1) {
            streams.push(Box::pin(job.stream()));
        }
        streams.push(Box::pin(job.demands(demanded)));
        let done = all(streams).await;
        self.log.borrow_mut().leave(self.world.now());
        done
    }
}

type Stream<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + 'a>>;

const fn alone(first: u64) -> Run {
    Run {
        first,
        count: 1,
        urgency: None,
    }
}

/// Waits for all of them, or for the first that fails.
async fn all(mut streams: Vec<Stream<'_>>) -> Result<(), Fault> {
    std::future::poll_fn(|context| {
        let mut failed = None;
        streams.retain_mut(|stream| match stream.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                failed = failed.take().or_else(|| done.err());
                false
            }
        });
        match failed {
            Some(fault) => Poll::Ready(Err(fault)),
            None if streams.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

/// Whether the manager may be asked: one stream finds out for all.
#[derive(Debug, Clone, Copy)]
enum Gate {
    Open,
    Closed { until: Instant, asking: bool },
}

/// What becomes of a request.
enum Begun {
    Body(Connection, Head),
    /// Others come first.
    Later(Duration),
}

/// What its streams share.
struct Job<'a> {
    machine: &'a Machine,
    base: &'a Base,
    list: &'a ChunkList,
    purpose: Purpose,
    chunks: RefCell<Chunks>,
    gate: Cell<Gate>,
    /// Answers under way.
    bodies: Cell<u32>,
    failures: Cell<u32>,
    changed: Notify,
}

impl Job<'_> {
    async fn stream(&self) -> Result<(), Fault> {
        let mut slot = None;
        loop {
            self.pass().await;
            let changed = self.changed.notified();
            let ask = Ask {
                base: 0,
                streams: self.machine.world.plan.streams.into(),
                only_demanded: false,
                now: Instant::now(),
            };
            let pick = self.chunks.borrow().pick(ask);
            let run = match pick {
                Pick::Finished => return Ok(()),
                Pick::Run(run) => Run {
                    count: run.count.min(self.purpose.most),
                    ..run
                },
                Pick::Wait(_) => {
                    changed.await;
                    continue;
                }
            };
            self.chunks.borrow_mut().take(run);
            let end = self.run(&mut slot, run).await;
            self.chunks.borrow_mut().release(run);
            if let Err(fault) = end {
                self.failed(&fault)?;
            }
            self.changed.notify_waiters();
        }
    }

    /// Waits until the gate is open, or this stream is the one that asks whether it is.
    async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            match self.gate.get() {
                Gate::Open => return,
                Gate::Closed { asking: true, .. } => changed.await,
                Gate::Closed { until, .. } if Instant::now() < until => {
                    sleep_until(until.into()).await
                }
                Gate::Closed { until, .. } => {
                    let asking = true;
                    return self.gate.set(Gate::Closed { until, asking });
                }
            }
        }
    }

    fn close(&self, time: Duration) {
        let until = Instant::now() + time;
        self.gate.set(Gate::Closed {
            until,
            asking: false,
        });
    }

    fn failed(&self, fault: &Fault) -> Result<(), Fault> {
        self.machine.note(fault);
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() > MAX_FAILURES {
            return Err(Fault::Head(format!(
                "failed {MAX_FAILURES} times, last: {fault}"
            )));
        }
        let mut backoff = Backoff::new(Pace::WORKER.retry, Pace::WORKER.retry_cap);
        self.close(backoff.next(self.machine.chance()));
        Ok(())
    }

    async fn run(&self, slot: &mut Option<Connection>, run: Run) -> Result<(), Fault> {
        let (mut connection, head) = match self.begin(slot, run, self.purpose.urgency).await? {
            Begun::Body(connection, head) => (connection, head),
            Begun::Later(time) => {
                self.close(time);
                if self.bodies.get() == 0 {
                    self.change(self.purpose.waits);
                }
                return Ok(());
            }
        };
        self.gate.set(Gate::Open);
        self.changed.notify_waiters();
        self.change(self.purpose.gets);
        self.bodies.set(self.bodies.get() + 1);
        let received = self.receive(&mut connection, run).await;
        self.bodies.set(self.bodies.get() - 1);
        received?;
        connection.end(&head);
        *slot = Some(connection);
        Ok(())
    }

    /// What a program is blocked on, now and then; when all else is there, nobody can be.
    async fn demands(&self, indexes: &[u64]) -> Result<(), Fault> {
        let mut slot = None;
        for (&index, left) in indexes.iter().zip((1..=indexes.len() as u64).rev()) {
            let pause = self.machine.up_to(2 * self.machine.world.plan.demand_each);
            if timeout(pause, self.all_but(left)).await.is_err() {
                let mut end = self.demand(&mut slot, index).await;
                while let Err(fault) = end {
                    self.failed(&fault)?;
                    end = self.demand(&mut slot, index).await;
                }
            } else {
                self.chunks.borrow_mut().release(alone(index));
            }
            self.changed.notify_waiters();
        }
        Ok(())
    }

    async fn all_but(&self, left: u64) {
        loop {
            let changed = self.changed.notified();
            if self.chunks.borrow().count_done() + left == self.list.count() {
                return;
            }
            changed.await;
        }
    }

    async fn demand(&self, slot: &mut Option<Connection>, index: u64) -> Result<(), Fault> {
        let (world, run) = (&self.machine.world, alone(index));
        let (asked, received) = (world.now(), world.received.get());
        let mut told_to_wait = 0;
        loop {
            match self.begin(slot, run, HOT.urgency).await? {
                Begun::Later(time) => {
                    told_to_wait += 1;
                    sleep(time).await;
                }
                Begun::Body(mut connection, head) => {
                    self.receive(&mut connection, run).await?;
                    connection.end(&head);
                    *slot = Some(connection);
                    self.machine.log.borrow_mut().demands.push(Demand {
                        took: world.now().saturating_sub(asked),
                        told_to_wait,
                        received: world.received.get() - received,
                    });
                    return Ok(());
                }
            }
        }
    }

    /// Asks for a run.
    async fn begin(
        &self,
        slot: &mut Option<Connection>,
        run: Run,
        urgency: Option<u8>,
    ) -> Result<Begun, Fault> {
        let machine = self.machine;
        let first = run.first * CHUNK_BYTES;
        let length = (run.count * CHUNK_BYTES).min(self.list.size() - first);
        let last = first + length - 1;
        let mut more = format!("Range: bytes={first}-{last}\r\n");
        if machine.world.plan.prefer_wait {
            more += &format!("Prefer: wait={}\r\n", queue::WAIT.as_secs());
        }
        if let Some(urgency) = urgency {
            more += &format!("Priority: u={urgency}\r\n");
        }
        let request = machine.request(self.base, &Resource::Image(self.list.id()), &more);
        let (mut connection, head) = machine
            .ask(slot, self.base.addr, &request, Question::Chunks)
            .await?;
        match head.status {
            206 if head.length == length
                && head.range == format!("bytes {first}-{last}/{}", self.list.size()) =>
            {
                Ok(Begun::Body(connection, head))
            }
            503 if head.retry_after.is_some() => {
                let time = machine.told_to_wait(&head);
                connection.skip(&machine.world, head.length).await?;
                connection.end(&head);
                *slot = Some(connection);
                Ok(Begun::Later(time))
            }
            206 => Err(Fault::Head(format!(
                "not the range that was asked for: {}",
                head.range
            ))),
            status => Err(Fault::Status(status, "chunks")),
        }
    }

    async fn receive(&self, connection: &mut Connection, run: Run) -> Result<(), Fault> {
        let machine = self.machine;
        let sample = machine.world.plan.sample.max(1);
        for index in run.first..run.first + run.count {
            let length = self.list.chunk_len(index);
            // Another chunk of each machine.
            if (index + u64::from(machine.id.number)).is_multiple_of(sample) {
                let mut chunk = Vec::new();
                let keep = |bytes: &[u8]| chunk.extend_from_slice(bytes);
                connection.read(&machine.world, length, keep).await?;
                let verified = self.list.verify(index, &chunk);
                verified.map_err(|bad| Fault::Lied(bad.to_string()))?;
                machine.log.borrow_mut().verified += 1;
            } else {
                connection.skip(&machine.world, length).await?;
            }
            machine.log.borrow_mut().image_bytes += length;
            self.chunks.borrow_mut().done(index);
        }
        Ok(())
    }

    fn change(&self, stage: Stage) {
        let machine = self.machine;
        machine.log.borrow_mut().change(stage, machine.world.now());
    }
}

#[cfg(test)]
mod tests;
