//! What stays of `/init` in a running worker: a process that sends heartbeats, and in stream mode one that fetches the rest of
//! the image and answers the kernel's reads meanwhile.

pub mod heartbeat;
pub mod stream;
