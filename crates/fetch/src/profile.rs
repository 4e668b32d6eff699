//! The image's profile: asked of the bases in turn, for a hint. A base that has none ends the question; one that does not
//! answer is waited for, a little.

use ramboot_wire::paths::Resource;
use ramboot_wire::{ImageId, Profile};

use crate::clock;
use crate::engine::Pace;
use crate::http::{Connection, HttpError};
use crate::sources::Sources;

/// What boots of the image read; `None` if nobody knows, or nobody says so soon.
#[must_use]
pub fn fetch_profile(id: ImageId, size: u64, sources: &Sources, pace: Pace) -> Option<Profile> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            clock::sleep(pace.retry);
        }
        for source in sources.all() {
            let asked = Connection::open(&source.base, pace.patience)
                .and_then(|connection| ask(connection, id, size));
            match asked {
                Ok(profile) => return profile,
                // It knows the image, or did: another's word would be no better.
                Err(HttpError::Status { status: 404, .. }) => return None,
                Err(_) => {}
            }
        }
    }
    None
}

fn ask(mut connection: Connection, id: ImageId, size: u64) -> Result<Option<Profile>, HttpError> {
    let len = Profile::encoded_len(size);
    connection.get(&Resource::Profile(id).path(), len)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    connection.read_exact(&mut bytes)?;
    Ok(Profile::parse(size, &bytes))
}

/// Without a hint a boot takes longer, and no more than that.
const ATTEMPTS: u32 = 4;
