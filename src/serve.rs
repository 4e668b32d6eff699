//! `ramboot serve`: opens the sockets, starts DHCP, TFTP and HTTP, and stops them. The only place that spawns.
//!
//! Every socket is open before the first packet is answered, so a port that is taken is said at once and nothing
//! half-runs. SIGTERM or Ctrl-C ends it within a second; workers that were fetching go on at the next start. SIGHUP reads
//! the config again.

mod alive;
mod control;
mod greeting;
mod reload;
mod sockets;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use ramboot_wire::paths::Resource;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::boot::efi::Via;
use crate::boot::files::Belongings;
use crate::boot::live::Live;
use crate::boot::shelf::Shelf;
use crate::boot::update::Updates;
use crate::boot::{self, Desk};
use crate::cli::{DhcpMode, ServeArgs};
use crate::config::Config;
use crate::fleet::watch::Watch;
use crate::http::answer::Content;
use crate::http::serve::Site;
use crate::interface::{self, Interface};
use crate::metrics::Metrics;
use crate::roms::Roms;
use crate::store::{Generation, Name, Store, marks};
use crate::views::Viewer;
use crate::{dhcp, fleet, http, roms, tftp};
use alive::{Keeper, Pulses};
use control::Door;
use reload::Running;
use sockets::Sockets;

/// Runs until a signal ends it.
///
/// # Errors
/// A bad config, an interface or port that is not to be had, or a socket that fails for good.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = configured(args)?;
    let interfaces = interface::choose(
        &interface::all().context("listing network interfaces")?,
        &args.interface,
    )?;
    let store = Store::open(&args.state)?.serving();
    let belongings = Belongings::open(&args.state)?;
    belongings.check(&config)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Bodies fill a socket's buffer at each turn, 0.1 ms of copying: who waits for a small answer, or for DHCP, would
        // not even be seen for 61 of these, which is Tokio's choice.
        .event_interval(1)
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(serve(args, config, &interfaces, (store, belongings)));
    // What still runs holds nothing that is worth waiting for.
    runtime.shutdown_background();
    result
}

/// The file, then the flags over it.
fn configured(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    config.dhcp.mode = args.dhcp.unwrap_or(config.dhcp.mode);
    config.dhcp.pool = args.pool.or(config.dhcp.pool);
    config.http_port = args.http_port.unwrap_or(config.http_port);
    Ok(config)
}

async fn serve(
    args: &ServeArgs,
    config: Config,
    interfaces: &[Interface],
    (store, belongings): (Store, Belongings),
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // One that comes while it starts is acted on after that.
    let mut reload = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let sockets = Sockets::open(&config, interfaces)?;
    let folder = args.ipxe_dir.as_deref();
    let roms = Roms::read(folder.unwrap_or_else(|| Path::new(roms::FOLDER)));
    if config.dhcp.mode == DhcpMode::Full {
        tokio::select! {
            result = alone(interfaces, args.force) => result?,
            () = signals.told_to_stop() => return Ok(()),
        }
    }
    say_ready(&config, interfaces, &store, args);
    let fleet = Arc::new(Watch::new(Metrics::new().context("making the counters")?));
    let counters = Arc::new(Counters::new(&fleet));
    let (stop, stopped) = watch::channel(false);
    let about = control::about(args, &config, interfaces);
    let live = Arc::new(Live::new(Desk {
        store: Arc::new(store),
        config: Arc::new(config),
        roms: Arc::new(roms),
        belongings: Arc::new(belongings),
        fleet: Arc::clone(&fleet),
    }));
    let store = Arc::clone(&live.now().store);
    let viewer = Arc::new(Viewer::new(
        Arc::clone(&live),
        Arc::clone(&counters.http),
        Arc::clone(&counters.tftp),
    ));
    let site = Arc::new(site(&live, &counters, &viewer));
    let updates = Updates::new(&args.state, Arc::clone(&counters.dhcp.boards));
    let files = Arc::new(Shelf::new(Arc::clone(&live), updates));
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut pulses = Pulses::new();
    for listener in sockets.http {
        let listener = tokio::net::TcpListener::from_std(listener)
            .context("making the HTTP socket asynchronous")?;
        let (site, stopped) = (Arc::clone(&site), stopped.clone());
        tasks.spawn(pulses.with_pulse("HTTP".to_owned(), async move {
            http::serve::run(listener, site, stopped).await;
            Ok(())
        }));
    }
    for socket in sockets.heartbeats {
        let task = fleet::listen::run(socket, Arc::clone(&fleet));
        tasks.spawn(pulses.with_pulse("heartbeats".to_owned(), task));
    }
    for socket in sockets.tftp {
        let (files, counters) = (Arc::clone(&files), Arc::clone(&counters.tftp));
        let task = tftp::run(socket, files, counters);
        tasks.spawn(pulses.with_pulse("TFTP".to_owned(), task));
    }
    let mut policies = Vec::new();
    for (sockets, policy) in sockets.dhcp {
        let name = format!("DHCP on {}", policy.interface);
        let (policy, newest) = watch::channel(policy);
        policies.push(policy);
        let (counters, mut stopped) = (Arc::clone(&counters), stopped.clone());
        tasks.spawn(pulses.with_pulse(name, async move {
            let stop = async { drop(stopped.wait_for(|stop| *stop).await) };
            dhcp::serve::run(sockets, newest, &counters.dhcp, stop).await;
            Ok(())
        }));
    }
    let place = control::open(args.run_dir.as_deref()).map(|(listener, place)| {
        let door = Door {
            about,
            policies: policies.iter().map(watch::Sender::subscribe).collect(),
            counters: Arc::clone(&counters),
        };
        tasks.spawn(async move {
            listener.run(door).await;
            Ok(())
        });
        place
    });
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    tasks.spawn(async move {
        loop {
            seconds.tick().await;
            viewer.tick();
        }
    });
    let mut marks = tokio::time::interval(marks::TICK);
    let marked = Arc::clone(&store);
    tasks.spawn(pulses.with_pulse("the store".to_owned(), async move {
        loop {
            marked.tick(marks.tick().await.into_std());
        }
    }));
    let running = Running {
        live,
        policies,
        interfaces: interfaces.to_vec(),
    };
    let mut keeper = Keeper::new(pulses, sd_notify::watchdog_enabled());
    // Fails where systemd did not start us: then there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let result = loop {
        tokio::select! {
            () = signals.told_to_stop() => break Ok(()),
            Some(()) = reload.recv() => running.reload(args),
            Some(ended) = tasks.join_next() => break ended.context("a server task panicked").and_then(|result| result),
            () = keeper.tick() => {
                keeper.look();
                say_status(interfaces, &store, &fleet);
            }
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.send_replace(true);
    drop(place);
    counters.log();
    result
}

/// No other DHCP server gives addresses where we are going to.
async fn alone(interfaces: &[Interface], force: bool) -> anyhow::Result<()> {
    let ours: Arc<[Ipv4Addr]> = interfaces.iter().map(|one| one.address).collect();
    let mut asked = JoinSet::new();
    // What is no Ethernet has no DHCP as it is known here.
    for interface in interfaces.iter().filter(|one| one.mac.is_some()).cloned() {
        let (ours, xid) = (Arc::clone(&ours), chance());
        asked.spawn_blocking(move || {
            let found = dhcp::ask::for_rival(&interface, &ours, xid);
            (interface.name, found)
        });
    }
    while let Some(done) = asked.join_next().await {
        match done.context("looking for another DHCP server")? {
            (_, Ok(None)) => {}
            (name, Ok(Some(rival))) if force => warn!(
                "another DHCP server answers on {name}: {rival}; starting because of --force: let the two pools not overlap"
            ),
            (name, Ok(Some(rival))) => anyhow::bail!(
                "another DHCP server answers on {name}: {rival}, and two may give one address to two machines: say --dhcp proxy to serve beside it, or stop it, or say --force"
            ),
            (name, Err(error)) => warn!(
                "whether another DHCP server is on {name} cannot be found out: opening a packet socket: {error}; start as root or from the systemd unit (CAP_NET_RAW)"
            ),
        }
    }
    Ok(())
}

/// Different each time, for a transaction id.
fn chance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What ends the manager well; from when it is made on, a signal is not lost and does not kill.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn told_to_stop(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!(
            "{name}: stopping; running workers need nobody, fetching ones go on when a manager is back"
        );
    }
}

fn site(live: &Arc<Live>, counters: &Counters, viewer: &Arc<Viewer>) -> Site {
    let (live, viewer) = (Arc::clone(live), Arc::clone(viewer));
    let fleet = Arc::clone(&live.now().fleet);
    Site {
        store: Arc::clone(&live.now().store),
        made: Box::new(move |resource, local| {
            let made = live.now();
            let SocketAddr::V4(local) = local else {
                return Ok(None);
            };
            Ok(match resource {
                Resource::Script(client) => {
                    let text = made.script(client, &boot::base(local));
                    Some(Content {
                        bytes: Bytes::from(text).into(),
                        etag: None,
                        media_type: "text/plain; charset=utf-8",
                        mapping: None,
                    })
                }
                Resource::Efi(client) => {
                    made.efi(client, &boot::base(local), Via::Http)
                        .map(|bytes| Content {
                            bytes,
                            etag: None,
                            // RFC 5970 has none; EDK2 (HttpBootDxe) takes this one or the ending .efi.
                            media_type: "application/efi",
                            mapping: None,
                        })
                }
                Resource::Files(worker, id) => {
                    let archive = made.belongings.get(&made.config, worker, *id)?;
                    archive.map(|bytes| Content {
                        bytes: bytes.into(),
                        // Secrets are in it: no cache is to keep them.
                        etag: None,
                        media_type: "application/octet-stream",
                        mapping: None,
                    })
                }
                _ => None,
            })
        }),
        views: Box::new(move |view, _| viewer.show(view)),
        fleet,
        counters: Arc::clone(&counters.http),
        connections: http::serve::MAX_CONNECTIONS,
    }
}

/// What is asked for, counted; printed when the manager stops.
#[derive(Debug)]
struct Counters {
    dhcp: dhcp::serve::Shared,
    tftp: Arc<tftp::Counters>,
    http: Arc<http::serve::Counters>,
}

impl Counters {
    fn new(fleet: &Arc<Watch>) -> Self {
        Self {
            dhcp: dhcp::serve::Shared::new(Arc::clone(fleet)),
            tftp: Arc::default(),
            http: Arc::default(),
        }
    }

    fn log(&self) {
        let dhcp::socket::Counts {
            asked,
            answered,
            ignored,
            malformed,
        } = self.dhcp.counters.read();
        info!("DHCP: {asked} asked, {answered} answered, {ignored} ignored, {malformed} malformed");
        info!("TFTP: {}", self.tftp);
        info!("HTTP: {}", self.http);
    }
}

fn say_ready(config: &Config, interfaces: &[Interface], store: &Store, args: &ServeArgs) {
    let lines = greeting::serving(config, interfaces);
    lines.iter().for_each(|line| info!("{line}"));
    match published(store) {
        Ok(published) => {
            let lines = greeting::images(
                &published,
                config,
                interfaces,
                (&args.state, args.run_dir.as_deref()),
            );
            lines.iter().for_each(|line| info!("{line}"));
        }
        Err(error) => warn!("reading the store: {error:#}"),
    }
}

/// One sentence for `systemctl status`.
fn say_status(interfaces: &[Interface], store: &Store, fleet: &Watch) {
    let images = store.names().map_or(0, |names| names.len());
    let workers = fleet.lock().len();
    let status = greeting::status(interfaces.len(), images, workers);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
}

fn published(store: &Store) -> anyhow::Result<Vec<(Name, Generation)>> {
    let mut published = Vec::new();
    for name in store.names()? {
        if let Some(current) = store.current(&name)? {
            published.push((name, current));
        }
    }
    Ok(published)
}

/// Two descriptors a worker's stream; the usual soft limit of 1 024 is for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("raising the limit of open files: {error}");
    }
}
