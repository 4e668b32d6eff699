//! The conductor: all stages of a boot in order, each ending in one line on the console, in the kernel's log and, once
//! there is a network, in a report to the manager.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::Context as _;
use ramboot_wire::cmdline::Urgent;
use ramboot_wire::{BootArgs, Mac, Stage};

use crate::aside::Aside;
use crate::chunks::fetch_list;
use crate::clock::{self, Watch};
use crate::console;
use crate::early;
use crate::fetch::{Counts, Pace, STREAMS, fetch};
use crate::files::fetch_files;
use crate::files::lay::lay;
use crate::handover;
use crate::heartbeat::Orders;
use crate::journal::{Journal, fact};
use crate::keep::look::keep;
use crate::last;
use crate::modules::Modules;
use crate::net::Network;
use crate::ram;
use crate::record::Outcome;
use crate::root;
use crate::sources::Sources;

/// Boots. `init_args` are the words of the kernel command line that are meant for an init.
///
/// # Errors
/// The stage that failed for good, and why; it has been printed and reported.
pub fn boot(init_args: &[OsString]) -> anyhow::Result<Infallible> {
    let watch = Watch::start();
    let mut journal = Journal::new(watch);
    let args = journal.stage(Stage::Early, |_| {
        early::prepare()?;
        let cmdline = early::cmdline()?;
        let urgent = Urgent::parse(&cmdline);
        console::open(urgent.debug);
        if let Some(seconds) = urgent.deadline {
            last::arm(seconds);
        }
        let args = BootArgs::parse(&cmdline).context("reading the kernel command line")?;
        console::call_image(&args.image.short(), args.size);
        let mut facts = vec![
            fact("kernel", kernel()),
            fact("image", args.image.short()),
            fact("size", args.size),
            fact("memory", ram::total()),
        ];
        facts.extend(early::machine().map(|machine| fact("machine", machine)));
        Ok((args, facts))
    })?;
    let mut modules = journal.stage(Stage::Modules, |_| {
        let mut modules = Modules::open()?;
        modules.always();
        modules.coldplug();
        let facts = vec![
            fact("loaded", modules.loaded),
            fact("failed", modules.failed),
        ];
        Ok((modules, facts))
    })?;
    // Not earlier: drivers keep the processors busy by themselves.
    let size = args.size;
    let room = Aside::begin("room", watch, move || {
        ram::image_file_ahead(&root::part("image"), size)
    });
    let mut network = journal.stage(Stage::Net, |_| {
        let mut network = Network::open()?;
        let link = network.await_carrier(&mut modules, args.bootif);
        let mac = link.mac.to_string();
        console::call_host(args.hostname.as_deref().unwrap_or(&mac));
        Ok((
            network,
            vec![fact("link", &link.name), fact("mac", link.mac)],
        ))
    })?;
    let (link, lease) = journal.stage(Stage::Dhcp, |_| {
        let (link, lease) = network.await_lease(&mut modules, &args)?;
        let mut facts = vec![
            fact("addr", lease.addr),
            fact("prefix", lease.prefix),
            fact("link", &link.name),
            fact("server", lease.server),
        ];
        facts.extend(lease.router.map(|router| fact("router", router)));
        Ok(((link, lease), facts))
    })?;
    let tidy = Aside::begin("tidy", watch, move || modules.drop_files());
    journal.connect(&args, &link);

    let pace = Pace::WORKER;
    let files = journal.stage(Stage::Files, |journal| {
        let journal = &*journal;
        let tell = |event| journal.event(&event, Stage::Files);
        // What becomes of these few bytes is no part of how the image came.
        let mut sources = Sources::new(&args.bases, pace.retry, pace.retry_cap);
        let files = match &args.files {
            Some(files) => fetch_files(files, &mut sources, pace, &tell)?,
            None => Vec::new(),
        };
        let counts = Counts::of(&sources);
        let facts = vec![
            fact("entries", files.len()),
            fact("bytes", counts.bytes),
            fact("retries", counts.retries),
        ];
        Ok((files, facts))
    })?;
    let mut sources = Sources::new(&args.bases, pace.retry, pace.retry_cap);
    let list = journal.stage(Stage::Chunks, |journal| {
        let journal = &*journal;
        let tell = |event| journal.event(&event, Stage::Chunks);
        let list = fetch_list(args.image, args.size, &mut sources, pace, &tell)?;
        let facts = vec![
            fact("chunks", list.count()),
            fact("retries", Counts::of(&sources).retries),
        ];
        Ok((list, facts))
    })?;
    let image = journal.stage(Stage::Fetch, |journal| {
        journal.join(tidy);
        let room = journal.join(room).flatten();
        let taken = if room.is_some() { args.size } else { 0 };
        // Only said, not counted: a boot does not end for it.
        let initramfs = ram::initramfs().unwrap_or(0);
        ram::check(
            args.size,
            initramfs,
            ram::available()?.saturating_add(taken),
        )?;
        let mut image = match room {
            Some(image) => image,
            None => ram::image_file(&root::part("image"), args.size)?,
        };
        let journal = &*journal;
        let tell = |event| journal.event(&event, Stage::Fetch);
        let (start, before) = (clock::now(), Counts::of(&sources));
        fetch(&list, &mut sources, image.bytes_mut(), pace, &tell)?;
        let seconds = clock::now().duration_since(start).as_secs_f64();
        let counts = Counts::of(&sources) - before;
        let facts = vec![
            fact("bytes", counts.bytes),
            fact("chunks", list.count()),
            fact("streams", STREAMS),
            fact("retries", counts.retries),
            fact("bad", counts.bad),
            fact("mbps", megabits(args.size, seconds)),
        ];
        let file = image.into_file().context("unmapping the image")?;
        Ok((file, facts))
    })?;
    let (new_root, init, layer) = journal.stage(Stage::Mount, |_| {
        let layer = ram::layer_bytes(args.overlay, ram::available()?);
        let new_root = root::mount_root(&image, layer)?;
        let init = root::find_init(&new_root)?;
        Ok((
            (new_root, init, layer),
            vec![fact("overlay", layer), fact("init", init)],
        ))
    })?;
    drop(image);
    journal.stage(Stage::Handover, |_| {
        let done = lay(&new_root, &files)?;
        for path in &done.left_out {
            console::debug(|| format!("{path} is left out: the image has no folder for it"));
        }
        handover::settle(&new_root, args.hostname.as_deref(), &lease)?;
        let keeps = keep(&new_root, &link, &lease, &kernel());
        let heartbeat = start_heartbeat(&args, link.mac);
        handover::switch(&new_root)?;
        let facts = vec![
            fact("init", init),
            fact("keeps", keeps),
            fact("files", done.laid),
            fact("heartbeat", heartbeat),
        ];
        Ok(((), facts))
    })?;
    let outcome = Outcome {
        kernel: kernel(),
        link: &link,
        lease: &lease,
        sources: &sources,
        overlay_bytes: layer,
        init,
    };
    journal.keep(&args, outcome);
    journal.linger();
    console::hand_over(init);
    last::disarm();
    Err(handover::exec(init, init_args)).with_context(|| format!("starting {init}"))
}

/// Whether it beats. Without one the worker runs as well.
fn start_heartbeat(args: &BootArgs, mac: Mac) -> &'static str {
    if !args.heartbeat {
        return "off";
    }
    match Orders::new(args, mac).start() {
        Ok(()) => "on",
        Err(error) => {
            console::say(&format!("ramboot: starting the heartbeat: {error}"));
            "failed"
        }
    }
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn megabits(bytes: u64, seconds: f64) -> String {
    format!("{:.0}", bytes as f64 * 8.0 / 1e6 / seconds.max(0.001))
}
