//! The process that streams: takes what `/init` hands over, serves the image as a file while it comes, exchanges that file for the
//! plain one when all is there, and ends. It lives in RAM alone and holds nothing of the image's root.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use ramboot_fetch::engine::{Fetch, Pace, STREAMS};
use ramboot_fetch::event::Event;
use ramboot_fetch::order::{Order, tables};
use ramboot_fetch::sources::Sources;
use ramboot_wire::{BootArgs, Stage, StageLine, plain};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::system::{RebootCommand, reboot};

use super::file_server::Server;
use super::handoff::Handoff;
use super::reads::Reads;
use super::system_events::{Moment, SystemEvents};
use super::uplink::{Uplink, beat};
use super::{DEVICE, FAILED};
use crate::agent::heartbeat;
use crate::clock::{self, Watch, give_way};
use crate::console;
use crate::console::journal::fact;
use crate::fatal;
use crate::root::mount::{attach, part};
use crate::root::ram::device_len;
use crate::root::sys::{LoopReads, Mapped, change_loop};

/// Does all of it. What `/init` must know is said on standard output: a device, or why there is none.
#[must_use]
pub fn run() -> ExitCode {
    let mut stdout = io::stdout();
    let work = match Work::begin() {
        Ok(work) => work,
        Err(error) => {
            writeln!(
                stdout,
                "{FAILED}{}",
                plain::line(&format!("{error:#}"), MAX_FAILED)
            )
            .ok();
            return ExitCode::FAILURE;
        }
    };
    writeln!(stdout, "{DEVICE}{}", work.device.1).ok();
    work.go();
    ExitCode::SUCCESS
}

struct Work {
    handoff: Handoff,
    args: BootArgs,
    heart: heartbeat::Orders,
    watch: Watch,
    /// Everything lives as long as the process.
    fetch: &'static Fetch<'static>,
    server: &'static Server,
    uplink: &'static Uplink,
    image: File,
    /// The loop device, and its path.
    device: (File, String),
    events: SystemEvents,
    proc: File,
    meminfo: File,
    is_resident: Arc<AtomicBool>,
}

impl Work {
    /// Until the image's file system can be mounted.
    fn begin() -> anyhow::Result<Self> {
        let watch = Watch::start();
        stay()?;
        let handoff = Handoff::read(&mut io::stdin().lock())?;
        let args = BootArgs::parse(&handoff.line.cmdline).context("reading the command line")?;
        let heart = heartbeat::Orders::parse(&handoff.line.heartbeat).context("whom to tell")?;
        // /proc and /dev are elsewhere once the roots are exchanged.
        let (proc, meminfo) = (File::open("/proc")?, File::open("/proc/meminfo")?);
        let open = || {
            let path = &handoff.line.file;
            let file = File::options().read(true).write(true).open(path);
            file.with_context(|| format!("opening {}", path.display()))
        };
        let (mapped, image) = (open()?, open()?);
        let uplink: &Uplink = Box::leak(Box::new(Uplink::new(args.clone(), heart.mac)));
        let fetch = prepare(&handoff, &args, mapped, uplink)?;
        let events = SystemEvents::open(handoff.line.link)?;
        let path = part("stream");
        let server = Server::mount(&path, image.try_clone()?, handoff.line.size, fetch, watch)?;
        let server: &Server = Box::leak(Box::new(server));
        spawn("listen", || server.listen())?;
        spawn("answer", || server.answer_parked())?;
        let is_resident = Arc::new(AtomicBool::new(false));
        let resident = Arc::clone(&is_resident);
        spawn("fetch", move || {
            if let Err(error) = fetch.run() {
                console::log(&format!("ramboot: fetching the image: {error:#}"));
            }
            resident.store(fetch.good() == fetch.wanted(), Ordering::SeqCst);
        })?;
        let file = File::open(&path).context("opening the FUSE file")?;
        // The loop driver goes by the length that the kernel knows, and asks for none.
        file.metadata().context("looking at the FUSE file")?;
        let (path, device) = attach(&file, LoopReads::Direct)?;
        Ok(Self {
            handoff,
            args,
            heart,
            watch,
            fetch,
            server,
            uplink,
            image,
            device: (device, path.display().to_string()),
            events,
            proc,
            meminfo,
            is_resident,
        })
    }

    /// Until the worker needs nobody.
    fn go(self) {
        let is_handed_over = Arc::new(AtomicBool::new(false));
        self.await_handover(Arc::clone(&is_handed_over));
        let mut teller = None;
        let mut is_at_full_speed = false;
        loop {
            let (is_recorded, is_quiet) = self.hear();
            if is_recorded && let Some(recording) = self.recording() {
                let uplink = self.uplink;
                teller = spawn("tell", move || uplink.tell(&recording)).ok();
            }
            if is_quiet && !std::mem::replace(&mut is_at_full_speed, true) {
                self.at_full_speed();
            }
            self.mind_the_blocked();
            // The exchange takes from the page cache what nobody has open (bdev_mark_dead), which a boot would read again.
            let is_over = is_recorded || (is_quiet && self.handoff.profile.is_some());
            if self.is_resident.load(Ordering::SeqCst)
                && is_handed_over.load(Ordering::SeqCst)
                && is_over
                && self.untether()
            {
                break;
            }
        }
        if let Some(teller) = teller {
            teller.join().ok();
        }
    }

    /// On a thread of its own: when `/init` becomes the image's init, the worker says how far it is, and filling begins.
    fn await_handover(&self, is_handed_over: Arc<AtomicBool>) {
        let (server, fetch, watch) = (self.server, self.fetch, self.watch);
        let (heart, size) = (self.heart.clone(), self.handoff.line.size);
        let beats = self.args.heartbeat;
        let meminfo = self.meminfo.try_clone().ok().filter(|_| beats);
        spawn("handover", move || {
            // `/init`'s end of the pipe closes when it becomes the image's init.
            io::copy(&mut io::stdin().lock(), &mut io::sink()).ok();
            let at = ms(watch);
            server
                .recorded()
                .note(|moments| moments.handover = Some(at));
            is_handed_over.store(true, Ordering::SeqCst);
            fetch.fill(WHILE_IT_BOOTS);
            // Not earlier: whoever sends heartbeats runs, for all a manager knows.
            if let Some(meminfo) = meminfo {
                beat(&heart, &meminfo, size, || {
                    let resident = size - (fetch.wanted() - fetch.good());
                    (resident, server.blocked(clock::now()))
                });
            }
        })
        .ok();
    }

    /// Notes what happened within a moment. Whether the boot is recorded, and whether it is over for all one can see.
    fn hear(&self) -> (bool, bool) {
        for moment in self.events.hear(TICK) {
            let at = ms(self.watch);
            self.server.recorded().note(|moments| match moment {
                Moment::Ready => moments.ready = moments.ready.or(Some(at)),
                Moment::Online => moments.online = Some(at),
                Moment::Network => moments.network = Some(at),
            });
        }
        let (reads, at) = (self.server.recorded(), ms(self.watch));
        (reads.is_complete(at), reads.is_quiet(at))
    }

    /// Programs have started: what is left may have what they do not take.
    fn at_full_speed(&self) {
        self.fetch.fill(STREAMS);
        let (image, size) = (self.image.try_clone().ok(), self.handoff.line.size);
        spawn("room", move || take_room(image, size)).ok();
    }

    fn recording(&self) -> Option<ramboot_wire::Recording> {
        let mut reads: std::sync::MutexGuard<'_, Reads> = self.server.recorded();
        reads.end(self.heart.mac, self.handoff.line.image)
    }

    /// All is there: the plain file takes the place of ours. Says whether it did.
    fn untether(&self) -> bool {
        if let Err(error) = change_loop(&self.device.0, &self.image) {
            console::log(&format!(
                "ramboot: giving the image to the loop device: {error}; going on to serve it"
            ));
            clock::sleep(AGAIN);
            return false;
        }
        let counts = self.fetch.counts();
        self.uplink.untethered(&StageLine {
            stage: Stage::Untethered,
            error: None,
            facts: vec![
                fact("bytes", counts.bytes),
                fact("chunks", self.handoff.list.count()),
                fact("reads", self.server.reads()),
                fact("demanded", self.server.demanded()),
                fact("retries", counts.retries),
                fact("bad", counts.bad),
            ],
            ms: self.watch.ms(),
        });
        true
    }

    /// A program that waits is waited with, unless somebody said for how long, or the machine is to stop anyway.
    fn mind_the_blocked(&self) {
        let Some(blocked) = self.server.blocked(clock::now()) else {
            return;
        };
        if let Some(seconds) = self.args.deadline
            && blocked >= Duration::from_secs(seconds.into())
        {
            console::log(&format!(
                "ramboot: a program waited {seconds} s for a part of the image (ramboot.deadline); rebooting now"
            ));
            fatal::restart();
        }
        if blocked >= STUCK
            && let Some((verb, command)) = self.shutdown()
        {
            console::log(&format!(
                "ramboot: the machine is shutting down and waits for a part of its image: {verb} now"
            ));
            if let Err(error) = reboot(command) {
                // No kernel was loaded for kexec; systemd-shutdown falls back to the same.
                console::log(&format!("ramboot: {verb}: {error}; rebooting now"));
                fatal::restart();
            }
        }
    }

    /// What systemd-shutdown was started for, if it is the first process: it has ended all programs, and nothing in RAM is
    /// worth waiting for.
    fn shutdown(&self) -> Option<(&'static str, RebootCommand)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.proc, "1/cmdline", flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        File::from(file).take(256).read_to_end(&mut text).ok()?;
        verb(&text)
    }
}

fn verb(cmdline: &[u8]) -> Option<(&'static str, RebootCommand)> {
    let mut words = cmdline.split(|byte| *byte == 0);
    words.next()?.ends_with(b"systemd-shutdown").then_some(())?;
    match words.next()? {
        b"reboot" => Some(("reboot", RebootCommand::Restart)),
        b"poweroff" => Some(("poweroff", RebootCommand::PowerOff)),
        b"halt" => Some(("halt", RebootCommand::Halt)),
        b"kexec" => Some(("kexec", RebootCommand::Kexec)),
        _ => None,
    }
}

/// Nothing can take this process away: not a lack of memory, not the end of the terminal.
fn stay() -> anyhow::Result<()> {
    // Refused only to who leads a session already.
    let _ = rustix::process::setsid();
    fs::write("/proc/self/oom_score_adj", "-1000\n").context("writing oom_score_adj")?;
    mlockall(MlockAllFlags::CURRENT).context("locking memory")?;
    // Pages of the image are locked as they come, not all at once.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).context("locking memory")?;
    console::open_kmsg();
    Ok(())
}

/// The fetch of what is not there yet.
fn prepare(
    handoff: &Handoff,
    args: &BootArgs,
    file: File,
    uplink: &'static Uplink,
) -> anyhow::Result<&'static Fetch<'static>> {
    let len = usize::try_from(handoff.line.size).context("the image's size")?;
    let mapped: &mut Mapped = Box::leak(Box::new(Mapped::of(file, len)?));
    let is_done = |index: u64| {
        let found = usize::try_from(index)
            .ok()
            .and_then(|i| handoff.done.get(i));
        found.copied().unwrap_or(false)
    };
    let tables = if is_done(0) {
        tables(mapped.bytes(), handoff.line.size)
    } else {
        0..0
    };
    let order = Order::stream(
        handoff.list.count(),
        handoff.line.waits,
        handoff.profile.as_ref(),
        &tables,
    )
    .only(|index| !is_done(index));
    let pace = Pace::WORKER;
    let sources = Box::leak(Box::new(Sources::new(
        &args.bases,
        pace.retry,
        pace.retry_cap,
    )));
    let list = Box::leak(Box::new(handoff.list.clone()));
    let tell: &'static (dyn Fn(Event) + Sync) =
        Box::leak(Box::new(|event: Event| uplink.event(&event)));
    let fetch = Fetch::new(list, order, sources, mapped.bytes_mut(), pace, tell)?;
    Ok(Box::leak(Box::new(fetch.on_demand())))
}

/// Takes the RAM for what is still to come, in pieces, so that the worker's programs do not take it meanwhile. Not while they
/// start: two gigabytes are half a million pages, which takes longer than a boot on a slow processor.
fn take_room(image: Option<File>, size: u64) {
    let Some(image) = image else { return };
    give_way(LEAST);
    let whole = device_len(size);
    for offset in (0..whole).step_by(PIECE) {
        let len = (whole - offset).min(PIECE as u64);
        if let Err(error) = fallocate(&image, FallocateFlags::empty(), offset, len) {
            console::log(&format!(
                "ramboot: taking RAM for the rest of the image: {error}; it is taken as it comes"
            ));
            return;
        }
    }
}

fn spawn<F>(name: &str, work: F) -> anyhow::Result<thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    builder.spawn(work).context("starting a thread")
}

fn ms(watch: Watch) -> u32 {
    u32::try_from(watch.ms()).unwrap_or(u32::MAX)
}

/// Streams that fill before the image's init is up: programs that start have the processors and the line.
const WHILE_IT_BOOTS: usize = 1;
/// The weakest priority of a thread.
const LEAST: i32 = 19;
const TICK: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(30);
/// Of a machine that is shutting down.
const STUCK: Duration = Duration::from_secs(10);
const STACK: usize = 256 * 1024;
const PIECE: usize = 32 << 20;
/// Characters of why it failed: its end of the pipe is read line by line.
const MAX_FAILED: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_is_shut_down_for() {
        let verb = |text: &[u8]| verb(text).map(|(verb, _)| verb);
        assert_eq!(
            verb(b"/usr/lib/systemd/systemd-shutdown\0reboot\0--timeout\0"),
            Some("reboot")
        );
        assert_eq!(
            verb(b"/lib/systemd/systemd-shutdown\0poweroff\0"),
            Some("poweroff")
        );
        assert_eq!(
            verb(b"/usr/lib/systemd/systemd-shutdown\0kexec\0--log-level\x006\0"),
            Some("kexec")
        );
        assert_eq!(verb(b"/sbin/init\0reboot\0"), None);
        assert_eq!(verb(b"/lib/systemd/systemd-shutdown"), None);
    }
}
