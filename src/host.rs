//! The machine that the manager runs on: its interfaces and their packets, its ports, its terminal and its log.
//!
//! Shells: each asks or tells the system one thing, and decides nothing about workers.

pub mod arp_table;
pub mod blocking;
pub mod interface;
pub mod log;
pub mod packet_socket;
pub mod port_owner;
pub mod progress;
pub mod terminal;
