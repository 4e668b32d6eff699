//! One machine from its power switch to the last byte of its image.

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use ramboot_wire::queue;
use tokio::time::{sleep, timeout};

use crate::fault::Fault;
use crate::firmware::{Notes, Wanted};
use crate::head::Head;
use crate::http::Connection;
use crate::message::{self, Answer, Speaker};
use crate::random::Random;
use crate::script::{Script, Url};
use crate::stage::{Log, Question, Stage};
use crate::world::World;

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: message::Machine,
    pub(crate) world: Rc<World>,
    pub(crate) log: RefCell<Log>,
    random: RefCell<Random>,
}

/// Tries for one boot file; the script of a real one asks for ever.
const TRIES: u32 = 5;
/// The boot script's own pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

impl Machine {
    /// One that is off.
    pub(crate) fn new(world: Rc<World>, number: u32) -> Self {
        let random = RefCell::new(Random::new(world.plan.seed, number));
        Self {
            id: message::Machine { number },
            world,
            log: RefCell::default(),
            random,
        }
    }

    /// Switches it on and gives what it noted.
    pub(crate) async fn live(self) -> Log {
        let within = self.world.plan.within;
        let after = self.random.borrow_mut().up_to(within);
        sleep(after).await;
        self.log.borrow_mut().on = self.world.now();
        let deadline = self.world.plan.deadline;
        let failed = match timeout(deadline, self.boots()).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(format!("not booted within {deadline:?}")),
        };
        let now = self.world.now();
        let mut log = self.log.take();
        if failed.is_some() {
            log.leave(now);
        }
        log.off = now;
        log.failed = failed;
        log
    }

    /// Boots; as often as it takes, if somebody is there who switches it off and on.
    async fn boots(&self) -> Result<(), Fault> {
        let Some(patience) = self.world.plan.again else {
            return self.boot().await;
        };
        loop {
            let booted = timeout(patience, self.boot()).await;
            match booted.unwrap_or(Err(Fault::TooLong(patience))) {
                Ok(()) => return Ok(()),
                Err(fault) => self.note(&fault),
            }
            self.log.borrow_mut().leave(self.world.now());
        }
    }

    async fn boot(&self) -> Result<(), Fault> {
        self.think().await;
        let lease = self.stage(Stage::Pxe, self.lease(Speaker::Rom)).await?;
        if lease.file.is_empty() || lease.file.contains("://") {
            return Err(Fault::NotBootable(lease.file, "a file for TFTP"));
        }
        let file = self.tftp(lease.next, lease.file);
        self.log.borrow_mut().boot_bytes += self.stage(Stage::Tftp, file).await?;
        self.think().await;
        let lease = self.stage(Stage::Ipxe, self.lease(Speaker::Ipxe)).await?;
        let url = Url::parse(&lease.file)
            .ok_or_else(|| Fault::NotBootable(lease.file.clone(), "a URL"))?;
        let script = self.stage(Stage::Script, self.script(&url)).await?;
        self.stage(Stage::Kernel, self.boot_file(&script.kernel, "the kernel"))
            .await?;
        self.stage(
            Stage::Initrd,
            self.boot_file(&script.initrd, "the initramfs"),
        )
        .await?;
        self.think().await;
        self.stage(Stage::Init, self.lease(Speaker::Init)).await?;
        let list = self.stage(Stage::List, self.list(&script.args)).await?;
        self.image(&list, &script.args).await
    }

    async fn lease(&self, speaker: Speaker) -> Result<Answer, Fault> {
        let random = self.fork();
        let (lease, notes) = self.world.firmware.lease(self.id, speaker, random).await;
        self.keep(notes);
        let lease = lease?;
        self.log.borrow_mut().address = Some(lease.address);
        Ok(lease)
    }

    async fn tftp(&self, server: Ipv4Addr, name: String) -> Result<u64, Fault> {
        let own = self.address();
        let wanted = Wanted { own, server, name };
        let file = self.world.firmware.file(self.id, self.fork(), wanted);
        let (length, notes) = file.await;
        self.keep(notes);
        length
    }

    fn keep(&self, notes: Notes) {
        let mut log = self.log.borrow_mut();
        log.waits.extend(notes.waits);
        log.again += notes.again;
        if notes.refused > 0 {
            *log.faults.entry(Fault::Refused.to_string()).or_default() += notes.refused;
        }
    }

    /// Chance for somebody else.
    fn fork(&self) -> Random {
        Random::new(self.random.borrow_mut().next(), self.id.number)
    }

    async fn stage<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.log.borrow_mut().enter(stage, self.world.now());
        let done = work.await;
        self.log.borrow_mut().leave(self.world.now());
        done
    }

    /// What iPXE runs.
    async fn script(&self, url: &Url) -> Result<Script, Fault> {
        let once = async || {
            let mut text = Vec::new();
            let keep = |bytes: &[u8]| text.extend_from_slice(bytes);
            self.file(url, Some(keep)).await?;
            Ok(text)
        };
        let text = self.tries(once).await?;
        Script::parse(&String::from_utf8_lossy(&text))
    }

    /// A boot file's name ends with the first digits of its BLAKE3; some machines look whether that is true.
    async fn boot_file(&self, url: &Url, what: &'static str) -> Result<(), Fault> {
        let sample = self.world.plan.sample.max(1);
        if !u64::from(self.id.number).is_multiple_of(sample) {
            let nothing = None::<fn(&[u8])>;
            return self.tries(async || self.file(url, nothing).await).await;
        }
        let once = async || {
            let mut hasher = blake3::Hasher::new();
            let hash = |bytes: &[u8]| {
                hasher.update(bytes);
            };
            self.file(url, Some(hash)).await?;
            Ok(hasher.finalize().to_hex())
        };
        let digest = self.tries(once).await?;
        let named = url.path.rsplit('-').next().unwrap_or_default();
        if named.len() >= 16 && digest.starts_with(named) {
            Ok(())
        } else {
            Err(Fault::BootFile(what))
        }
    }

    /// Again after a pause, as the boot script has it.
    pub(crate) async fn tries<T>(
        &self,
        mut once: impl AsyncFnMut() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        for _ in 1..TRIES {
            match once().await {
                Ok(done) => return Ok(done),
                Err(fault) => self.note(&fault),
            }
            sleep(PAUSE).await;
        }
        once().await
    }

    /// As iPXE gets one, over a connection of its own.
    async fn file(&self, url: &Url, sink: Option<impl FnMut(&[u8])>) -> Result<(), Fault> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: iPXE/1.21.1\r\nConnection: keep-alive\r\n\r\n",
            url.path, url.addr
        );
        loop {
            let mut slot = None;
            let (mut connection, head) = self
                .ask(&mut slot, url.addr, &request, Question::Boot)
                .await?;
            match head.status {
                200 => {
                    match sink {
                        Some(sink) => connection.read(&self.world, head.length, sink).await?,
                        None => connection.skip(&self.world, head.length).await?,
                    }
                    self.log.borrow_mut().boot_bytes += head.length;
                    return Ok(());
                }
                503 if head.retry_after.is_some() => sleep(self.told_to_wait(&head)).await,
                status => return Err(Fault::Status(status, "a boot file")),
            }
        }
    }

    /// Asks over the connection that is there or a new one, and notes how long the answer took to come.
    pub(crate) async fn ask(
        &self,
        slot: &mut Option<Connection>,
        to: SocketAddrV4,
        request: &str,
        question: Question,
    ) -> Result<(Connection, Head), Fault> {
        let asked = self.world.now();
        let mut connection = match slot.take().filter(Connection::is_reusable) {
            Some(connection) => connection,
            None => Connection::open(&self.world, self.address(), to).await?,
        };
        let head = connection.ask(&self.world, request).await?;
        self.waited(question, asked);
        Ok((connection, head))
    }

    /// RFC 9110 §10.2.3; with jitter, as all were told the same.
    pub(crate) fn told_to_wait(&self, head: &Head) -> Duration {
        let mut log = self.log.borrow_mut();
        log.told_to_wait += 1;
        log.first_place = log.first_place.or(head.place);
        drop(log);
        let told = head.retry_after.unwrap_or(queue::WAIT);
        told.min(LONGEST_WAIT) + self.random.borrow_mut().up_to(queue::WAIT / 4)
    }

    pub(crate) fn waited(&self, question: Question, asked: Duration) {
        let took = self.world.now().saturating_sub(asked);
        self.log.borrow_mut().waits.push((question, took));
    }

    pub(crate) fn note(&self, fault: &Fault) {
        let mut log = self.log.borrow_mut();
        *log.faults.entry(fault.to_string()).or_default() += 1;
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.log.borrow().address.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    pub(crate) fn chance(&self) -> u32 {
        self.random.borrow_mut().word()
    }

    /// A number below `most`, and 0 if there is none.
    pub(crate) fn below(&self, most: usize) -> usize {
        let word = self.random.borrow_mut().next();
        let rest = word.checked_rem(most as u64).unwrap_or(0);
        usize::try_from(rest).unwrap_or(0)
    }

    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        self.random.borrow_mut().up_to(most)
    }

    pub(crate) fn around(&self, time: Duration) -> Duration {
        self.random.borrow_mut().around(time)
    }

    async fn think(&self) {
        let time = self.around(self.world.plan.think);
        sleep(time).await;
    }
}

/// A server can not keep a machine away for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
