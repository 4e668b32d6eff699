//! What `/init` and iPXE would fetch by HTTP, from the manager that runs here: heads of what is large, and the first chunk of an
//! image, proven.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ramboot_wire::BootArgs;
use ramboot_wire::image::ChunkList;
use ramboot_wire::paths::Resource;
use tokio::net::TcpStream;

/// A manager answers a line in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Chunk lists have 32 bytes for each 256 KiB of an image.
const MAX_BYTES: usize = 16 << 20;

/// Asks one manager; owns a runtime for that.
#[derive(Debug)]
pub(super) struct Fetch(tokio::runtime::Runtime);

impl Fetch {
    /// Ready to ask.
    ///
    /// # Errors
    /// The runtime does not start.
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self(runtime.context("starting the runtime")?))
    }

    /// All of a small file.
    ///
    /// # Errors
    /// There is none, or not in time.
    pub(super) fn text(&self, to: SocketAddrV4, path: &str) -> anyhow::Result<String> {
        let bytes = self.bytes(to, path, None)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How long a file is.
    ///
    /// # Errors
    /// There is none, or not in time.
    pub(super) fn length(&self, to: SocketAddrV4, path: &str) -> anyhow::Result<u64> {
        let (head, _) = self.ask(Method::HEAD, to, path, None)?;
        let length = head.headers().get("content-length");
        length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .with_context(|| format!("http://{to}{path} does not say how long it is"))
    }

    /// The chunk list folds to the image's id, and the first chunk is what it says.
    ///
    /// # Errors
    /// What the worker would say.
    pub(super) fn first_chunk(&self, args: &BootArgs) -> anyhow::Result<()> {
        let base = args
            .bases
            .first()
            .context("the command line names no manager")?;
        let at = |resource: &Resource| format!("{}{}", base.prefix, resource.path());
        let size = args.size;
        let bytes = if ChunkList::encoded_len(size) == 0 {
            Bytes::new()
        } else {
            self.bytes(base.addr, &at(&Resource::Chunks(args.image)), None)?
        };
        let list = ChunkList::prove(args.image, size, &bytes).context("the chunk list")?;
        let last = list.chunk_len(0).saturating_sub(1);
        let chunk = self.bytes(base.addr, &at(&Resource::Image(args.image)), Some(last))?;
        list.verify(0, &chunk).context("the first chunk")?;
        Ok(())
    }

    /// A whole file, or its bytes up to `last`.
    fn bytes(&self, to: SocketAddrV4, path: &str, last: Option<u64>) -> anyhow::Result<Bytes> {
        let (_, body) = self.ask(Method::GET, to, path, last)?;
        Ok(body)
    }

    fn ask(
        &self,
        method: Method,
        to: SocketAddrV4,
        path: &str,
        last: Option<u64>,
    ) -> anyhow::Result<(Response<()>, Bytes)> {
        let place = || format!("asking http://{to}{path}");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", to.to_string());
        if let Some(last) = last {
            request = request.header("range", format!("bytes=0-{last}"));
        }
        let request = request.body(Empty::<Bytes>::new()).with_context(place)?;
        let talk = async {
            let stream = TcpStream::connect(to).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await;
            connection.abort();
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            anyhow::Ok((Response::from_parts(head, ()), body))
        };
        let talk = self
            .0
            .block_on(async { tokio::time::timeout(PATIENCE, talk).await });
        let Ok(answer) = talk else {
            bail!("http://{to}{path}: no answer within {PATIENCE:?}");
        };
        let (head, body) = answer.with_context(place)?;
        let status = head.status();
        ensure!(
            matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT),
            "http://{to}{path}: status {status}"
        );
        Ok((head, body))
    }
}
