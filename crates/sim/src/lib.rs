//! What the firmware of a Raspberry Pi or of a PC does to boot from the network, frame by frame, without one.
//!
//! [`Pi`] and [`Pc`] take frames and the time, and give frames, until they have an [`Outcome`]: all that was loaded, or why
//! it did not boot, and what servers did wrong on the way. They have no socket and no clock; chance comes from a seed.
//! [`boot_all`] drives hundreds of Pis over a [`Wire`], [`boot_stations`] a mix. Whatever arrives, nothing panics, and
//! memory is bounded.
//!
//! What is known of the firmware, from where, and what is not: README.md.

mod config_txt;
mod dhcp;
mod fleet;
mod host;
mod lease;
pub mod net;
mod outcome;
mod params;
mod pc;
mod pi;
mod random;
mod script;
#[cfg(test)]
mod server;
mod station;
mod tftp;

pub use fleet::{Conditions, Fleet, Wire, boot_all, boot_stations, failures};
pub use outcome::{
    Booted, Failure, File, MAX_VIOLATIONS, Numbers, Outcome, Violation, WhyNot, digest,
};
pub use params::{Date, Fixed, Guid, Mac, Model, Params, Prefix, Quirks};
pub use pc::{Pc, PcArch, PcKind, PcParams, Program, Started};
pub use pi::Pi;
pub use station::Station;
