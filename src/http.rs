//! HTTP: how a worker gets its kernel, its initramfs and its image.
//!
//! [`answer`] decides from values what to say; [`serve`] owns the sockets. A body is never copied here: it is a slice
//! of the store's mapping ([`bytes::Bytes`]), and the kernel copies it once, from the page cache into the socket.

mod admission;
pub mod answer;
pub mod body;
mod connections;
pub mod events;
mod host_header;
mod lookup;
mod meter;
pub mod pages;
mod priority;
mod profile;
mod queue;
pub mod range;
mod readers;
mod request_body;
mod respond;
pub mod serve;
mod shares;
