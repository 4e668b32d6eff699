//! The worker side.
