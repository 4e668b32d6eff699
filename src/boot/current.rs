//! The planner that counts now. A reload puts another one in its place, whole: who took one before decides by that one to the
//! end, so a request sees the old config or the new one and never a half of each.

use std::sync::{Arc, PoisonError, RwLock};

use super::planner::Planner;
use crate::config::Config;

/// One for all servers.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Planner>>);

impl Current {
    /// Begins with this planner.
    #[must_use]
    pub fn new(planner: Planner) -> Self {
        Self(RwLock::new(Arc::new(planner)))
    }

    /// The planner for one request.
    #[must_use]
    pub fn now(&self) -> Arc<Planner> {
        // An Arc is whole whatever panicked beside it.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this config counts; all else of the planner stays.
    pub fn replace(&self, config: Config) {
        let next = Planner {
            config: Arc::new(config),
            ..Planner::clone(&self.now())
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}
