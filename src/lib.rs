//! ramboot's manager.
//!
//! Each module here is a room, and rooms stand on floors. Imports go down only:
//!
//! ```text
//! 6  main, cli                        parse the command line, and call what is below
//! 5  verbs                            one room a subcommand: its arguments, and what it prints
//!    serve                            opens sockets, spawns, stops: the only place that spawns
//! 4  status                           what people look at: page, nodes.json, metrics
//!    publish                          an image becomes something that workers boot
//! 3  boot  pi  dhcp  tftp  http  fleet    deciders, each with its shells: http::serve, dhcp::{serve,find_rival,socket}, …
//!    build                            any root file system becomes an image
//! 2  store  config  control           what is kept, what the user wrote, what a running manager tells of itself
//! 1  host                             the machine that the manager runs on
//!    text  formats                    how things are said; formats that others defined
//! 0  ramboot-wire                     what a worker must agree on
//! ```
//!
//! Not so yet: `fleet` hands its news to [`status::metrics`], and `http` asks [`status::route`] which paths are for people.

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
