//! The verified fetch: an image, chunk by chunk, from any number of managers that may fail, stall or lie. It has no console
//! and is no PID 1: what there is to say is an [`event::Event`], and whoever fetches says what becomes of it.
//!
//! Three steps: [`sources::Sources`] are the managers and what is known of each; [`chunk_list::fetch_list`] gives the chunk
//! list, which proves itself against the image's id; [`engine::fetch`] puts each chunk into its place, and none is there
//! before it was verified. `examples/download.rs` is all of it in thirty lines. [`arrival`] is the same for a worker that starts
//! before all of the image is there, [`small_file`] for something small that is fetched whole.
//!
//! Pure, with clock and chance as arguments: [`backoff`], [`event`], [`fault`], [`order`], [`schedule`], [`sources`].
//! [`engine`], [`http`] and [`clock`] are shells.
#![forbid(unsafe_code)]

pub mod arrival;
pub mod backoff;
pub mod chunk_list;
pub mod clock;
pub mod engine;
pub mod event;
pub mod fault;
pub mod http;
pub mod order;
pub mod profile;
pub mod schedule;
pub mod small_file;
pub mod sources;
