//! The desk that counts now. A reload puts another one in its place, whole: who took one before decides by that one to the
//! end, so a request sees the old config or the new one and never a half of each.

use std::sync::{Arc, PoisonError, RwLock};

use super::planner::Desk;
use crate::config::Config;

/// One for all servers.
#[derive(Debug)]
pub struct Live(RwLock<Arc<Desk>>);

impl Live {
    /// Begins with this desk.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self(RwLock::new(Arc::new(desk)))
    }

    /// The desk for one request.
    #[must_use]
    pub fn now(&self) -> Arc<Desk> {
        // An Arc is whole whatever panicked beside it.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this config counts; all else of the desk stays.
    pub fn replace(&self, config: Config) {
        let next = Desk {
            config: Arc::new(config),
            ..Desk::clone(&self.now())
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}
