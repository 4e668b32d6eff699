//! Asks a manager for its fleet.

use std::net::SocketAddrV4;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use ramboot_wire::plain;
use tokio::net::TcpStream;

use crate::fleet::snapshot::{Snapshot, VERSION};

/// The fleet as the manager at `place` sees it.
///
/// # Errors
/// It does not answer in time, or with something else.
pub fn snapshot(place: SocketAddrV4) -> anyhow::Result<Snapshot> {
    let json = get(place, "/nodes.json")?;
    let form: Form = serde_json::from_slice(&json).context("reading its answer")?;
    ensure!(
        form.version == VERSION,
        "it speaks version {} of /nodes.json, this ramboot {VERSION}: use the same ramboot on both",
        form.version
    );
    serde_json::from_slice(&json).context("reading its answer")
}

#[derive(serde::Deserialize)]
struct Form {
    version: u32,
}

/// The body of a 200.
///
/// # Errors
/// Any other answer, or none in time.
pub fn get(place: SocketAddrV4, path: &str) -> anyhow::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(PATIENCE, talk(place, path)).await;
        answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
    })
}

async fn talk(place: SocketAddrV4, path: &str) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(place).await.context("connecting")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("beginning")?;
    let request = Request::get(path)
        .header(header::HOST, place.to_string())
        .body(Empty::<Bytes>::new())
        .context("writing the request")?;
    let asked = async {
        let answer = sender.send_request(request).await.context("asking")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!("reading its answer: {error}"))?
            .to_bytes();
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            let text = plain::line(text.trim(), MAX_SAID);
            bail!("it answers {status} to {path}: {text}");
        }
        Ok(body)
    };
    let (mut asked, mut connection) = (pin!(asked), pin!(connection));
    tokio::select! {
        answer = &mut asked => return answer,
        ended = &mut connection => ended.context("talking to it")?,
    }
    // It has closed the connection, and what it said before that is still to be read.
    asked.await
}

/// Characters of what another machine says.
const MAX_SAID: usize = 200;
const PATIENCE: Duration = Duration::from_secs(5);
/// Of 65 536 machines with a kilobyte each.
const MAX_BYTES: usize = 128 << 20;
