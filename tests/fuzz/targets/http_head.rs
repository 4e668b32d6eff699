//! All that a client sends over one connection, through hyper and our answers: what comes back begins as HTTP does and
//! is bounded, however many ranges were asked for.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ramboot::fleet::shared::SharedFleet;
use ramboot::http::answer::Content;
use ramboot::http::serve::{Site, converse};
use ramboot::status::route;
use ramboot::store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

/// A request of ten bytes can ask for all of it; more than one answer fits into a connection.
const CONTENT: &[u8] = &[7; 1000];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});

static SITE: LazyLock<Arc<Site>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    Arc::new(Site {
        store: Arc::new(Store::open(folder.path()).expect("an empty store")),
        made: Box::new(|_, _| {
            Ok(Some(content()))
        }),
        pages: route::pages(|_, _| Ok(content())),
        fleet: Arc::new(SharedFleet::new(Box::new(drop))),
        counters: Arc::default(),
        connections: 1,
        reserve: 0,
        known: Box::new(|_| false),
    })
});

fn content() -> Content {
    let slices = CONTENT.chunks(300).map(Bytes::from_static);
    Content {
        bytes: slices.collect(),
        etag: Some("fuzz".to_owned()),
        media_type: "application/octet-stream",
        mapping: None,
        part: None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let answer = RUNTIME.block_on(async {
        let (mut client, server) = duplex(1 << 16);
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let talk = async {
            // The server may hang up first.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            answer
        };
        let ((), answer) = tokio::join!(converse(server, here, here, Arc::clone(&SITE)), talk);
        answer
    });
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    // Each request of at least 18 bytes ("GET /x HTTP/1.1") gets the content at most once, and heads.
    let requests = bytes.len() / 16 + 1;
    assert!(
        answer.len() <= requests * (CONTENT.len() + 4096),
        "{}",
        answer.len()
    );
});
