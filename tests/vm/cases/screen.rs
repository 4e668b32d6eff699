//! What a person at the monitor sees, and what the worker knows of its boot later.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::{Stage, StageLine};
use serde_json::Value;

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, MANAGER};
use crate::machine::{Machine, Worker};
use crate::manager::Manager;
use crate::{ANSWER, BOOT, wait};

/// VGA's text mode.
const COLUMNS: usize = 80;
const ROWS: usize = 25;

/// The manager dies in the middle of a fetch: the screen says so in plain words, and when the manager is back, the boot
/// ends with the image's own login on the same screen. The serial line, which alone stands on the command line, hears
/// the same in lines.
pub(super) fn in_plain_words(case: &Case) -> Result<()> {
    let image = Image::debian()?;
    let size = image.size()?;
    let store = case.store()?;
    let lan = Lan::new()?;
    let manager = Manager::full(case, &store)?;
    let mut worker = Machine::bios(1024).with_screen().boot(case, &lan)?;

    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    wait::until("a tenth of the image on its way", BOOT, || {
        Ok((worker.tap.delivered()? - before > size / 10).then_some(()))
    })?;
    manager.kill()?;
    let refused = format!("The manager at {MANAGER}:8067 does not answer (connection refused) for");
    let screen = expect(case, &mut worker, "trouble", &refused)?;
    picture(case, &mut worker, "trouble")?;
    for part in [
        " ramboot  worker-123400 ",
        &format!(", {} MB", size / 1_000_000),
        "   [ ok ] dhcp",
        "   [ .. ] fetch",
        "   [    ] mount",
        &format!(" of {} MB, nothing comes", size / 1_000_000),
        "Is `ramboot serve` running there?",
    ] {
        ensure!(
            screen.contains(part),
            "no {part:?} on the screen:\n{screen}"
        );
    }
    ensure!(
        screen
            .lines()
            .any(|row| row.starts_with("   [#") && row.ends_with(" %")),
        "no bar on the screen:\n{screen}"
    );
    let said = &worker.console.said;
    said.expect("ramboot: trouble: The manager at", ANSWER)?;
    said.expect(
        &format!("ramboot: waiting for http://{MANAGER}:8067 since"),
        ANSWER,
    )?;

    let _manager = Manager::full(case, &store)?;
    worker.console.stage(Stage::Handover, BOOT)?;
    let screen = expect(case, &mut worker, "handover", "starts.")?;
    ensure!(
        screen.starts_with("ramboot: image ") && !screen.contains("[ ok ]"),
        "the picture is still on the screen:\n{screen}"
    );
    worker.console.login()?;
    for stage in Stage::BOOT {
        worker.console.stage(stage, Duration::ZERO)?;
    }
    ensure!(
        !worker.console.said.has("[ ok ] dhcp"),
        "the picture was painted on the serial line"
    );
    // The image's kernel has a driver for this card, so its text is no longer where VGA has it; the kernel knows it.
    wait::until("a login on the screen", ANSWER, || {
        let text = worker.console.run("cat /dev/vcs1")?;
        Ok(text.contains(" login:").then_some(()))
    })?;
    picture(case, &mut worker, "login")?;
    record(&mut worker, size)
}

/// Waits until the screen shows `text`; all of it. Kept in the case's folder.
fn expect(case: &Case, worker: &mut Worker, name: &str, text: &str) -> Result<String> {
    let file = case.dir().join(format!("{name}.txt"));
    wait::until(
        &format!("{text:?} on the screen, see {}", file.display()),
        ANSWER,
        || {
            let screen = text_screen(case, worker)?;
            fs::write(&file, &screen)?;
            Ok(screen.contains(text).then_some(screen))
        },
    )
}

/// What stands on the screen, as long as it is in text mode: read from the card's memory, two bytes a character.
fn text_screen(case: &Case, worker: &mut Worker) -> Result<String> {
    let file = case.dir().join("vga");
    let bytes = COLUMNS * ROWS * 2;
    let arguments = serde_json::json!({ "val": 0xb8000, "size": bytes, "filename": file });
    worker.monitor.execute("pmemsave", &arguments)?;
    let memory = fs::read(&file)?;
    ensure!(memory.len() == bytes, "{} bytes of {bytes}", memory.len());
    let characters: Vec<u8> = memory.chunks(2).map(|cell| cell[0]).collect();
    let rows = characters.chunks(COLUMNS).map(|row| {
        let row: String = row.iter().map(|c| char::from(*c)).collect();
        row.trim_end().to_owned() + "\n"
    });
    Ok(rows.collect())
}

/// A photograph for people, in the case's folder.
fn picture(case: &Case, worker: &mut Worker, name: &str) -> Result<()> {
    let file = case.dir().join(format!("{name}.ppm"));
    let arguments = serde_json::json!({ "filename": file });
    worker.monitor.execute("screendump", &arguments).map(drop)
}

/// /run/ramboot/boot.json agrees with what was said.
fn record(worker: &mut Worker, size: u64) -> Result<()> {
    let text = worker.console.run("cat /run/ramboot/boot.json")?;
    let record: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let addr = worker.console.stage(Stage::Dhcp, Duration::ZERO)?;
    let addr = addr.fact("addr").context("no addr in the dhcp line")?;
    for (key, want) in [
        ("/version", Value::from(1)),
        ("/image/size", Value::from(size)),
        ("/arch", Value::from("x86_64")),
        ("/mac", Value::from("52:54:00:12:34:00")),
        ("/addr", Value::from(addr)),
        ("/dhcp_server", Value::from(MANAGER)),
        (
            "/bases/0/base",
            Value::from(format!("http://{MANAGER}:8067")),
        ),
        ("/bad", Value::from(0)),
        ("/init", Value::from("/sbin/init")),
    ] {
        let found = record.pointer(key);
        ensure!(
            found == Some(&want),
            "{key} is {found:?} instead of {want} in {text}"
        );
    }
    let number = |key: &str| {
        let value = record.pointer(key).and_then(Value::as_u64);
        value.with_context(|| format!("no number {key} in {text}"))
    };
    ensure!(
        number("/bytes")? >= size && number("/retries")? > 0,
        "{text}"
    );
    // A bar for each stage, in order, and for the work beside them.
    ensure!(number("/waterfall/7/end_ms")? > 0, "{text}");
    let mut before = 0;
    for (at, stage) in Stage::BOOT.into_iter().enumerate() {
        let (ended, ms) = (
            number(&format!("/stages/{at}/since_kernel_ms"))?,
            number(&format!("/stages/{at}/ms"))?,
        );
        ensure!(
            ended >= before + ms,
            "stage {stage}: times go backwards in {text}"
        );
        before = ended;
        let line = record
            .pointer(&format!("/lines/{at}"))
            .cloned()
            .unwrap_or_default();
        let line: StageLine = serde_json::from_value(line)?;
        ensure!(
            line.stage == stage && line.ms == ms,
            "{line} is not stage {stage}"
        );
    }
    Ok(())
}
