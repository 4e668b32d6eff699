//! What a storm is tried on: two network namespaces with a cable between them, a store, and a manager under watch.

mod lan;
mod manager;
mod process;
mod store;
mod watch;
mod wire;

pub use lan::{Lan, MANAGER, bridge};
pub use manager::Manager;
pub use store::{Sizes, Stored, fill};
pub use watch::{Peaks, Sample};
