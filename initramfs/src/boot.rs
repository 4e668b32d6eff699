//! The conductor: all stages of a boot in order, each ending in one line on the console, in the kernel's log and, once
//! there is a network, in a report to the manager.

mod image;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use ramboot_fetch::chunk_list::fetch_list;
use ramboot_fetch::engine::{Counts, Pace};
use ramboot_fetch::profile::fetch_profile;
use ramboot_fetch::sources::Sources;
use ramboot_wire::cmdline::Urgent;
use ramboot_wire::{BootArgs, Mac, Stage};

use crate::agent::heartbeat::Orders;
use crate::agent::stream;
use crate::agent::stream::system_events::NOTIFY;
use crate::background::Background;
use crate::clock::Watch;
use crate::console;
use crate::console::journal::{Journal, fact};
use crate::console::record::Outcome;
use crate::early;
use crate::fatal;
use crate::modules::Modules;
use crate::net::Network;
use crate::net::keep::detect::{News, keep};
use crate::root::handover;
use crate::root::lay_files::lay;
use crate::root::mount;
use crate::root::ram;
use crate::root::worker_files::fetch_files;
use image::Coming;

/// Boots. `init_args` are the words of the kernel command line that are meant for an init.
///
/// # Errors
/// The stage that failed for good, and why; it has been printed and reported.
pub fn boot(init_args: &[OsString]) -> anyhow::Result<Infallible> {
    let watch = Watch::start();
    let mut journal = Journal::new(watch);
    let (args, cmdline) = journal.stage(Stage::Early, |_| {
        early::prepare()?;
        let cmdline = early::cmdline()?;
        let urgent = Urgent::parse(&cmdline);
        console::open(urgent.debug);
        if let Some(seconds) = urgent.deadline {
            fatal::arm(seconds);
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
        Ok(((args, cmdline), facts))
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
    let streaming = args.streaming.filter(|_| is_streaming_possible());
    // Not earlier: drivers keep the processors busy by themselves.
    let size = args.size;
    let room = match streaming {
        // Then RAM is taken as the image comes: a worker that waits for it would not start sooner than its image.
        Some(_) => None,
        None => Background::begin("room", watch, move || {
            ram::image_file_ahead(&mount::part("image"), size)
        }),
    };
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
        facts.extend(lease.router().map(|router| fact("router", router)));
        if lease.routes.len() > 1 {
            facts.push(fact("routes", lease.routes.len()));
        }
        Ok(((link, lease), facts))
    })?;
    let tidy = Background::begin("tidy", watch, move || modules.drop_files());
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
    let (list, profile) = journal.stage(Stage::Chunks, |journal| {
        let journal = &*journal;
        let tell = |event| journal.event(&event, Stage::Chunks);
        let list = fetch_list(args.image, args.size, &mut sources, pace, &tell)?;
        let mut facts = vec![
            fact("chunks", list.count()),
            fact("retries", Counts::of(&sources).retries),
        ];
        let mut profile = None;
        if streaming.is_some() {
            profile = fetch_profile(args.image, args.size, &sources, pace);
            let known = if profile.is_some() { "yes" } else { "none" };
            facts.push(fact("profile", known));
        }
        Ok(((list, profile), facts))
    })?;
    let image = journal.stage(Stage::Fetch, |journal| {
        journal.join(tidy);
        let room = journal.join(room).flatten();
        let coming = Coming {
            args: &args,
            cmdline: &cmdline,
            link: &link,
            list: &list,
            profile: profile.as_ref(),
            streaming,
            pace,
        };
        coming.fetch(room, &mut sources, journal)
    })?;
    let is_streaming = image.device.until_handover.is_some();
    let (mounted, init) = journal.stage(Stage::Mount, |_| {
        let left = ram::available()?.saturating_sub(image.to_come);
        let mounted = mount::mount_root(&image.device.device, left, args.overlay, &args.tmpfs)?;
        let init = mount::find_init(&mounted.root)?;
        if is_streaming {
            // Where there is another init, nothing is known of how it ends.
            let bytes = mount::read_enders(&mounted.root);
            console::debug(|| format!("{bytes} bytes of what ends this machine are here"));
        }
        let mut facts = vec![fact("overlay", mounted.layer), fact("init", init)];
        if !mounted.tmpfs.is_empty() {
            facts.push(fact("tmpfs", mounted.tmpfs.len()));
        }
        Ok(((mounted, init), facts))
    })?;
    journal.stage(Stage::Handover, |_| {
        let new_root = &mounted.root;
        let done = lay(new_root, &files)?;
        for path in &done.left_out {
            console::debug(|| format!("{path} is left out: the image has no folder for it"));
        }
        let hostname = args.hostname.as_deref();
        handover::settle(new_root, hostname)?;
        let news = News {
            link: &link,
            lease: &lease,
            hostname,
            files: &files,
        };
        let told = keep(new_root, &news, &kernel());
        let heartbeat = start_heartbeat(&args, link.mac);
        if let Some(labels) = &mounted.labels
            && let Err(error) = labels.leave(Path::new("/run"))
        {
            console::say(&format!(
                "ramboot: telling systemd what was written, for its SELinux labels: {error}"
            ));
        }
        handover::switch(new_root)?;
        let facts = vec![
            fact("init", init),
            fact("keeps", told.keeps),
            fact("names", told.names),
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
        overlay_bytes: mounted.layer,
        init,
        mode: if is_streaming { "stream" } else { "full" },
        cmdline: &cmdline,
    };
    journal.keep(&args, outcome);
    journal.linger();
    console::hand_over(init);
    fatal::disarm();
    let notify = is_streaming.then_some(NOTIFY);
    Err(handover::exec(init, init_args, notify)).with_context(|| format!("starting {init}"))
}

fn is_streaming_possible() -> bool {
    let possible = stream::is_possible();
    if let Err(lack) = possible {
        console::say(&format!(
            "ramboot: streaming is not possible ({lack}): all of the image is fetched before it starts"
        ));
    }
    possible.is_ok()
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
