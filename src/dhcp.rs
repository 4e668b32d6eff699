//! DHCP and proxyDHCP for machines that boot from the network.
//!
//! One packet's way: `socket` (shell) receives → [`request`] makes facts of it, once, with [`firmware`] naming what
//! sent it → [`decide`] says what to answer, where to and what to remember, or why to be silent → `socket` sends and,
//! only when that succeeded, applies the change to [`lease`]. All but `socket` is values in, values out.

pub mod bootfile;
pub mod decide;
pub mod firmware;
mod full;
pub mod lease;
pub mod policy;
mod proxy;
pub mod reply;
pub mod request;
pub mod socket;
pub mod verdict;
pub mod why;

#[cfg(test)]
mod testing;
