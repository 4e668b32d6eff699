//! HTTP beside nginx and the limit: throughput, CPU time of the serving processes, and their RAM.
//!
//! *CPU both* is the time of server and client together: on one machine much of a server's sending is done in the time of
//! the client, so a server's own time alone flatters who keeps its queues full. *apart* is *whole* with a client that
//! has a thread for each connection: it is asleep more often when an ACK comes, and the server sends by itself.
//!
//! One image on a disk, its pages warm. 128 MiB are four times a third-level cache; 64 and 1 000 connections fetch smaller
//! images whole, so that a run takes about a second.

use std::path::Path as Folder;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context as _;

use crate::client::{Load, Shape, THREADS};
use crate::images::{self, Filling, Image};
use crate::lan::{Lan, Path};
use crate::pairs::{Contender, Reading};
use crate::plan::Plan;
use crate::process;
use crate::servers::{Kind, Server};
use crate::{cold, latency};

const CONNECTIONS: [usize; 4] = [1, 4, 64, 1000];
const SHAPES: [(&str, Shape); 3] = [
    ("whole", Shape::Whole),
    ("1MiB", Shape::Range(1 << 20)),
    ("4KiB", Shape::Range(4 << 10)),
];
const CHUNKS_PER_MIB: u64 = 4;

/// Images of several sizes in one store.
pub(crate) struct Store {
    folder: tempfile::TempDir,
    large: Image,
    middle: Image,
    small: Image,
}

impl Store {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let add = |mib| images::add(folder.path(), mib * CHUNKS_PER_MIB, Filling::Noise(0));
        let (large, middle, small) = (add(128)?, add(32)?, add(4)?);
        Ok(Self {
            folder,
            large,
            middle,
            small,
        })
    }

    pub(crate) fn path(&self) -> &Folder {
        self.folder.path()
    }

    pub(crate) fn image(&self, connections: usize, shape: Shape) -> &Image {
        match (shape, connections) {
            (Shape::Whole, 65..) => &self.small,
            (Shape::Whole, 5..) => &self.middle,
            _ => &self.large,
        }
    }
}

/// A row of one path.
#[derive(Debug, Clone, Copy)]
enum Row {
    Warm(usize, &'static str, Shape),
    /// Whole bodies, each connection with a thread of its own.
    Apart(usize),
    Cold(usize),
    Latency,
}

impl Row {
    fn all() -> Vec<Self> {
        let warm = CONNECTIONS.map(|n| SHAPES.map(|(name, shape)| Self::Warm(n, name, shape)));
        let mut rows = warm.concat();
        rows.extend([Self::Apart(4), Self::Apart(64)]);
        rows.extend([Self::Cold(1), Self::Cold(64), Self::Latency]);
        rows
    }

    fn name(self, path: Path) -> String {
        match self {
            Self::Warm(connections, shape, _) => format!("http {path} {connections} {shape}"),
            Self::Apart(connections) => format!("http {path} {connections} apart"),
            Self::Cold(connections) => format!("http {path} {connections} cold"),
            Self::Latency => format!("http {path} 64 latency"),
        }
    }
}

/// All rows of this section that are wanted.
pub(crate) fn rows(plan: &mut Plan) -> anyhow::Result<()> {
    let mut store = None;
    for path in [Path::Loopback, Path::Veth] {
        let mut rows = Row::all();
        rows.retain(|row| plan.wants(&row.name(path)));
        if rows.is_empty() {
            continue;
        }
        let store = match &mut store {
            Some(store) => &*store,
            none => none.insert(Store::new()?),
        };
        let lan = Lan::new(path)?;
        let (cold, warm): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| matches!(row, Row::Cold(_)));
        let start = |kind| Server::start(kind, &lan, store.path());
        let servers = Kind::ALL.into_iter().map(start);
        let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
        for row in warm {
            let contenders = match row {
                Row::Warm(connections, _, shape) => {
                    contenders(&lan, &servers, store, (connections, THREADS), shape)
                }
                Row::Apart(connections) => {
                    let apart = (connections, connections);
                    contenders(&lan, &servers, store, apart, Shape::Whole)
                }
                Row::Latency => latency::contenders(&lan, &servers, store),
                Row::Cold(_) => continue,
            };
            plan.measure(row.name(path), contenders)?;
        }
        // They start their own.
        drop(servers);
        for row in cold {
            if let Row::Cold(connections) = row {
                let contenders = cold::contenders(&lan, store, connections);
                plan.measure(row.name(path), contenders)?;
            }
        }
    }
    Ok(())
}

fn contenders<'a>(
    lan: &'a Lan,
    servers: &'a [Server],
    store: &'a Store,
    (connections, threads): (usize, usize),
    shape: Shape,
) -> Vec<Contender<'a>> {
    let contender = |server: &'a Server| {
        let load = Load {
            threads,
            ..load(server, store, connections, shape)
        };
        Contender::new(server.name(), move || serve(lan, server, &load))
    };
    servers.iter().map(contender).collect()
}

pub(crate) fn load(server: &Server, store: &Store, connections: usize, shape: Shape) -> Load {
    let image = store.image(connections, shape);
    // So many bytes in all, or requests, that a run takes about a second.
    let requests = match shape {
        Shape::Whole => 16 / connections.min(16),
        Shape::Range(length) if length >= 1 << 20 => 2048_usize.div_ceil(connections),
        // One connection waits for each answer.
        Shape::Range(_) if connections == 1 => 16_000,
        Shape::Range(_) => 48_000 / connections,
    };
    Load {
        address: server.address,
        path: server.path(image),
        size: image.size,
        shape,
        connections,
        requests,
        threads: THREADS,
    }
}

pub(crate) fn serve(lan: &Lan, server: &Server, load: &Load) -> anyhow::Result<Vec<Reading>> {
    let (before, client_before) = (server.process.cpu_seconds()?, process::own_cpu_seconds()?);
    let begin = Instant::now();
    let open = load
        .run(lan, &Arc::new(AtomicBool::new(false)))
        .with_context(|| format!("fetching {} from {}", load.path, server.name()))?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = server.process.cpu_seconds()? - before;
    // The kernel sends much of what is queued when an ACK comes, in the time of whoever caused it: the client's.
    let both = cpu + process::own_cpu_seconds()? - client_before;
    // While the connections are open.
    let rss = server.process.rss()?;
    drop(open);
    let reading = |what, unit, value| Reading { what, unit, value };
    let requests = (load.connections * load.requests) as f64;
    let gb = load.bytes() as f64 / 1e9;
    let rss = reading("RSS", "MB", rss);
    Ok(match load.shape {
        Shape::Range(..65536) => vec![
            reading("rate", "requests/s", requests / seconds),
            reading("CPU", "us/request", cpu * 1e6 / requests),
            reading("CPU both", "us/request", both * 1e6 / requests),
            rss,
        ],
        _ => vec![
            reading("rate", "GB/s", gb / seconds),
            reading("CPU", "s/GB", cpu / gb),
            reading("CPU both", "s/GB", both / gb),
            rss,
        ],
    })
}
