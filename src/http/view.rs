//! What people and programs look at: paths that no worker asks for. Nothing they do changes anything here.

use std::net::SocketAddr;

use super::answer::Content;
use crate::page::Asset;

/// What a path shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `/`: the same as [`Self::Nodes`] for people ([`crate::page`]).
    Page,
    /// What the page needs.
    File(Asset),
    /// `/nodes.json`: the fleet, the images and the manager ([`crate::fleet::snapshot::Snapshot`]).
    Nodes,
    /// `/events`: one line each time that something has changed, as server-sent events.
    Events,
    /// `/metrics`: counters for Prometheus.
    Metrics,
    /// `/healthz`: whether machines can boot.
    Health,
}

impl View {
    /// Reads the path of a request target, without the query.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/nodes.json" => Self::Nodes,
            "/events" => Self::Events,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            path => Self::File(Asset::ALL.into_iter().find(|file| file.path == path)?),
        })
    }
}

/// Makes what a view shows, for somebody who reached us at this address of ours. What is wrong with the manager's health
/// is an error.
pub type Views = dyn Fn(View, SocketAddr) -> anyhow::Result<Content> + Send + Sync;
