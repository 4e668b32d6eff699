//! HTTP bodies beside nginx: throughput, and CPU seconds per GB of the serving process.
//!
//! Both serve the same file from the same folder, the page cache warm, nginx with sendfile. Runs alternate (A B A B …)
//! in one session and the table shows the medians of the ratios of neighbouring runs, because absolute rates of a
//! virtual machine drift. Loopback, and a veth pair between two network namespaces of its own (needs root).
//!
//! `make bench`, or `cargo bench --bench http`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod peer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

use peer::{Path, Server};

/// Each stream fetches the whole body this often in one run.
const BODIES_PER_STREAM: usize = 2;
const IMAGE_BYTES: usize = 128 << 20;
const PAIRS: usize = 7;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let image = peer::store_with_image(folder.path(), IMAGE_BYTES)?;
    println!(
        "HTTP bodies of {} MiB, {PAIRS} pairs of runs, ours / nginx (sendfile on); medians\n",
        IMAGE_BYTES >> 20
    );
    println!(
        "{:<10}{:>9}{:>16}{:>16}{:>14}{:>18}{:>18}",
        "path", "streams", "ours GB/s", "nginx GB/s", "rate ratio", "ours CPU s/GB", "CPU ratio"
    );
    for path in [Path::Loopback, Path::Veth] {
        let lan = match peer::Lan::new(path) {
            Ok(lan) => lan,
            Err(error) => {
                println!("{path:<10} not measured: {error:#}");
                continue;
            }
        };
        let ours = Server::ramboot(&lan, folder.path())?;
        let nginx = Server::nginx(&lan, folder.path())?;
        for streams in [1, 4, 64] {
            let pairs = (0..=PAIRS)
                .map(|_| {
                    Ok((
                        measure(&lan, &ours, &image, streams)?,
                        measure(&lan, &nginx, &image, streams)?,
                    ))
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            // The first pair warms both.
            row(path, streams, &pairs[1..]);
        }
    }
    Ok(())
}

fn row(path: Path, streams: usize, pairs: &[(Figures, Figures)]) {
    let of = |f: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(f).collect());
    println!(
        "{path:<10}{streams:>9}{:>16.2}{:>16.2}{:>13.2}x{:>18.3}{:>17.2}x",
        of(&|(ours, _)| ours.rate),
        of(&|(_, nginx)| nginx.rate),
        of(&|(ours, nginx)| ours.rate / nginx.rate),
        of(&|(ours, _)| ours.cpu),
        of(&|(ours, nginx)| ours.cpu / nginx.cpu),
    );
}

struct Figures {
    /// GB/s (10⁹) of all streams together.
    rate: f64,
    /// CPU seconds per GB of the serving process and its children.
    cpu: f64,
}

fn measure(
    lan: &peer::Lan,
    server: &Server,
    path: &str,
    streams: usize,
) -> anyhow::Result<Figures> {
    // As many bodies in all for every number of streams, within a factor of two.
    let bodies = if streams > 16 {
        1
    } else {
        BODIES_PER_STREAM * 4 / streams.min(4)
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let cpu = server.cpu_seconds()?;
    let begin = Instant::now();
    let clients: Vec<_> = (0..streams)
        .map(|_| {
            let (request, address) = (request.clone(), server.address);
            lan.client(move || (0..bodies).try_for_each(|_| fetch(address, &request)))
        })
        .collect();
    for client in clients {
        client
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let gb = (streams * bodies * IMAGE_BYTES) as f64 / 1e9;
    Ok(Figures {
        rate: gb / seconds,
        cpu: (server.cpu_seconds()? - cpu) / gb,
    })
}

/// Reads one whole answer and throws it away; the length is checked.
fn fetch(address: SocketAddr, request: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut buffer = vec![0; 1 << 20];
    let mut seen = 0;
    let mut head = None;
    loop {
        let n = stream.read(&mut buffer)?;
        anyhow::ensure!(n > 0, "connection ended after {seen} bytes");
        seen += n;
        if head.is_none() {
            anyhow::ensure!(
                buffer.starts_with(b"HTTP/1.1 200 "),
                "{}",
                String::from_utf8_lossy(&buffer[..n.min(80)])
            );
            head = buffer[..n]
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .map(|at| at + 4);
        }
        if head.is_some_and(|head| seen == head + IMAGE_BYTES) {
            return Ok(());
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
