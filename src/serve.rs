//! `ramboot serve`: opens the sockets, starts DHCP, TFTP and HTTP, and stops them. The only place that spawns.
//!
//! Every socket is open before the first packet is answered, so a port that is taken is said at once and nothing
//! half-runs. From then on the sockets follow the interfaces ([`interface_monitor`], [`interface_changes`], [`servers`]). SIGTERM or Ctrl-C ends it within a second; workers that were fetching go on at the next start. SIGHUP reads
//! the config again.

pub mod args;
mod control;
mod interface_changes;
mod interface_monitor;
mod reload;
mod rival_check;
mod servers;
mod sockets;
mod startup_log;
pub mod tftp_files;
mod watchdog;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use ramboot_wire::paths::Resource;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::boot::current::Current;
use crate::boot::efi::Via;
use crate::boot::ipxe_binaries::{self, Roms};
use crate::boot::planner::{self, Planner};
use crate::boot::worker_files::WorkerFiles;
use crate::config::Config;
use crate::config::words::DhcpMode;
use crate::control::{About, Served};
use crate::fleet::shared::SharedFleet;
use crate::host::blocking;
use crate::host::interface::{self, Found, Interface};
use crate::http::answer::Content;
use crate::http::serve::Site;
use crate::pi::eeprom::update::Updates;
use crate::serve::args::ServeArgs;
use crate::serve::tftp_files::TftpFiles;
use crate::status::metrics::Metrics;
use crate::status::route;
use crate::status::views::Viewer;
use crate::store::{Generation, Name, Store, serving_lock};
use crate::{dhcp, http, tftp};
use control::ControlServer;
use reload::Running;
use servers::{Common, Servers};
use sockets::Sockets;
use watchdog::Keeper;

/// Runs until a signal ends it.
///
/// # Errors
/// A bad config, an interface or port that is not to be had, or a socket that fails for good.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let resources = Resources::open(args)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_unpark(blocking::this_thread_serves)
        // Bodies fill a socket's buffer at each turn, 0.1 ms of copying: who waits for a small answer, or for DHCP, would
        // not even be seen for 61 of these, which is Tokio's choice.
        .event_interval(1)
        .build()
        .context("starting the runtime")?;
    let result = runtime.block_on(serve(args, resources));
    // What still runs holds nothing that is worth waiting for.
    runtime.shutdown_background();
    result
}

/// What is read and opened before the runtime starts.
struct Resources {
    config: Config,
    /// Those that machines are answered on.
    interfaces: Vec<Interface>,
    store: Store,
    worker_files: WorkerFiles,
}

impl Resources {
    fn open(args: &ServeArgs) -> anyhow::Result<Self> {
        let config = configured(args)?;
        let interfaces = interface::choose(
            &interface::all().context("listing network interfaces")?,
            &args.interface,
        )?;
        let store = Store::open(&args.state)?.serving();
        let worker_files = WorkerFiles::open(&args.state)?;
        worker_files.check(&config)?;
        Ok(Self {
            config,
            interfaces,
            store,
            worker_files,
        })
    }
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

async fn serve(args: &ServeArgs, resources: Resources) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // One that comes while it starts is acted on after that.
    let reload = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    // Before the sockets: what changes while they are opened is seen, too.
    let changes = interface_monitor::Changes::open();
    let sockets = Sockets::open(&resources.config, &resources.interfaces)?;
    let folder = args.ipxe_dir.as_deref();
    let roms = Roms::read(folder.unwrap_or_else(|| Path::new(ipxe_binaries::FOLDER)));
    if resources.config.dhcp.mode == DhcpMode::Full {
        tokio::select! {
            result = rival_check::alone(&resources.interfaces, args.force) => result?,
            () = signals.told_to_stop() => return Ok(()),
        }
    }
    say_ready(&resources, args);
    let (stop, stopped) = watch::channel(false);
    let about = control::about(args, &resources.config);
    let mut tasks = Tasks::new(args, resources, roms, stopped)?;
    tasks.servers.begin(sockets)?;
    // Its file is removed when the manager stops.
    let place = tasks.answer_this_machine(args.run_dir.as_deref(), about);
    tasks.tick_views();
    tasks.mark_store();
    tasks.tell_systemd();
    let interfaces = tasks.watch_interfaces(changes);
    let result = tasks.run(args, signals, reload, interfaces).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.send_replace(true);
    drop(place);
    tasks.counters.log();
    result
}

/// All that runs until the manager stops, and what it shares.
struct Tasks {
    live: Arc<Current>,
    store: Arc<Store>,
    fleet: Arc<SharedFleet>,
    counters: Arc<Counters>,
    viewer: Arc<Viewer>,
    servers: Servers,
}

impl Tasks {
    /// Nothing runs yet; all of it ends when `stopped` becomes true.
    fn new(
        args: &ServeArgs,
        resources: Resources,
        roms: Roms,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let Resources {
            config,
            interfaces,
            store,
            worker_files,
        } = resources;
        let metrics = Arc::new(Metrics::new().context("making the counters")?);
        let boots = Arc::clone(&metrics);
        let fleet = Arc::new(SharedFleet::new(Box::new(move |news| boots.boot(news))));
        let counters = Arc::new(Counters::new(&fleet, &metrics));
        let store = Arc::new(store);
        let live = Arc::new(Current::new(Planner {
            store: Arc::clone(&store),
            config: Arc::new(config),
            roms: Arc::new(roms),
            worker_files: Arc::new(worker_files),
            fleet: Arc::clone(&fleet),
        }));
        let served = watch::Sender::default();
        let viewer = Arc::new(Viewer::new(
            Arc::clone(&live),
            metrics,
            Arc::clone(&counters.http),
            Arc::clone(&counters.tftp),
            served.subscribe(),
        ));
        let updates = Updates::new(&args.state, Arc::clone(&counters.dhcp.boards));
        let common = Common {
            live: Arc::clone(&live),
            site: Arc::new(site(&live, &counters, &viewer)),
            files: Arc::new(TftpFiles::new(Arc::clone(&live), updates)),
            fleet: Arc::clone(&fleet),
            counters: Arc::clone(&counters),
            stopped,
        };
        let named = !args.interface.is_empty();
        Ok(Self {
            servers: Servers::new(common, &interfaces, named, served),
            live,
            store,
            fleet,
            counters,
            viewer,
        })
    }

    /// Answers programs on this machine, if the socket for them can be made; gives the socket's file.
    fn answer_this_machine(
        &mut self,
        run_dir: Option<&Path>,
        about: About,
    ) -> Option<control::Place> {
        let (listener, place) = control::open(run_dir)?;
        let door = ControlServer {
            about,
            served: self.servers.served(),
            policies: self.servers.policies(),
            counters: Arc::clone(&self.counters),
        };
        self.servers.spawn(async move {
            listener.run(door).await;
            Ok(())
        });
        Some(place)
    }

    /// Tells the views once a second that a second has gone by.
    fn tick_views(&mut self) {
        let viewer = Arc::clone(&self.viewer);
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        self.servers.spawn(async move {
            loop {
                seconds.tick().await;
                viewer.tick();
            }
        });
    }

    /// The store keeps its marks on what is being served.
    fn mark_store(&mut self) {
        let store = Arc::clone(&self.store);
        let mut marks = tokio::time::interval(serving_lock::TICK);
        self.servers
            .spawn_with_pulse("the store".to_owned(), async move {
                loop {
                    let (now, marked) = (marks.tick().await.into_std(), Arc::clone(&store));
                    blocking::read(move || marked.tick(now)).await?;
                }
            });
    }

    /// Keeps what `systemctl status` says.
    fn tell_systemd(&mut self) {
        let (store, fleet) = (Arc::clone(&self.store), Arc::clone(&self.fleet));
        let served = self.servers.served();
        self.servers.spawn(say_status(served, store, fleet));
    }

    /// The system's interfaces, each time they have changed.
    fn watch_interfaces(
        &mut self,
        changes: std::io::Result<interface_monitor::Changes>,
    ) -> mpsc::Receiver<Vec<Found>> {
        let (to, interfaces) = mpsc::channel(1);
        self.servers
            .spawn_with_pulse("the watch of interfaces".to_owned(), async move {
                interface_monitor::run(changes, to).await;
                Ok(())
            });
        interfaces
    }

    /// Until a signal, or the end of a task that should not have ended.
    async fn run(
        &mut self,
        args: &ServeArgs,
        mut signals: Signals,
        mut reload: Signal,
        mut interfaces: mpsc::Receiver<Vec<Found>>,
    ) -> anyhow::Result<()> {
        let running = Running {
            live: Arc::clone(&self.live),
        };
        let mut keeper = Keeper::new(sd_notify::watchdog_enabled());
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Fails where systemd did not start us: then there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let servers = &mut self.servers;
        loop {
            tokio::select! {
                () = signals.told_to_stop() => return Ok(()),
                Some(()) = reload.recv() => running.reload(args, servers).await,
                Some(found) = interfaces.recv() => servers.follow(&found).await,
                ended = servers.ended() => return ended,
                _ = again.tick(), if servers.has_failed() => servers.arrange().await,
                () = keeper.tick() => keeper.look(&servers.pulses),
            }
        }
    }
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

fn site(live: &Arc<Current>, counters: &Counters, viewer: &Arc<Viewer>) -> Site {
    let (live, viewer) = (Arc::clone(live), Arc::clone(viewer));
    let fleet = Arc::clone(&live.now().fleet);
    let (dhcp, known) = (live.now().config.dhcp.mode, Arc::clone(&fleet));
    Site {
        store: Arc::clone(&live.now().store),
        made: Box::new(move |resource, local| {
            let made = live.now();
            let SocketAddr::V4(local) = local else {
                return Ok(None);
            };
            Ok(match resource {
                Resource::Script(client) => {
                    let text = made.script(client, &planner::base(local));
                    Some(Content {
                        bytes: Bytes::from(text).into(),
                        etag: None,
                        media_type: "text/plain; charset=utf-8",
                        mapping: None,
                        part: None,
                    })
                }
                Resource::Efi(client) => {
                    made.efi(client, &planner::base(local), Via::Http)
                        .map(|program| Content {
                            part: Some(program.part()),
                            bytes: program.into_bytes(),
                            etag: None,
                            // RFC 5970 has none; EDK2 (HttpBootDxe) takes this one or the ending .efi.
                            media_type: "application/efi",
                            mapping: None,
                        })
                }
                Resource::Files(worker, id) => {
                    let archive = made.worker_files.get(&made.config, worker, *id)?;
                    archive.map(|bytes| Content {
                        bytes: bytes.into(),
                        // Secrets are in it: no cache is to keep them.
                        etag: None,
                        media_type: "application/octet-stream",
                        mapping: None,
                        part: None,
                    })
                }
                _ => None,
            })
        }),
        pages: route::pages(move |view, _| viewer.show(view)),
        fleet,
        counters: Arc::clone(&counters.http),
        connections: http::serve::MAX_CONNECTIONS,
        // Without DHCP nobody is known by it.
        reserve: match dhcp {
            DhcpMode::Off => 0,
            DhcpMode::Proxy | DhcpMode::Full => http::serve::RESERVED_CONNECTIONS,
        },
        known: Box::new(move |address| match address {
            IpAddr::V4(address) => known.lock().knows(address),
            IpAddr::V6(_) => false,
        }),
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
    fn new(fleet: &Arc<SharedFleet>, metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::clone(metrics);
        let decided = Box::new(move |decision, reason| metrics.dhcp(decision, reason));
        Self {
            dhcp: dhcp::serve::Shared::new(Arc::clone(fleet), decided),
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

fn say_ready(resources: &Resources, args: &ServeArgs) {
    let Resources {
        config,
        interfaces,
        store,
        ..
    } = resources;
    let lines = startup_log::serving(config, interfaces);
    lines.iter().for_each(|line| info!("{line}"));
    match published(store) {
        Ok(published) => {
            let lines = startup_log::images(
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

/// Keeps one sentence for `systemctl status`. A task of its own: the main one feeds the watchdog, and does not wait for a disk.
async fn say_status(
    served: watch::Receiver<Vec<Served>>,
    store: Arc<Store>,
    fleet: Arc<SharedFleet>,
) -> anyhow::Result<()> {
    let mut clock = tokio::time::interval(STATUS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let store = Arc::clone(&store);
        let names = blocking::read(move || store.names()).await?;
        let images = names.map_or(0, |names| names.len());
        let workers = fleet.lock().len();
        let status = startup_log::status(&served.borrow(), images, workers);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
    }
}

/// Between two looks at what `systemctl status` says.
const STATUS: Duration = Duration::from_secs(15);

fn published(store: &Store) -> anyhow::Result<Vec<(Name, Generation)>> {
    let mut published = Vec::new();
    for name in store.names()? {
        if let Some(current) = store.current(&name)? {
            published.push((name, current));
        }
    }
    Ok(published)
}

/// Until what could not be opened is tried again: whoever has the port may leave it.
const AGAIN: Duration = Duration::from_secs(5);

/// Two descriptors a worker's stream; the usual soft limit of 1 024 is for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("raising the limit of open files: {error}");
    }
}
