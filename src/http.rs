//! HTTP: how a worker gets its kernel, its initramfs and its image.
//!
//! [`answer`] decides from values what to say; [`serve`] owns the sockets. A body is never copied here: it is a slice
//! of the store's mapping ([`bytes::Bytes`]), and the kernel copies it once, from the page cache into the socket.

pub mod answer;
pub mod body;
pub mod events;
mod gate;
mod hall;
mod host;
mod looks;
mod lookup;
mod meter;
mod places;
mod profile;
pub mod range;
mod receive;
mod respond;
pub mod serve;
mod turn;
pub mod view;
mod wish;
