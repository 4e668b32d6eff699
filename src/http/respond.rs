//! What becomes of one request: a file, a view, a report; and the fleet hears of what machines load.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use ramboot_wire::ImageId;
use ramboot_wire::paths::Resource;
use ramboot_wire::queue::Place;
use ramboot_wire::stage::{MAX_REPORT_BYTES, Report, Waterfall};
use tracing::{debug, info, warn};

use super::admission::Urgency;
use super::answer::{self, Answer, Content};
use super::body::{self, Slices, Told};
use super::events::Events;
use super::host_header;
use super::lookup::{self, binary};
use super::pages::{Cost, Page};
use super::priority::Priority;
use super::request_body::receive;
use super::serve::{Peer, Site};
use super::{profile, readers};
use crate::fleet::event::{Event, Part, Who};
use crate::fleet::shared::SharedFleet;

/// Each connection keeps room for this future, and a thousand workers have four connections each: it holds the request
/// once, and what is rare in boxes.
pub(super) async fn respond(
    request: Request<Incoming>,
    guest: Arc<Peer>,
    site: Arc<Site>,
) -> Result<Response<body::Content>, Infallible> {
    let (head, body) = request.into_parts();
    let is_right = host_header::check(head.version, &head.headers);
    let page = match is_right {
        Ok(()) => (site.pages)(head.uri.path(), head.uri.query()),
        Err(why) => Some(Page::Unknown(why.to_string())),
    };
    let (answer, told) = match page {
        Some(Page::Unknown(why)) => {
            let answer = Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n"));
            (answer.last(), None)
        }
        Some(Page::Events) if head.method == Method::GET => {
            if let Some(seat) = guest.hall.watchers.enter(guest.source(), false) {
                return Ok(events(Events::new(site.fleet.changes(), seat)));
            }
            let text = "too many pages are open, of this address or of all: close one, or reload now and then\n";
            (Answer::text(StatusCode::SERVICE_UNAVAILABLE, text), None)
        }
        Some(Page::Events) => {
            let head_only = Content {
                bytes: Bytes::new().into(),
                etag: None,
                media_type: EVENT_STREAM,
                mapping: None,
                part: None,
            };
            let make = Box::new(|_| Ok(head_only));
            Box::pin(readers::show(Cost::Nothing, make, &head, &guest)).await
        }
        Some(Page::Made(cost, make)) => Box::pin(readers::show(cost, make, &head, &guest)).await,
        None => Box::pin(route(&head, body, &guest, &site)).await,
    };
    let counter = if answer.status.as_u16() < 400 {
        &site.counters.answered
    } else {
        &site.counters.refused
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let (peer, method, path) = (guest.peer, &head.method, head.uri.path());
    let (status, bytes) = (answer.status, answer.body_len());
    site.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    debug!(%peer, %method, path, status = status.as_u16(), bytes, "HTTP");
    let slices = Slices::new(answer.body, answer.mapping).telling(told);
    let mut response = Response::new(body::Content::Slices(slices));
    *response.status_mut() = status;
    response.headers_mut().extend(answer.headers);
    Ok(response)
}

fn events(events: Events) -> Response<body::Content> {
    let mut response = Response::new(body::Content::Events(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn route(
    head: &Parts,
    body: Incoming,
    guest: &Peer,
    site: &Arc<Site>,
) -> (Answer, Option<Told>) {
    let Some(resource) = Resource::parse(head.uri.path()) else {
        return (Answer::not_found(), None);
    };
    let answer = match (&head.method, &resource) {
        (&Method::POST, Resource::Report) => report(body, guest.peer, &site.fleet).await,
        (_, Resource::Report) => Answer::method_not_allowed("POST"),
        (&Method::GET | &Method::HEAD, Resource::Profile(image)) => {
            profile::get(head, *image, site).await
        }
        (&Method::POST, Resource::Profile(image)) => profile::post(body, *image, guest, site).await,
        (_, Resource::Profile(_)) => Answer::method_not_allowed("GET, HEAD, POST"),
        (&Method::GET | &Method::HEAD, _) => match turn(head, &resource, guest) {
            Some(turn) => match turn.await {
                Ok(urgency) => {
                    guest.urgent(urgency);
                    found(head, &resource, guest, site).await
                }
                Err(place) => Answer::later(place),
            },
            None => {
                guest.urgent(Urgency::Usual);
                found(head, &resource, guest, site).await
            }
        },
        _ => Answer::method_not_allowed("GET, HEAD"),
    };
    let told = loads(&resource, &answer, guest.peer, &site.fleet);
    (answer, told)
}

/// A machine loads something that comes before Linux; what it returns is told when it has it.
fn loads(
    resource: &Resource,
    answer: &Answer,
    peer: SocketAddr,
    fleet: &Arc<SharedFleet>,
) -> Option<Told> {
    let IpAddr::V4(address) = peer.ip() else {
        return None;
    };
    if let Resource::Image(image) = resource {
        return ends(*image, answer, address, fleet);
    }
    let (mac, part) = match resource {
        Resource::Script(client) => (Some(client.mac), Part::Loader),
        // iPXE or a unified kernel image: whoever made it knows.
        Resource::Efi(client) => (Some(client.mac), answer.part?),
        Resource::Boot(_, name) => (None, Part::of(name)),
        _ => return None,
    };
    if answer.status != StatusCode::OK || answer.body.is_empty() {
        return None;
    }
    let who = Who {
        mac,
        address: Some(address),
        named: mac.is_some(),
    };
    let _ = fleet.saw(Event::Begins(who, part));
    let fleet = Arc::clone(fleet);
    Some(Box::new(move || {
        let _ = fleet.saw(Event::Loaded(who, part));
    }))
}

/// The last bytes of an image go to a machine: each boot fetches them, so it is told when it has them.
fn ends(
    image: ImageId,
    answer: &Answer,
    address: Ipv4Addr,
    fleet: &Arc<SharedFleet>,
) -> Option<Told> {
    if !answer.has_the_end() {
        return None;
    }
    let fleet = Arc::clone(fleet);
    Some(Box::new(move || {
        let _ = fleet.saw(Event::Ended(address, image));
    }))
}

/// Answers GET or HEAD.
async fn found(head: &Parts, resource: &Resource, guest: &Peer, site: &Arc<Site>) -> Answer {
    let answer = match lookup::find(resource, guest, site).await {
        Ok(Some(content)) => answer::content(&head.method, &head.headers, &content),
        Ok(None) if matches!(resource, Resource::Files(..)) => Answer::gone(
            "the files of this worker are others now (an overlay, the config or the secret was changed since it began to boot): switch it off and on\n",
        ),
        Ok(None) => Answer::not_found(),
        Err(error) => {
            let (peer, path) = (guest.peer, head.uri.path());
            warn!(%peer, path, error = %format_args!("{error:#}"), "HTTP: this cannot be read or made");
            Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the manager cannot read or make this, its log says why\n",
            )
        }
    };
    if matches!(resource, Resource::Image(_)) {
        site.counters
            .image_bytes
            .fetch_add(answer.body_len(), Ordering::Relaxed);
    }
    if head.method == Method::HEAD {
        answer.without_body()
    } else {
        answer
    }
}

/// What waits for the worker's turn, if it asks for an image and would wait.
fn turn<'a>(
    head: &Parts,
    resource: &Resource,
    guest: &'a Peer,
) -> Option<Pin<Box<impl Future<Output = Result<Urgency, Place>> + use<'a>>>> {
    let image = matches!(resource, Resource::Image(_)) && head.method == Method::GET;
    let pass = guest.pass.as_ref().filter(|_| image)?;
    let wish = Priority::of(&head.headers)?;
    Some(Box::pin(pass.turn(wish)))
}

/// Waits for a disk: called aside. Images are mapped once and kept; all of a boot file is read when it is first asked for.
pub(super) fn look_up(
    resource: &Resource,
    local: SocketAddr,
    site: &Site,
) -> anyhow::Result<Option<Content>> {
    let image = |id: &ImageId| site.store.image(*id);
    Ok(match resource {
        Resource::Image(id) => image(id)?.map(|image| Content {
            mapping: Some(image.sqfs.clone()),
            ..binary(image.sqfs.bytes(), id.to_string())
        }),
        Resource::Chunks(id) => {
            image(id)?.map(|image| binary(image.chunks.clone(), format!("{id}-chunks")))
        }
        Resource::Boot(id, name) => match image(id)? {
            Some(image) => image.boot(name)?.map(|file| Content {
                mapping: file.mapping(),
                ..binary(file.bytes(), name.clone())
            }),
            None => None,
        },
        Resource::Script(_) | Resource::Efi(_) | Resource::Files(..) => {
            (site.made)(resource, local)?
        }
        Resource::Report | Resource::Profile(_) => None,
    })
}

/// Logs what a worker says of itself. Nothing is decided by it: anybody on the LAN can send one.
async fn report(body: Incoming, peer: SocketAddr, fleet: &SharedFleet) -> Answer {
    let bytes = match receive(body, "a report", MAX_REPORT_BYTES, REPORT_TIMEOUT).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    match serde_json::from_slice::<Report>(&bytes) {
        Ok(report) => {
            if let IpAddr::V4(from) = peer.ip()
                && let Err(refused) = fleet.saw(Event::Reported(from, report.clone()))
            {
                debug!(%peer, worker = %report.mac, "HTTP: report not believed: {refused}");
                return Answer::text(StatusCode::TOO_MANY_REQUESTS, format!("{refused}\n"));
            }
            let source = peer.ip().to_string();
            // StageLine's text has no control characters, whatever a worker sent.
            let line = report.line.to_string();
            let line = line.trim_start_matches("ramboot: ");
            match report.line.error {
                None => info!(source, worker = %report.mac, image = report.image.short(), "{line}"),
                Some(_) => {
                    warn!(source, worker = %report.mac, image = report.image.short(), "{line}")
                }
            }
            if !report.waterfall.is_empty() {
                let bars = Waterfall(&report.waterfall);
                info!(source, worker = %report.mac, "waterfall, ms since /init started: {bars}");
            }
            Answer::text(StatusCode::OK, "")
        }
        Err(error) => {
            debug!(%peer, %error, "HTTP: malformed report");
            Answer::text(StatusCode::BAD_REQUEST, format!("not a report: {error}\n"))
        }
    }
}

/// Media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// A report fits into three Ethernet frames.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of_answer<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// A thousand workers have four connections each, and the manager 64 MiB beside the mapping.
    #[test]
    fn a_connection_keeps_little_room() {
        let bytes = bytes_of_answer(respond);
        assert!(bytes <= 1024, "{bytes}");
    }
}
