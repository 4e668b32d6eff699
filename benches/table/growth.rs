//! What costs as there is more of it: a larger image to publish and to serve, more images at a start.
//!
//! A ratio here is to a smaller one of ours, measured in turn: 1.0 is flat. Images are a small squashfs and a hole behind
//! it, which `publish` takes for padding; it reads, hashes and writes it as it does others. All is in a tmpfs, since it is not
//! the disk that is measured.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path as Folder, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use ramboot_wire::image::CHUNK_BYTES;

use crate::images::{self, Filling, Image};
use crate::lan::{Lan, Path};
use crate::pairs::{Contender, Reading};
use crate::plan::Plan;
use crate::process::Process;
use crate::servers;

#[path = "../../tests/small_image/mod.rs"]
mod small_image;

const MEGA: u64 = 1_000_000;
/// Megabytes that are published, each compared with the third. What a publish costs whatever the size, `/init`'s
/// compression, is most of the first.
const PUBLISHED: [u64; 4] = [50, 200, 1000, 8000];
const PUBLISHED_BASE: (u64, &str) = (1000, "1 GB");
/// A publish of 8 GB takes as long as all else here.
const PUBLISH_ROUNDS: usize = 3;
const SERVED: [u64; 2] = [1000, 8000];
const SERVED_BASE: (u64, &str) = (200, "200 MB");
/// Images in a store, each compared with the first.
const STORES: [u64; 3] = [1, 10, 200];
const SHM: &str = "/dev/shm";

/// The rows of this section that are wanted.
pub(crate) fn rows(plan: &mut Plan) -> anyhow::Result<()> {
    publish_rows(plan)?;
    start_rows(plan)?;
    serve_rows(plan)
}

fn publish_rows(plan: &mut Plan) -> anyhow::Result<()> {
    for mb in PUBLISHED {
        let name = format!("growth publish {mb}MB");
        if !plan.wants(&name) {
            continue;
        }
        // The copy is in RAM; the hole it is made of is not.
        let (there, needed) = (available()?, (mb + 2000) * MEGA);
        if there < needed {
            plan.note(&name, &format!("{there} bytes of RAM, {needed} are needed"));
            continue;
        }
        let folder = tempfile::tempdir_in(SHM)?;
        let image = grown(folder.path(), mb * MEGA)?;
        let (base_mb, base_name) = PUBLISHED_BASE;
        let base = grown(folder.path(), base_mb * MEGA)?;
        let mut contenders = vec![
            Contender::new("ramboot", || publish_anew(&image, mb)),
            Contender::new(base_name, || publish_anew(&base, base_mb)),
        ];
        // No row beside itself.
        contenders.truncate(if mb == base_mb { 1 } else { 2 });
        plan.measure_rounds(name, PUBLISH_ROUNDS, contenders)?;
    }
    Ok(())
}

fn start_rows(plan: &mut Plan) -> anyhow::Result<()> {
    let name = |count| format!("growth start {count} images");
    let mut base = None;
    for count in STORES {
        if !plan.wants(&name(count)) {
            continue;
        }
        let lan = Lan::new(Path::Loopback)?;
        let base = match &mut base {
            Some(base) => &*base,
            none => none.insert(published(1)?),
        };
        let store = published(count)?;
        let mut contenders = vec![
            Contender::new("ramboot", || start(&lan, store.path())),
            Contender::new("1 image", || start(&lan, base.path())),
        ];
        contenders.truncate(if count == STORES[0] { 1 } else { 2 });
        plan.measure(name(count), contenders)?;
    }
    Ok(())
}

fn serve_rows(plan: &mut Plan) -> anyhow::Result<()> {
    for mb in SERVED {
        let name = format!("growth serve {mb}MB");
        if !plan.wants(&name) {
            continue;
        }
        let lan = Lan::new(Path::Loopback)?;
        let store = tempfile::tempdir_in(SHM)?;
        let image = |mb: u64| images::add(store.path(), mb * MEGA / CHUNK_BYTES, Filling::Hole);
        let (image, base) = (image(mb)?, image(SERVED_BASE.0)?);
        plan.measure(
            name,
            vec![
                Contender::new("ramboot", || first_request(&lan, store.path(), &image)),
                Contender::new(SERVED_BASE.1, || first_request(&lan, store.path(), &base)),
            ],
        )?;
    }
    Ok(())
}

/// A squashfs that `publish` takes, and a hole up to `size`.
fn grown(folder: &Folder, size: u64) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{size}.sqfs"));
    fs::write(&path, small_image::squashfs(&small_image::debian_like()))?;
    File::options().write(true).open(&path)?.set_len(size)?;
    Ok(path)
}

/// Publishes into an empty store.
fn publish_anew(image: &Folder, mb: u64) -> anyhow::Result<Vec<Reading>> {
    let store = tempfile::tempdir_in(SHM)?;
    let begin = Instant::now();
    let peak = publish(store.path(), image, "grown")?;
    let seconds = begin.elapsed().as_secs_f64();
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("time", "s", seconds),
        reading("per GB", "s/GB", seconds / (mb as f64 / 1e3)),
        reading("peak RSS", "MB", peak),
    ])
}

/// Publishes, and says how many megabytes it had at most.
fn publish(store: &Folder, image: &Folder, name: &str) -> anyhow::Result<f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramboot"));
    command.args(["--log=error", "publish", "--name", name]);
    command.arg("--state").arg(store).arg(image);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peak = 0.0;
    loop {
        // VmHWM is the peak so far, so a pause of a millisecond hides little.
        if let Some(now) = Process::peak(child.id())? {
            peak = now;
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{command:?}: {status}");
            return Ok(peak);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A store of so many images, each under a name of its own: one that was published, and others that differ in their bytes.
fn published(count: u64) -> anyhow::Result<tempfile::TempDir> {
    let (store, source) = (tempfile::tempdir_in(SHM)?, tempfile::tempdir()?);
    let image = grown(source.path(), MEGA)?;
    publish(store.path(), &image, "image0")?;
    let names = store.path().join("names");
    let text = fs::read_to_string(names.join("image0/1.json"))?;
    let mut generation: serde_json::Value = serde_json::from_str(&text)?;
    for number in 1..count {
        let image = images::add(store.path(), 4, Filling::Noise(number))?;
        generation["image"] = image.id.to_string().into();
        generation["size"] = image.size.into();
        let folder = names.join(format!("image{number}"));
        fs::create_dir(&folder)?;
        fs::write(folder.join("1.json"), generation.to_string())?;
    }
    Ok(store)
}

/// Starts the manager, and says when it was ready.
fn start(lan: &Lan, store: &Folder) -> anyhow::Result<Vec<Reading>> {
    let begin = Instant::now();
    let process = ready(lan, store)?;
    let seconds = begin.elapsed().as_secs_f64();
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("time", "ms", seconds * 1e3),
        reading("RSS", "MB", process.rss()?),
    ])
}

/// The manager, from when it says READY=1 (sd_notify(3)).
fn ready(lan: &Lan, store: &Folder) -> anyhow::Result<Process> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut command = servers::ramboot(lan, store);
    command.env("NOTIFY_SOCKET", &path).stdout(Stdio::null());
    let process = Process::spawn(&mut command)?;
    let mut message = [0; 64];
    let length = socket.recv(&mut message).context("waiting for READY=1")?;
    let said = String::from_utf8_lossy(&message[..length]);
    ensure!(said.contains("READY=1"), "the manager said {said:?}");
    Ok(process)
}

/// How long the first request for an image takes, for which it is opened and its chunk list proven.
fn first_request(lan: &Lan, store: &Folder, image: &Image) -> anyhow::Result<Vec<Reading>> {
    let process = ready(lan, store)?;
    let address = lan.address(servers::RAMBOOT_PORT);
    let request = format!(
        "GET /images/{}/image.sqfs HTTP/1.1\r\nHost: bench\r\nRange: bytes=0-4095\r\nConnection: close\r\n\r\n",
        image.id
    );
    let seconds = lan.on_client(move || {
        let mut stream = TcpStream::connect(address)?;
        let begin = Instant::now();
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 206 "), "refused");
        Ok(begin.elapsed().as_secs_f64())
    })?;
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("first", "ms", seconds * 1e3),
        reading("RSS", "MB", process.rss()?),
    ])
}

/// Bytes of RAM that can be had.
fn available() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let line = line.context("no MemAvailable in /proc/meminfo")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
