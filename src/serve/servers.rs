//! The servers that run: DHCP for each interface that is there; TFTP, HTTP and heartbeats for each address. They are begun
//! and ended as interfaces come, go and change; [`interface_changes`] says which.

use std::future::Future;
use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::interface_changes::{self, Device, News, Open, Place, Step};
use super::sockets::{self, AddressSockets};
use super::watchdog::Pulses;
use super::{Counters, rival_check};
use crate::boot::current::Current;
use crate::config::Config;
use crate::config::words::DhcpMode;
use crate::control::Served;
use crate::dhcp::policy::{Policy, PolicyError};
use crate::dhcp::socket::Sockets;
use crate::fleet::shared::SharedFleet;
use crate::host::interface::{Found, Interface};
use crate::http::serve::Site;
use crate::serve::tftp_files::TftpFiles;
use crate::{dhcp, fleet, http, tftp};

/// What all servers answer from.
pub(super) struct Common {
    pub(super) live: Arc<Current>,
    pub(super) site: Arc<Site>,
    pub(super) files: Arc<TftpFiles>,
    pub(super) fleet: Arc<SharedFleet>,
    pub(super) counters: Arc<Counters>,
    /// Becomes true when all are to end.
    pub(super) stopped: watch::Receiver<bool>,
}

/// All of them.
pub(super) struct Servers {
    common: Common,
    /// The user said which interfaces are meant.
    named: bool,
    places: Vec<Place>,
    dhcp: Vec<Post>,
    addresses: Vec<(Ipv4Addr, [AbortHandle; 3])>,
    tasks: JoinSet<anyhow::Result<()>>,
    pub(super) pulses: Pulses,
    /// What the tasks of one that should not have ended said.
    ended: Option<anyhow::Result<()>>,
    /// Interfaces of which something could not be opened, and why; tried again.
    failed: Vec<(String, String)>,
    served: watch::Sender<Vec<Served>>,
    policies: watch::Sender<Vec<Policy>>,
}

/// DHCP on one interface.
struct Post {
    device: Device,
    policy: watch::Sender<Policy>,
    task: AbortHandle,
}

impl Servers {
    /// For these interfaces; nothing runs yet.
    pub(super) fn new(
        common: Common,
        interfaces: &[Interface],
        named: bool,
        served: watch::Sender<Vec<Served>>,
    ) -> Self {
        Self {
            common,
            named,
            places: interfaces.iter().cloned().map(Place::new).collect(),
            dhcp: Vec::new(),
            addresses: Vec::new(),
            tasks: JoinSet::new(),
            pulses: Pulses::new(),
            ended: None,
            failed: Vec::new(),
            served,
            policies: watch::Sender::default(),
        }
    }

    /// Begins all, on sockets that are open.
    pub(super) fn begin(&mut self, sockets: sockets::Sockets) -> anyhow::Result<()> {
        for (address, sockets) in sockets.addresses {
            self.listen(address, sockets)?;
        }
        for (interface, sockets, policy) in sockets.dhcp {
            if let Some(device) = Place::new(interface).device() {
                self.bind(device, sockets, policy);
            }
        }
        self.tell();
        Ok(())
    }

    /// The interfaces that are served, as they are now.
    pub(super) fn served(&self) -> watch::Receiver<Vec<Served>> {
        self.served.subscribe()
    }

    /// How DHCP is answered now, by interface; none if it is off.
    pub(super) fn policies(&self) -> watch::Receiver<Vec<Policy>> {
        self.policies.subscribe()
    }

    /// Something that is there for as long as the manager runs.
    pub(super) fn spawn(
        &mut self,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> AbortHandle {
        self.tasks.spawn(task)
    }

    /// The same, and it has to take its turns.
    pub(super) fn spawn_with_pulse(
        &mut self,
        name: String,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> AbortHandle {
        let task = self.pulses.with_pulse(name, task);
        self.tasks.spawn(task)
    }

    /// One has ended that should not have.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_cancelled() => {}
                Some(ended) => return ended.context("a server task panicked")?,
                None => std::future::pending().await,
            }
        }
    }

    /// The system has these interfaces now.
    pub(super) async fn follow(&mut self, found: &[Found]) {
        let places = self.places.iter();
        let places = places.map(|place| place.after(found, self.named)).collect();
        let before: Vec<Place> = mem::replace(&mut self.places, places);
        if self.places != before {
            self.arrange().await;
        }
        // Said when it is done.
        for (place, before) in self.places.iter().zip(&before) {
            match place.news(before) {
                Some(News::Bad(text)) => warn!("{text}"),
                Some(News::Good(text)) => info!("{text}"),
                None => {}
            }
        }
    }

    /// Something is wanted and could not be opened.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Opens and closes what is to be, by the config and the interfaces of now.
    pub(super) async fn arrange(&mut self) {
        let config = Arc::clone(&self.common.live.now().config);
        let before = mem::take(&mut self.failed);
        let policies = self.answers(&config);
        let of = |device: &Device| policies.iter().find(|one| one.interface == device.name);
        let devices = self.places.iter().filter_map(Place::device);
        let wanted = Open {
            devices: devices.filter(|device| of(device).is_some()).collect(),
            addresses: interface_changes::addresses(&self.places),
        };
        for step in interface_changes::steps(&self.open(), &wanted) {
            let names = self.names(&step);
            if let Err(error) = self.step(step, &config, of).await {
                let text = format!("{error:#}");
                let failed = names.into_iter().map(|name| (name, text.clone()));
                self.failed.extend(failed);
            }
        }
        for post in &self.dhcp {
            if let Some(policy) = of(&post.device) {
                post.policy.send_if_modified(|old| {
                    let changes = old != policy;
                    old.clone_from(policy);
                    changes
                });
            }
        }
        for failed in self.failed.iter().filter(|one| !before.contains(one)) {
            let (name, why) = failed;
            warn!("interface {name} is not wholly served: {why}");
        }
        for (name, _) in &before {
            if !self.failed.iter().any(|(failed, _)| failed == name) {
                info!("interface {name} is wholly served again");
            }
        }
        self.tell();
    }

    /// How DHCP is answered on each interface. If the config does not fit them all as they are now, those it fitted before and
    /// that have not changed since are answered on as before.
    fn answers(&mut self, config: &Config) -> Vec<Policy> {
        let error = match self.fitting(config) {
            Ok(policies) => return policies,
            Err(error) => error,
        };
        let running = self.dhcp.iter().map(|post| post.policy.borrow().clone());
        let (mut policies, running) = (Vec::new(), running.collect::<Vec<_>>());
        for place in self.places.iter().filter(|place| place.away.is_none()) {
            let Interface { name, address, .. } = &place.interface;
            let fits = |one: &&Policy| one.interface == *name && one.server == *address;
            match running.iter().find(fits) {
                Some(policy) => policies.push(policy.clone()),
                None => self
                    .failed
                    .push((name.clone(), format!("DHCP is not answered: {error}"))),
            }
        }
        policies
    }

    /// The interfaces that a step is for.
    fn names(&self, step: &Step) -> Vec<String> {
        let is_for = |one: &&Interface| match step {
            Step::Unbind(device) | Step::Bind(device) => one.name == device.name,
            Step::Close(address) | Step::Listen(address) => one.address == *address,
        };
        let interfaces = self.places.iter().map(|place| &place.interface);
        let names = interfaces.filter(is_for).map(|one| one.name.clone());
        names.collect()
    }

    /// Checks the config against the interfaces as they are; of one that is away, as it was.
    pub(super) fn fitting(&self, config: &Config) -> Result<Vec<Policy>, PolicyError> {
        let interfaces = self.places.iter().map(|place| place.interface.clone());
        Policy::all(config, &interfaces.collect::<Vec<_>>(), config.http_port)
    }

    fn open(&self) -> Open {
        Open {
            devices: self.dhcp.iter().map(|post| post.device.clone()).collect(),
            addresses: self.addresses.iter().map(|(address, _)| *address).collect(),
        }
    }

    async fn step<'a>(
        &mut self,
        step: Step,
        config: &Config,
        policy: impl Fn(&Device) -> Option<&'a Policy>,
    ) -> anyhow::Result<()> {
        match step {
            Step::Unbind(device) => {
                let gone = self.dhcp.extract_if(.., |post| post.device == device);
                let tasks: Vec<_> = gone.map(|post| post.task).collect();
                self.end(&tasks).await;
            }
            Step::Close(address) => {
                let gone = self.addresses.extract_if(.., |(one, _)| *one == address);
                let tasks: Vec<_> = gone.flat_map(|(_, tasks)| tasks).collect();
                self.end(&tasks).await;
            }
            Step::Listen(address) => {
                let sockets = AddressSockets::open(address, config.http_port)?;
                self.listen(address, sockets)?;
            }
            Step::Bind(device) => {
                let mut places = self.places.iter().map(|place| &place.interface);
                let interface = places.find(|one| one.name == device.name).cloned();
                if let (Some(interface), Some(policy)) = (interface, policy(&device)) {
                    let sockets = sockets::dhcp(&interface, policy)?;
                    self.bind(device, sockets, policy.clone());
                    if config.dhcp.mode == DhcpMode::Full {
                        let ours = interface_changes::addresses(&self.places);
                        // It says what it finds, and nobody waits for it.
                        drop(tokio::spawn(rival_check::look_again(interface, ours)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Their sockets are closed when this returns.
    async fn end(&mut self, tasks: &[AbortHandle]) {
        tasks.iter().for_each(AbortHandle::abort);
        while !tasks.iter().all(AbortHandle::is_finished) {
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Ok(Ok(()))) => {}
                Some(ended) => {
                    self.ended = Some(ended.context("a server task panicked").and_then(|r| r));
                }
                None => return,
            }
        }
    }

    fn listen(&mut self, address: Ipv4Addr, sockets: AddressSockets) -> anyhow::Result<()> {
        let Common {
            site,
            files,
            fleet,
            counters,
            stopped,
            ..
        } = &self.common;
        let listener = tokio::net::TcpListener::from_std(sockets.http)
            .context("making the HTTP socket asynchronous")?;
        let http = http::serve::run(listener, Arc::clone(site), stopped.clone());
        let heartbeats = fleet::listen::run(sockets.heartbeats, Arc::clone(fleet));
        let tftp = tftp::run(sockets.tftp, Arc::clone(files), Arc::clone(&counters.tftp));
        let http = async move {
            http.await;
            Ok(())
        };
        let tasks = [
            self.spawn_with_pulse(format!("HTTP on {address}"), http),
            self.spawn_with_pulse(format!("heartbeats on {address}"), heartbeats),
            self.spawn_with_pulse(format!("TFTP on {address}"), tftp),
        ];
        self.addresses.push((address, tasks));
        Ok(())
    }

    fn bind(&mut self, device: Device, sockets: Sockets, policy: Policy) {
        let name = format!("DHCP on {}", policy.interface);
        let (policy, newest) = watch::channel(policy);
        let counters = Arc::clone(&self.common.counters);
        let mut stopped = self.common.stopped.clone();
        let task = self.spawn_with_pulse(name, async move {
            let stop = async { drop(stopped.wait_for(|stop| *stop).await) };
            dhcp::serve::run(sockets, newest, &counters.dhcp, stop).await;
            Ok(())
        });
        self.dhcp.push(Post {
            device,
            policy,
            task,
        });
    }

    /// What others look at.
    fn tell(&self) {
        let failed = |place: &Place| {
            let mut failed = self.failed.iter();
            let (name, why) = failed.find(|(name, _)| *name == place.interface.name)?;
            Some(format!("interface {name} is not wholly served: {why}"))
        };
        let served = |place: &Place| Served {
            name: place.interface.name.clone(),
            address: place.interface.address,
            prefix_len: place.interface.prefix_len,
            trouble: place.trouble().or_else(|| failed(place)),
        };
        self.served
            .send_replace(self.places.iter().map(served).collect());
        let policies = self.dhcp.iter().map(|post| post.policy.borrow().clone());
        self.policies.send_replace(policies.collect());
    }
}
