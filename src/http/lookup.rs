//! Looks up what a path names without keeping anybody waiting: what is at hand at once, and what has to be read or made aside.
//!
//! An address has one thing made at a time: whoever asks for much waits for itself.

use std::sync::Arc;

use bytes::Bytes;
use ramboot_wire::paths::Resource;

use super::answer::Content;
use super::respond::look_up;
use super::serve::{Peer, Site};
use crate::host::blocking;

/// What `resource` is; `None` if there is no such thing.
///
/// # Errors
/// It cannot be read or made.
pub(super) async fn find(
    resource: &Resource,
    guest: &Peer,
    site: &Arc<Site>,
) -> anyhow::Result<Option<Content>> {
    if let Some(content) = at_hand(resource, site) {
        return Ok(Some(content));
    }
    let (wanted, local, own) = (resource.clone(), guest.local, Arc::clone(site));
    let look = move || look_up(&wanted, local, &own);
    match resource {
        Resource::Script(_) | Resource::Efi(_) | Resource::Files(..) => {
            let turn = match &guest.pass {
                Some(pass) => Some(Arc::clone(&pass.making).acquire_owned().await?),
                None => None,
            };
            blocking::make(move || {
                let _turn = turn;
                look()
            })
            .await?
        }
        _ => blocking::read(look).await?,
    }
}

/// Of an image that was looked at a moment ago: workers ask for it chunk by chunk.
fn at_hand(resource: &Resource, site: &Site) -> Option<Content> {
    match resource {
        Resource::Image(id) => site.store.at_hand(*id).map(|image| Content {
            mapping: Some(image.sqfs.clone()),
            ..binary(image.sqfs.bytes(), id.to_string())
        }),
        Resource::Chunks(id) => {
            let image = site.store.at_hand(*id)?;
            Some(binary(image.chunks.clone(), format!("{id}-chunks")))
        }
        _ => None,
    }
}

/// What its digest names.
pub(super) fn binary(bytes: Bytes, etag: String) -> Content {
    Content {
        bytes: bytes.into(),
        etag: Some(etag),
        media_type: "application/octet-stream",
        mapping: None,
        part: None,
    }
}
