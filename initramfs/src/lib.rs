//! The worker's side of ramboot, in the order of a boot: [`boot`] conducts, the other modules do one part each.
//!
//! Pure, with clock and chance as arguments: [`backoff`], [`dhcp`], [`fault`], [`files::archive`], [`keep`] (but for [`keep::look`]), [`lease`], [`pick`], [`plan`],
//! [`record`], [`sources`], and most of [`console`]; everything else is a shell.

pub mod arrive;
pub mod aside;
pub mod attributes;
pub mod backoff;
pub mod boot;
pub mod chunks;
pub mod clock;
pub mod console;
pub mod dhcp;
pub mod early;
pub mod fault;
pub mod fetch;
pub mod files;
pub mod handover;
pub mod heartbeat;
pub mod http;
pub mod journal;
pub mod keep;
pub mod last;
pub mod lease;
pub mod links;
pub mod modules;
pub mod net;
pub mod netlink;
pub mod pick;
pub mod plan;
pub mod profile;
pub mod ram;
pub mod record;
pub mod report;
pub mod root;
pub mod selinux;
pub mod sources;
pub mod stream;
pub mod sys;
pub mod tmpfs;
pub mod whole;
