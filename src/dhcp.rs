//! DHCP and proxyDHCP for machines that boot from the network.
//!
//! One packet's way: [`serve`] (shell) receives → [`request`] makes facts of it, once, with [`firmware`] naming what
//! sent it → [`decide`] says what to answer, where to and what to remember, or why to be silent → [`probe`] keeps an
//! offer back until nobody on the link claims its address → `serve` sends and, only when that succeeded, applies the
//! change to [`lease`]. Before the first packet, [`ask`] (shell) looks for a [`rival`]. All but the shells and their
//! `socket` is values in, values out.

pub mod arp;
pub mod ask;
pub mod bootfile;
pub mod decide;
pub mod delay;
mod encode;
pub mod firmware;
mod full;
pub mod lease;
mod options;
pub mod policy;
pub mod probe;
mod proxy;
pub mod relay;
pub mod reply;
pub mod request;
pub mod rival;
pub mod scope;
pub mod serve;
pub mod socket;
pub mod verdict;
pub mod why;

#[cfg(test)]
mod testing;
