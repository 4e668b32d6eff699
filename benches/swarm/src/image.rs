//! The image as `/init` fetches it: chunk list, then runs of chunks over kept-alive connections, in the order of
//! `ramboot_init::pick`; waiting its turn where it is told to.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use ramboot_init::backoff::Backoff;
use ramboot_init::fetch::Pace;
use ramboot_init::pick::{Ask, Chunks, Pick, Run};
use ramboot_init::plan::Order;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, BootArgs, CHUNK_BYTES, ChunkList, queue};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use crate::fault::Fault;
use crate::http::Connection;
use crate::machine::Machine;
use crate::stage::{Question, Stage};

/// Failures in a row after which a machine has failed; the real one goes on.
const MAX_FAILURES: u32 = 20;

impl Machine {
    /// The chunk list, folded against the image's id.
    pub(crate) async fn list(&self, args: &BootArgs) -> Result<ChunkList, Fault> {
        let base = args
            .bases
            .first()
            .ok_or_else(|| Fault::Script("no base".to_owned()))?;
        let request = self.request(base, &Resource::Chunks(args.image), None);
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

    fn request(&self, base: &Base, resource: &Resource, range: Option<(u64, u64)>) -> String {
        let range = range.map_or_else(String::new, |(first, last)| {
            format!("Range: bytes={first}-{last}\r\n")
        });
        let wait = self.world.plan.prefer_wait && matches!(resource, Resource::Image(_));
        let prefer = if wait {
            format!("Prefer: wait={}\r\n", queue::WAIT.as_secs())
        } else {
            String::new()
        };
        format!(
            "GET {}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ramboot-init/{}\r\n{range}{prefer}\r\n",
            base.prefix,
            resource.path(),
            base.addr,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// All chunks.
    pub(crate) async fn image(&self, list: ChunkList, args: &BootArgs) -> Result<(), Fault> {
        let base = args
            .bases
            .first()
            .ok_or_else(|| Fault::Script("no base".to_owned()))?;
        let job = Job {
            machine: self,
            base,
            chunks: RefCell::new(Chunks::new(Order::file(list.count()))),
            list,
            gate: Cell::new(Gate::Open),
            bodies: Cell::new(0),
            failures: Cell::new(0),
            changed: Notify::new(),
        };
        self.log.borrow_mut().enter(Stage::Queue, self.world.now());
        let streams = (0..self.world.plan.streams.max(1)).map(|_| Box::pin(job.stream()));
        let done = all(streams.collect()).await;
        self.log.borrow_mut().leave(self.world.now());
        done
    }
}

/// Waits for all of them, or for the first that fails.
async fn all<F: Future<Output = Result<(), Fault>> + Unpin>(
    mut streams: Vec<F>,
) -> Result<(), Fault> {
    use std::pin::Pin;
    use std::task::Poll;
    std::future::poll_fn(|context| {
        let mut failed = None;
        streams.retain_mut(|stream| match Pin::new(stream).poll(context) {
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

/// What its streams share.
struct Job<'a> {
    machine: &'a Machine,
    base: &'a Base,
    list: ChunkList,
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
                Pick::Run(run) => run,
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

    fn close(&self, time: std::time::Duration) {
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
        let machine = self.machine;
        let first = run.first * CHUNK_BYTES;
        let length = (run.count * CHUNK_BYTES).min(self.list.size() - first);
        let last = first + length - 1;
        let resource = Resource::Image(self.list.id());
        let request = machine.request(self.base, &resource, Some((first, last)));
        let (mut connection, head) = machine
            .ask(slot, self.base.addr, &request, Question::Chunks)
            .await?;
        match head.status {
            206 if head.length == length
                && head.range == format!("bytes {first}-{last}/{}", self.list.size()) => {}
            503 if head.retry_after.is_some() => {
                self.close(machine.told_to_wait(&head));
                if self.bodies.get() == 0 {
                    self.change(Stage::Queue);
                }
                connection.skip(&machine.world, head.length).await?;
                connection.end(&head);
                *slot = Some(connection);
                return Ok(());
            }
            206 => {
                return Err(Fault::Head(format!(
                    "not the range that was asked for: {}",
                    head.range
                )));
            }
            status => return Err(Fault::Status(status, "chunks")),
        }
        self.gate.set(Gate::Open);
        self.changed.notify_waiters();
        self.change(Stage::Image);
        self.bodies.set(self.bodies.get() + 1);
        let received = self.receive(&mut connection, run).await;
        self.bodies.set(self.bodies.get() - 1);
        received?;
        connection.end(&head);
        *slot = Some(connection);
        Ok(())
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
