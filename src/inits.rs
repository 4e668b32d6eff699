//! The `/init` programs that travel inside the manager, one for each architecture it was built for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

static X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init-x86_64"));
static AARCH64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init-aarch64"));

/// An architecture a worker can have, named as `uname -m` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// PCs and servers.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Raspberry Pi 3 and later, arm64 servers.
    Aarch64,
}

/// The text names no architecture a worker can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an architecture: x86_64 and aarch64 are")]
pub struct BadArch(String);

impl Arch {
    /// `/init` for this architecture; `None` if this `ramboot` was built without the Rust target for it.
    #[must_use]
    pub fn init(self) -> Option<&'static [u8]> {
        let bytes = match self {
            Self::X86_64 => X86_64,
            Self::Aarch64 => AARCH64,
        };
        (!bytes.is_empty()).then_some(bytes)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

impl FromStr for Arch {
    type Err = BadArch;

    fn from_str(text: &str) -> Result<Self, BadArch> {
        match text {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(BadArch(other.to_owned())),
        }
    }
}
