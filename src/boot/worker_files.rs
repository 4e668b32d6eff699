//! Worker files as they are handed out: made when a boot begins, made again when they are asked for and something has changed. A
//! shell: reads the overlays' folders.
//!
//! Nothing is remembered but what [`Kept`] and [`Made`] hold for boots under way. What a worker's archive depends on is its
//! [`Worker`], which travels in the URL, and what the manager has anyway: config, secret, overlays. So a manager that was
//! restarted, or another one with the same three, makes the same bytes.

mod made;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use ramboot_wire::{Files, FilesId, Worker};
use tracing::warn;

use crate::boot::identity::{Key, Secret, secret};
use crate::boot::overlays::kept::Kept;
use crate::boot::overlays::read::{self, tree};
use crate::boot::overlays::{Tree, identity_files};
use crate::config::Config;
use crate::config::words::COMMON;
use crate::config::worker::{self, Machine};
use crate::text::template::{self, Secrets, Words};
use made::{Basis, Made, Outcome};

/// In the state folder.
const OVERLAYS: &str = "overlays";

/// Makes workers' files.
pub struct WorkerFiles {
    overlays: PathBuf,
    secret: Secret,
    kept: Mutex<Kept>,
    made: Mutex<Made>,
    /// Workers whose files are being made.
    making: Mutex<HashMap<Worker, Arc<Mutex<()>>>>,
}

/// What one worker is given beside its image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handout {
    /// Its host name, unless the image's stays.
    pub hostname: Option<String>,
    /// Its files.
    pub files: Option<Files>,
}

impl WorkerFiles {
    /// Reads or makes the secret in the folder `state`.
    ///
    /// # Errors
    /// The secret is not one to work with.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            overlays: state.join(OVERLAYS),
            secret: secret::open(state)?,
            kept: Mutex::default(),
            made: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// Whether all overlays that `config` names are there, and what lies in them is what a worker can get.
    ///
    /// # Errors
    /// What is wrong first, with its path.
    pub fn check(&self, config: &Config) -> anyhow::Result<()> {
        let rules = config
            .workers
            .iter()
            .filter_map(|rule| rule.overlays.as_ref());
        let named = rules.flatten().chain(&config.boot.overlays);
        for name in named {
            self.overlay(name)?.check()?;
        }
        self.common()?.check()?;
        Ok(())
    }

    /// What `worker` is given when its boot begins.
    ///
    /// # Errors
    /// A template that cannot be filled in for it, an overlay that cannot be read: it should wait rather than run as half
    /// of what it is meant to be.
    pub fn hand_out(&self, config: &Config, worker: &Worker) -> anyhow::Result<Handout> {
        let Some(key) = Key::of(worker) else {
            // A Pi 3 behind a relay asks for its first file in the root; in its own folder for all that follow.
            warn!(
                source = %worker.manager,
                "a machine that asks {} says neither MAC nor serial number, so it has no identity and no worker files (a Raspberry Pi: set TFTP_PREFIX=0 in its bootloader)",
                worker.manager
            );
            return Ok(Handout::default());
        };
        let (outcome, archive) = self.made(config, worker, key, now())?;
        Ok(Handout {
            hostname: outcome.hostname,
            files: Some(Files {
                id: outcome.id,
                size: archive.len() as u64,
                worker: worker.clone(),
            }),
        })
    }

    /// The archive `id` of `worker`; `None` if it cannot be made any more.
    ///
    /// # Errors
    /// As [`WorkerFiles::hand_out`].
    pub fn get(
        &self,
        config: &Config,
        worker: &Worker,
        id: FilesId,
    ) -> anyhow::Result<Option<Bytes>> {
        if let Some(archive) = lock(&self.kept).get(id) {
            return Ok(Some(archive));
        }
        let Some(key) = Key::of(worker) else {
            return Ok(None);
        };
        let (outcome, archive) = self.made(config, worker, key, now())?;
        Ok((outcome.id == id).then_some(archive))
    }

    /// What a worker gets now: as it was made before, if it would be made of the same. One is made at a time for each worker,
    /// and whoever wanted the same meanwhile finds it made.
    fn made(
        &self,
        config: &Config,
        worker: &Worker,
        key: Key,
        now: i64,
    ) -> anyhow::Result<(Outcome, Bytes)> {
        let alone = Arc::clone(lock(&self.making).entry(worker.clone()).or_default());
        let made = {
            let _alone = lock(&alone);
            self.made_alone(config, worker, key, now)
        };
        let mut making = lock(&self.making);
        // Here and in the table: nobody waits for it.
        if Arc::strong_count(&alone) == 2 {
            making.remove(worker);
        }
        made
    }

    fn made_alone(
        &self,
        config: &Config,
        worker: &Worker,
        key: Key,
        now: i64,
    ) -> anyhow::Result<(Outcome, Bytes)> {
        let basis = self.basis(config, worker);
        let before = lock(&self.made).get(worker, &basis);
        if let Some(outcome) = before
            && let Some(archive) = lock(&self.kept).get(outcome.id)
        {
            return Ok((outcome, archive));
        }
        let (hostname, archive) = self.make(config, worker, key)?;
        let archive = Bytes::from(archive);
        let id = FilesId::of(&archive);
        let outcome = Outcome { hostname, id };
        lock(&self.kept).put(id, archive.clone());
        if basis.is_settled(now) {
            lock(&self.made).put(worker, basis, outcome.clone());
        }
        Ok((outcome, archive))
    }

    /// Looked at before it is read, so what changes meanwhile is another basis the next time.
    fn basis(&self, config: &Config, worker: &Worker) -> Basis {
        let rule = config.rule(&asker(worker));
        let own = rule.and_then(|rule| rule.overlays.as_ref());
        let own = own.unwrap_or(&config.boot.overlays).iter();
        let names = own.map(String::as_str);
        let stamped = std::iter::once(COMMON).chain(names).map(|name| {
            let stamp = read::stamp(&self.overlays.join(name));
            (name.to_owned(), stamp)
        });
        Basis {
            rule: rule.cloned(),
            hostname: config.hostname.clone(),
            overlays: stamped.collect(),
        }
    }

    fn make(
        &self,
        config: &Config,
        worker: &Worker,
        key: Key,
    ) -> anyhow::Result<(Option<String>, Vec<u8>)> {
        let rule = config.rule(&asker(worker));
        let identity = self.secret.identity(key);
        let secrets = Arc::new(Labels {
            secret: self.secret.clone(),
            key,
        });
        let words = Words::default()
            .with("id", Some(key.short()))
            .with("mac", worker.mac)
            .with(
                "serial",
                worker.serial.map(|serial| format!("{serial:08x}")),
            )
            .with("uuid", worker.uuid)
            .with("arch", worker.arch)
            .with("image", Some(&worker.image))
            .with("address", rule.and_then(|rule| rule.address))
            .with("manager", Some(super::planner::base(worker.manager)))
            .with("machine_id", Some(identity.machine_id()));
        let hostname = hostname(config, rule, &words, &secrets)?;
        let mut tree = identity_files(&identity)?;
        tree.lay(self.common()?);
        let names = rule.and_then(|rule| rule.overlays.as_ref());
        for name in names.unwrap_or(&config.boot.overlays) {
            tree.lay(self.overlay(name)?);
        }
        let words = words.with("hostname", hostname.as_ref());
        let archive = tree.archive(&words, &secrets).context("worker files")?;
        Ok((hostname, archive))
    }

    /// What every worker gets, if there is anything.
    fn common(&self) -> anyhow::Result<Tree> {
        Ok(tree(&self.overlays.join(COMMON))?.unwrap_or_default())
    }

    fn overlay(&self, name: &str) -> anyhow::Result<Tree> {
        let folder = self.overlays.join(name);
        tree(&folder)?.with_context(|| {
            format!(
                "the config says overlays = [\"{name}\"], but there is no folder {}: make it, or change the config",
                folder.display()
            )
        })
    }
}

/// Nothing that is secret.
impl fmt::Debug for WorkerFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFiles")
            .field("overlays", &self.overlays)
            .finish_non_exhaustive()
    }
}

/// Each is whole after every change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "shell: compares with the times of files"
)]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// The machine as rules see it.
fn asker(worker: &Worker) -> Machine {
    Machine {
        mac: worker.mac,
        serial: worker.serial,
        uuid: worker.uuid,
        arch: worker.arch,
    }
}

fn hostname(
    config: &Config,
    rule: Option<&worker::Worker>,
    words: &Words,
    secrets: &Arc<Labels>,
) -> anyhow::Result<Option<String>> {
    if let Some(name) = rule.and_then(|rule| rule.hostname.as_ref()) {
        return Ok(Some(name.clone()));
    }
    let template = &config.hostname;
    let name = template::render("[identity] hostname", template, words, secrets)?;
    if name.is_empty() {
        return Ok(None);
    }
    match ramboot_wire::cmdline::hostname(&name) {
        Ok(name) => Ok(Some(name)),
        Err(_) => bail!(
            "[identity] hostname = {template:?} makes {name:?} of this machine, which is no host name: letters, digits and inner hyphens"
        ),
    }
}

/// What templates call for.
struct Labels {
    secret: Secret,
    key: Key,
}

impl Secrets for Labels {
    fn shared(&self, label: &str) -> String {
        self.secret.shared(label)
    }

    fn own(&self, label: &str) -> String {
        self.secret.identity(self.key).secret(label)
    }
}

#[cfg(test)]
mod tests;
