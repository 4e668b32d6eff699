//! ramboot's manager.
//!
//! Each module here is a room. ARCHITECTURE.md draws the floors they stand on, `cli` at the top and `host`, `text` and `formats` at the
//! bottom; imports go down only, and `tests/architecture.rs` keeps it so. Deciders ([`dhcp`], [`boot`], [`pi`], [`tftp`], [`http`], [`fleet`]) are
//! functions from values to values, each with a shell that owns its sockets; what is kept is in [`store`], what the user wrote in
//! [`config`].

pub mod boot;
pub mod build;
pub mod cli;
pub mod config;
pub mod control;
pub mod dhcp;
pub mod fleet;
pub mod formats;
pub mod host;
pub mod http;
pub mod pi;
pub mod publish;
pub mod serve;
pub mod status;
pub mod store;
pub mod text;
pub mod tftp;
pub mod verbs;
