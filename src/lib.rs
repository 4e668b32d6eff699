//! ramboot's manager.
//!
//! Floors; imports go down only:
//!
//! ```text
//! 5  main, cli                       may use anything below
//! 4  serve  doctor                   opens sockets, spawns, stops; asks, and changes nothing
//! 3  dhcp::{serve,ask,socket}  tftp::serve  http::serve  shells: I/O, clock, logging; no decisions
//!    build  publish  images  boot  progress  eeprom::{verbs,offers}  fleet::{watch,listen}  views  nodes
//! 2  dhcp::{request,firmware,decide,…}  tftp::{packet,transfer,sessions}  http::{answer,range}
//!    ipxe  pxelinux  uki  pi  initrd  kmod  squashfs  identity  overlays    deciders: values in, values out
//!    eeprom::{image,conf,order,sig,steps}  fleet (but for its shells)  metrics  page
//! 1  aside  config  control  machine  store  interface  link  neighbour  parts  roms  port  inits  template  profile
//! 0  ramboot-wire                    what a worker must agree on
//! ```
//!
//! `cli` also holds the types of single words ([`cli::Pool`], [`cli::DhcpMode`]) that the config file shares.

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
