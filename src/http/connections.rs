//! What the connections of one listener share: places of each kind ([`super::shares`]), given back when they are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shares::{Places, Source};

/// All places of one listener.
#[derive(Debug)]
pub(super) struct Hall {
    /// Connections that are served.
    pub(super) connections: Arc<Room>,
    /// Connections that are told to come back.
    pub(super) turned_away: Arc<Room>,
    /// Pages that are open.
    pub(super) watchers: Arc<Room>,
    /// Recordings that are being received, or wait for it.
    pub(super) recordings: Arc<Room>,
}

impl Hall {
    /// For so many connections, of which the last ones are kept for machines that DHCP knows.
    pub(super) fn new(connections: usize, reserve: usize) -> Self {
        Self {
            connections: Room::of(Places::new(connections, reserve)),
            turned_away: Room::of(Places::new(MAX_TURNED_AWAY, 0)),
            watchers: Room::of(Places::new(MAX_WATCHERS, 0)),
            recordings: Room::of(Places::one_each(MAX_RECORDINGS)),
        }
    }
}

/// Places of one kind.
#[derive(Debug)]
pub(super) struct Room(Mutex<Places>);

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    source: Source,
    is_known: bool,
    /// So many were free to its like when it was taken.
    pub(super) free: usize,
}

impl Room {
    fn of(places: Places) -> Arc<Self> {
        Arc::new(Self(Mutex::new(places)))
    }

    /// A place, if there is one for this source.
    pub(super) fn enter(self: &Arc<Self>, source: Source, is_known: bool) -> Option<Seat> {
        let free = self.lock().enter(source, is_known)?;
        Some(Seat {
            room: Arc::clone(self),
            source,
            is_known,
            free,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.lock().leave(self.source, self.is_known);
    }
}

/// Each waits for two seconds at most; those beyond are closed without a word.
const MAX_TURNED_AWAY: usize = 64;
/// Of one address 11, and fewer as others come.
const MAX_WATCHERS: usize = 64;
/// A machine sends one a boot; a rack's wait for each other with what their kernels hold back.
const MAX_RECORDINGS: usize = 1024;
