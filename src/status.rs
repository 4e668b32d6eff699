//! What people and programs look at: the page, the fleet as JSON, the counters, and the paths they are at.

pub mod metrics;
pub mod page;
pub mod route;
pub mod views;
