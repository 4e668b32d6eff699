//! `/images/<id>/profile`: what boots of an image read, for workers that stream it; and what they recorded, from them.
//!
//! Files are read and written on other threads than those that serve. A recording is a hint, and anybody on the network can
//! send one: it is of bounded length, comes from the address of a machine that was given the image and has fetched it here, counts
//! once for each boot, and is looked at before it is kept. One that is not kept is named, and harms nobody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ramboot_wire::profile::{MAX_RECORDING_BYTES, Recording};
use ramboot_wire::{ImageId, Mac};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::answer::{self, Answer, Content};
use super::request_body::receive;
use super::serve::{Peer, Site};
use crate::fleet::NotRecorded;
use crate::host::blocking;
use crate::store::Store;
use crate::store::boot_profile::Refused;

/// The profile, or that there is none.
pub(super) async fn get(head: &Parts, image: ImageId, site: &Site) -> Answer {
    let store = Arc::clone(&site.store);
    let looked = blocking::read(move || {
        let Some(size) = store.image(image)?.map(|image| image.facts.size) else {
            return Ok(None);
        };
        anyhow::Ok(store.profiles().encoded(image, size))
    });
    let bytes = match looked.await.flatten() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return without_body_of(head, Answer::not_found()),
        Err(error) => return failed(image, &error),
    };
    let content = Content {
        bytes: bytes.into(),
        etag: None,
        media_type: "application/octet-stream",
        mapping: None,
        part: None,
    };
    answer::content(&head.method, &head.headers, &content).not_kept()
}

fn without_body_of(head: &Parts, answer: Answer) -> Answer {
    if head.method == Method::HEAD {
        answer.without_body()
    } else {
        answer
    }
}

/// Takes a recording.
pub(super) async fn post(body: Incoming, image: ImageId, guest: &Peer, site: &Site) -> Answer {
    let peer = guest.peer;
    // Of strangers, nothing is read at all.
    let (from, machine) = match who(site, peer, image) {
        Ok(who) => who,
        Err(refused) => {
            debug!(%peer, image = image.short(), "HTTP: a recording is not taken: {refused}");
            return Answer::text(StatusCode::FORBIDDEN, format!("{refused}\n"));
        }
    };
    let Some(_place) = guest.hall.recordings.enter(guest.source(), true) else {
        let text = "this address sends a recording already, or too many others do\n";
        return Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let Ok(Ok(_seat)) = tokio::time::timeout(PATIENCE, SEATS.acquire()).await else {
        let text = "others send what they recorded: this manager has had no room for more\n";
        return Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let recording = match received(body).await {
        Ok(recording) => recording,
        Err(answer) => return answer,
    };
    let (mac, chunks) = (recording.mac, recording.touched.len());
    if mac != machine {
        debug!(%peer, image = image.short(), "HTTP: a recording of another machine, {mac}");
        let text = format!(
            "the recording is of machine {mac}, and this address belongs to machine {machine}\n"
        );
        return Answer::text(StatusCode::FORBIDDEN, text);
    }
    let store = Arc::clone(&site.store);
    let kept = tokio::task::spawn_blocking(move || keep(&store, image, recording, from));
    match kept.await.map_err(Into::into).flatten() {
        Ok(Some(Ok(()))) => {
            site.fleet.lock().recorded(from);
            info!(source = %from, worker = %mac, image = image.short(), chunks, "what the worker read while it booted is kept");
            Answer::no_content()
        }
        Ok(Some(Err(refused))) => {
            info!(source = %from, worker = %mac, image = image.short(), "what the worker says it read is not kept: {refused}");
            let status = match refused {
                Refused::TooSoon(_) => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Answer::text(status, format!("{refused}\n"))
        }
        Ok(None) => Answer::not_found(),
        Err(error) => failed(image, &error),
    }
}

/// The address that a recording comes from, and the machine that has it.
fn who(site: &Site, peer: SocketAddr, image: ImageId) -> Result<(Ipv4Addr, Mac), NotRecorded> {
    match peer.ip() {
        IpAddr::V4(address) => {
            let machine = site.fleet.lock().may_record(address, image)?;
            Ok((address, machine))
        }
        IpAddr::V6(_) => Err(NotRecorded::NotGiven),
    }
}

async fn received(body: Incoming) -> Result<Recording, Answer> {
    let bytes = receive(body, "a recording", MAX_RECORDING_BYTES, PATIENCE).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        debug!(%error, "HTTP: malformed recording");
        Answer::text(
            StatusCode::BAD_REQUEST,
            format!("not a recording: {error}\n"),
        )
    })
}

/// `None`: there is no such image.
fn keep(
    store: &Store,
    image: ImageId,
    recording: Recording,
    from: Ipv4Addr,
) -> anyhow::Result<Option<Result<(), Refused>>> {
    let Some(size) = store.image(image)?.map(|image| image.facts.size) else {
        return Ok(None);
    };
    #[expect(clippy::disallowed_methods, reason = "shell: says when it came")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    store
        .profiles()
        .add(image, size, (from, recording), now)
        .map(Some)
}

fn failed(image: ImageId, error: &anyhow::Error) -> Answer {
    warn!(
        source = image.short(),
        image = image.short(),
        error = %format_args!("{error:#}"),
        "HTTP: a profile cannot be read or written"
    );
    let text = "the manager cannot read or write this, its log says why\n";
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Recordings that are being received: each is held whole. The others wait, with what their senders' kernels hold back.
static SEATS: Semaphore = Semaphore::const_new(16);
/// For half a megabyte, over a link that is full.
const PATIENCE: Duration = Duration::from_secs(30);
