//! Raspberry Pis: what their firmware says, and what it wants to be served.

pub mod id;
