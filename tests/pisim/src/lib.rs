//! What the firmware of a Raspberry Pi does to boot from the network, frame by frame, without a Raspberry Pi.
//!
//! [`Pi`] takes frames and the time, and gives frames, until it has an [`Outcome`]: all it loaded, or why it did not
//! boot, and what servers did wrong on the way. It has no socket and no clock; chance comes from a seed. [`boot_all`]
//! drives hundreds of them over a [`Wire`]. Whatever arrives, nothing panics, and memory is bounded.
//!
//! What is known of the firmware, from where, and what is not: README.md.

mod config_txt;
mod dhcp;
mod fleet;
mod host;
mod lease;
mod net;
mod outcome;
mod params;
mod pi;
mod random;
mod script;
#[cfg(test)]
mod server;
mod tftp;

pub use fleet::{Conditions, Fleet, Wire, boot_all, failures};
pub use outcome::{
    Booted, Failure, File, MAX_VIOLATIONS, Numbers, Outcome, Violation, WhyNot, digest,
};
pub use params::{Date, Fixed, Guid, Mac, Model, Params, Prefix, Quirks};
pub use pi::Pi;
