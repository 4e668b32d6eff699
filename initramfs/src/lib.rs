//! The worker's side of ramboot, in the order of a boot: [`boot`] conducts, the other modules do one part each.
//!
//! Rooms: [`net`] brings the network up and leaves its address to the image, [`root`] makes the new root, [`console`] is all that is
//! said, [`agent`] is what stays in a running worker. The fetch is a package of its own, [`ramboot_fetch`].
//!
//! Pure, with clock and chance as arguments: [`net::dhcp`], [`net::lease`], [`net::keep`] (but for [`net::keep::detect`]),
//! [`root::worker_files::archive`], [`console::record`], and most of [`console`]; everything else is a shell.

pub mod agent;
pub mod background;
pub mod boot;
pub mod clock;
pub mod console;
pub mod early;
pub mod fatal;
pub mod modules;
pub mod net;
pub mod root;
