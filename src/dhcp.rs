//! DHCP and proxyDHCP for machines that boot from the network.
//!
//! One packet's way: [`serve`] (shell) receives → [`request`] makes facts of it, once, with [`firmware`] naming what
//! sent it → [`decide`] says what to answer, where to and what to remember, or why to be silent → [`consider`] has
//! [`probe`] keep an offer back until nobody claims its address, by [`arp`] or behind a relay by [`echo`] → `serve` sends
//! and, only when that succeeded, applies the change to [`lease`]. What the fleet hears of running machines goes there, too.
//! Before the first packet, [`find_rival`] (shell) looks for a [`rival`]. All but the shells and their sockets is values in,
//! values out.

pub mod arp;
pub mod bootfile;
pub mod consider;
pub mod decide;
pub mod delay;
pub mod echo;
mod encode;
pub mod find_rival;
pub mod firmware;
mod full;
pub mod ignore_reason;
pub mod lease;
mod options;
mod ping;
pub mod policy;
pub mod probe;
mod proxy;
pub mod relay;
pub mod reply;
mod report;
pub mod request;
pub mod rival;
pub mod scope;
pub mod serve;
pub mod socket;
pub mod verdict;

#[cfg(test)]
mod testing;
