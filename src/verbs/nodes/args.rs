//! What `ramboot nodes` is told.

use std::net::SocketAddrV4;
use std::str::FromStr;

use clap::Args;

use crate::config::DEFAULT_HTTP_PORT;

/// `ramboot nodes`
#[derive(Debug, Args)]
#[command(after_long_help = NODES_EXAMPLES)]
pub struct NodesArgs {
    /// Show it again and again, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Print all that is known as one JSON object; with --watch, one a line.
    #[arg(long)]
    pub json: bool,
    /// The manager to ask: an address, with its HTTP port unless that is 8067. Without it: the one on this machine.
    #[arg(long, env = "RAMBOOT_MANAGER", value_name = "ADDRESS[:PORT]")]
    pub manager: Option<Manager>,
}

const NODES_EXAMPLES: &str = "\
Examples:
  ramboot nodes
  ramboot nodes --watch
  ramboot nodes --manager 10.0.0.1
  ramboot nodes --json | jq -r '.workers[] | select(.would_change) | .name'";

/// Where a manager serves HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manager(pub SocketAddrV4);

/// The text is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the address of a manager such as 10.0.0.1 or 10.0.0.1:8067")]
pub struct BadManager(String);

impl FromStr for Manager {
    type Err = BadManager;

    fn from_str(text: &str) -> Result<Self, BadManager> {
        let text = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let bad = || BadManager(text.chars().take(80).collect());
        match text.parse() {
            Ok(place) => Ok(Self(place)),
            Err(_) => {
                let address = text.parse().map_err(|_| bad())?;
                Ok(Self(SocketAddrV4::new(address, DEFAULT_HTTP_PORT)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_an_address() {
        for (text, want) in [
            ("10.0.0.1", Some("10.0.0.1:8067")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("http://10.0.0.1:8067/", Some("10.0.0.1:8067")),
            ("manager", None),
            ("10.0.0.1:99999", None),
            ("", None),
        ] {
            let found = text.parse().ok().map(|Manager(place)| place.to_string());
            assert_eq!(found.as_deref(), want, "{text}");
        }
    }
}
