//! SIGHUP: the config file is read again, checked as at the start, and put in the place of the running one; or refused,
//! and nothing changes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::boot::current::Current;
use crate::config::change::Change;
use crate::serve::args::ServeArgs;

use super::servers::Servers;

/// What a new config goes to.
pub(super) struct Running {
    pub(super) live: Arc<Current>,
}

impl Running {
    /// Reads the file again and tells systemd when that is done, well or not.
    pub(super) async fn reload(&self, args: &ServeArgs, servers: &mut Servers) {
        let mut begin = vec![NotifyState::Reloading];
        // systemd(1), sd_notify(3): Type=notify-reload tells a reload of before its signal by this.
        begin.extend(NotifyState::monotonic_usec_now().ok());
        let _ = sd_notify::notify(&begin);
        match &args.config {
            None => info!("SIGHUP: nothing to reload, this was started without --config"),
            Some(path) => match self.change(args, servers) {
                Ok(change) => {
                    servers.arrange().await;
                    said(path, &change);
                }
                Err(error) => {
                    error!("not reloaded, the config of before stays in force: {error:#}")
                }
            },
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    fn change(&self, args: &ServeArgs, servers: &Servers) -> anyhow::Result<Change> {
        let planner = self.live.now();
        let change = Change::new(&planner.config, super::configured(args)?);
        let path = || {
            args.config
                .as_ref()
                .map_or_else(String::new, |p| p.display().to_string())
        };
        planner
            .worker_files
            .check(&change.config)
            .with_context(path)?;
        servers.fitting(&change.config).with_context(path)?;
        self.live.replace(change.config.clone());
        Ok(change)
    }
}

fn said(path: &Path, change: &Change) {
    let path = path.display();
    if change.now.is_empty() {
        info!("reloaded {path}: nothing that runs is other than before");
    } else {
        info!("reloaded {path}: {}", change.now.join(", "));
    }
    for later in &change.later {
        warn!("{path}: {later}: takes effect at the next restart");
    }
}
