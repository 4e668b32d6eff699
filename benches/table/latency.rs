//! What a small request waits while 64 bodies stream: 4 KiB of the image, on a connection that is kept and on a fresh one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::client::{Load, Shape, THREADS};
use crate::http::Store;
use crate::lan::Lan;
use crate::pairs::{Contender, Reading, percentile};
use crate::servers::Server;

const STREAMS: usize = 64;
/// Of each kind, in each run.
const PROBES: usize = 200;
const PROBE_BYTES: usize = 4 << 10;

/// Ours and the peers, all streaming 64 bodies for as long as they are asked.
pub(crate) fn contenders<'a>(
    lan: &'a Lan,
    servers: &'a [Server],
    store: &'a Store,
) -> Vec<Contender<'a>> {
    let contender = |server: &'a Server| {
        let image = store.image(1, Shape::Whole);
        let load = Load {
            address: server.address,
            path: server.path(image),
            size: image.size,
            shape: Shape::Whole,
            connections: STREAMS,
            requests: usize::MAX,
            threads: THREADS,
        };
        Contender::new(server.name(), move || probed(lan, load.clone()))
    };
    servers.iter().map(contender).collect()
}

fn probed(lan: &Lan, load: Load) -> anyhow::Result<Vec<Reading>> {
    let stop = Arc::new(AtomicBool::new(false));
    let probe = {
        let (load, stop) = (load.clone(), Arc::clone(&stop));
        lan.client(move || {
            let result = probes(&load);
            // The streams end whatever became of the probes.
            stop.store(true, Ordering::Relaxed);
            result
        })
    };
    load.run(lan, &stop).context("streaming")?;
    let joined = probe.join();
    let (kept, fresh) = joined.map_err(|_| anyhow::anyhow!("a probe panicked"))??;
    let reading = |what, times: &[f64], percent| {
        let value = percentile(times, percent).context("no probe")?;
        let unit = "ms";
        anyhow::Ok(Reading { what, unit, value })
    };
    Ok(vec![
        reading("kept p50", &kept, 50)?,
        reading("kept p99", &kept, 99)?,
        reading("fresh p50", &fresh, 50)?,
        reading("fresh p99", &fresh, 99)?,
    ])
}

/// Milliseconds of each small request, on a kept connection and on fresh ones.
fn probes(load: &Load) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: bench\r\nRange: bytes=0-{}\r\n\r\n",
        load.path,
        PROBE_BYTES - 1
    );
    let open = || {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        anyhow::Ok(stream)
    };
    let mut keep = open()?;
    let (mut kept, mut fresh) = (Vec::new(), Vec::new());
    for _ in 0..PROBES {
        let begin = Instant::now();
        ask(&mut keep, &request)?;
        kept.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        ask(&mut open()?, &request)?;
        fresh.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok((kept, fresh))
}

fn ask(stream: &mut TcpStream, request: &str) -> anyhow::Result<()> {
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 2 * PROBE_BYTES]);
    loop {
        let read = stream.read(&mut buffer).context("waiting for a probe")?;
        ensure!(read > 0, "a probe's connection was closed");
        answer.extend_from_slice(&buffer[..read]);
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| answer.len() == head + 4 + PROBE_BYTES) {
            ensure!(answer.starts_with(b"HTTP/1.1 206 "), "a probe was refused");
            return Ok(());
        }
    }
}
