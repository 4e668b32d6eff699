//! What people and programs look at: paths that no worker asks for. Nothing they do changes anything here.

use std::net::SocketAddr;
use std::sync::Arc;

use ramboot_wire::plain;

use crate::fleet::snapshot::Standing;
use crate::http::answer::Content;
use crate::http::pages::{Cost, Page, Pages};
use crate::status::page::Asset;

/// What a path shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `/`: the same as [`Self::Nodes`] for people ([`crate::status::page`]).
    Page,
    /// What the page needs.
    File(Asset),
    /// `/nodes.json`: the fleet, the images and the manager ([`crate::fleet::snapshot::Snapshot`]); with `?state=failed` only
    /// the machines in that state.
    Nodes(Option<Standing>),
    /// `/events`: one line each time that something has changed, as server-sent events.
    Events,
    /// `/metrics`: counters for Prometheus.
    Metrics,
    /// `/healthz`: whether machines can boot.
    Health,
}

/// `?state=` names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state \"{0}\": use state=failed, silent, asking, loading, booting or up")]
pub struct NoSuchState(String);

impl View {
    /// Reads the path and the query of a request target; `None` if it is for something else.
    ///
    /// # Errors
    /// The query asks for what there is not. What nobody knows in it is passed over.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Option<Self>, NoSuchState> {
        Ok(Some(match path {
            "/" => Self::Page,
            "/nodes.json" => Self::Nodes(query.map_or(Ok(None), state)?),
            "/events" => Self::Events,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            path => match Asset::ALL.into_iter().find(|file| file.path == path) {
                Some(file) => Self::File(file),
                None => return Ok(None),
            },
        }))
    }
}

fn state(query: &str) -> Result<Option<Standing>, NoSuchState> {
    let mut values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("state="));
    let Some(name) = values.next() else {
        return Ok(None);
    };
    let known = Standing::ALL.into_iter().find(|state| state.name() == name);
    known
        .map(Some)
        .ok_or_else(|| NoSuchState(plain::word(name)))
}

/// The paths of views as HTTP takes them. `show` makes what a view shows, for somebody who reached us at this address of ours; what is
/// wrong with the manager's health is an error.
pub fn pages(
    show: impl Fn(View, SocketAddr) -> anyhow::Result<Content> + Send + Sync + 'static,
) -> Box<Pages> {
    let show = Arc::new(show);
    Box::new(move |path, query| {
        let view = match View::parse(path, query) {
            Ok(view) => view?,
            Err(bad) => return Some(Page::Unknown(bad.to_string())),
        };
        let cost = match view {
            View::Events => return Some(Page::Events),
            View::File(_) => Cost::Nothing,
            View::Health => Cost::Disk,
            View::Page | View::Nodes(_) | View::Metrics => Cost::Fleet,
        };
        let show = Arc::clone(&show);
        Some(Page::Made(cost, Box::new(move |local| show(view, local))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_chosen_by_its_name() {
        for (query, want) in [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some("x=1&y"), Ok(None)),
            (Some("state=failed"), Ok(Some(Standing::Failed))),
            (Some("x=1&state=up"), Ok(Some(Standing::Up))),
            (Some("state="), Err(())),
            (Some("state=Failed"), Err(())),
            (Some("state=up,failed"), Err(())),
        ] {
            let view = View::parse("/nodes.json", query).map_err(drop);
            assert_eq!(view, want.map(View::Nodes).map(Some), "{query:?}");
        }
        assert_eq!(View::parse("/images", Some("state=x")), Ok(None));
    }
}
