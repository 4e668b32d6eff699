//! What stands on the page, as texts: all that is decided about it is decided here, the template only says where. Pure.

use std::collections::HashMap;

use ramboot_wire::ImageId;
use serde::Serialize;

use super::Asset;
use super::trouble::{self, Class, Group, class_of, id, name, problem, remedy};
use super::waterfall::rate;
use super::waterfall::{self, Long, Short, Waterfall};
use crate::fleet::snapshot::{ImageRow, ImageUse, Snapshot, Standing, WorkerRow};
use crate::text::time::{age, minute};
use crate::text::words::{Piece, count, machines, natural, pieces, seconds, shown, size, span};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    title: String,
    version: String,
    up: String,
    now: String,
    up_count: String,
    booting_count: String,
    trouble_count: String,
    /// Somebody is.
    trouble: bool,
    /// Interfaces that machines are not answered on.
    away: Vec<String>,
    rate: String,
    sent: String,
    known: String,
    groups: Vec<Group>,
    images: Vec<Image>,
    /// How many would change on reboot, in words.
    change: Option<String>,
    machines: Vec<Machine>,
    /// What the whole width of a small waterfall is.
    scale: String,
    /// Machines that do not stand here.
    more: Option<String>,
    /// Machines that only asked, and stand nowhere.
    unlisted: Option<String>,
    css: String,
    js: String,
}

#[derive(Debug, Serialize)]
struct Image {
    name: String,
    short: String,
    size: String,
    kernel: String,
    arch: String,
    /// `None` where the publisher had no clock.
    ago: Option<String>,
    minute: String,
    note: String,
    running: String,
    previous: Option<String>,
    /// Some run what the name stood for before.
    running_previous: Option<String>,
}

#[derive(Debug, Serialize)]
struct Machine {
    id: String,
    /// Its MAC, if it has no name.
    name: String,
    named: bool,
    mac: String,
    address: Option<String>,
    model: String,
    serial: Option<String>,
    image: Option<Use>,
    /// What it would boot, if that is something else.
    next: Option<Use>,
    class: &'static str,
    state: String,
    sentence: Option<String>,
    /// What is wrong, or was in this boot.
    problem: Option<Vec<Piece>>,
    trouble: bool,
    remedy: Vec<Piece>,
    progress: Option<(u64, u64)>,
    since: String,
    boot: Option<String>,
    short: Vec<Short>,
    long: Vec<Long>,
    memory: Option<String>,
    load: Option<String>,
}

#[derive(Debug, Serialize)]
struct Use {
    name: String,
    short: String,
}

/// What is published, and was before.
struct Shelf<'a> {
    sizes: HashMap<ImageId, u64>,
    before: HashMap<ImageId, &'a str>,
}

impl<'a> Shelf<'a> {
    fn of(images: &'a [ImageRow]) -> Self {
        let before = |row: &'a ImageRow| Some((row.previous?, row.name.as_str()));
        Self {
            sizes: images.iter().map(|row| (row.id, row.size)).collect(),
            before: images.iter().filter_map(before).collect(),
        }
    }

    fn used(&self, image: &ImageUse) -> Use {
        let name = match (&image.name, self.before.get(&image.id)) {
            (Some(name), _) => shown(name, MAX_NAME),
            (None, Some(name)) => format!("{} before", shown(name, MAX_NAME)),
            (None, None) => "not published".to_owned(),
        };
        Use {
            name,
            short: image.id.short(),
        }
    }
}

impl Page {
    pub(super) fn of(snapshot: &Snapshot, now: u64) -> Self {
        let mut rows: Vec<&WorkerRow> = snapshot.workers.iter().collect();
        rows.sort_by_cached_key(|row| place(row));
        let of = |class| rows.iter().filter(|row| class_of(row) == class).count();
        let [trouble, booting, up] = [Class::Trouble, Class::Booting, Class::Up].map(of);
        let change = rows.iter().filter(|row| row.would_change).count();
        let listed = &rows[..rows.len().min(MAX_ROWS)];
        let scale = waterfall::scale(listed.iter().map(|row| Waterfall::of(row).total()));
        let shelf = Shelf::of(&snapshot.images);
        let [css, js] = Asset::ALL.map(|asset| asset.digest());
        let (manager, more) = (&snapshot.manager, rows.len() - listed.len());
        Self {
            title: title(trouble, booting, up),
            version: manager.version.clone(),
            up: span(manager.up_s),
            now: minute(now),
            up_count: count(up as u64),
            booting_count: count(booting as u64),
            trouble_count: count(trouble as u64),
            trouble: trouble > 0,
            away: manager
                .interfaces
                .iter()
                .filter_map(|one| Some(shown(one.trouble.as_ref()?, MAX_SENTENCE)))
                .collect(),
            rate: rate(manager.bytes_per_s),
            sent: size(manager.bytes),
            known: machines(rows.len()),
            groups: trouble::groups(rows.iter().take(trouble)),
            images: snapshot.images.iter().map(|row| image(row, now)).collect(),
            change: (change > 0).then(|| machines(change)),
            machines: listed
                .iter()
                .map(|row| machine(row, scale, &shelf))
                .collect(),
            scale: span(scale.div_ceil(1000)),
            more: (more > 0).then(|| count(more as u64)),
            unlisted: (manager.unlisted > 0).then(|| count(manager.unlisted as u64)),
            css,
            js,
        }
    }
}

/// What is to be done, then by name; those without one at the end.
fn place(row: &WorkerRow) -> (Class, Standing, bool, String, [u8; 6]) {
    let name = row.name.as_deref().unwrap_or_default();
    let (class, unnamed) = (class_of(row), name.is_empty());
    (class, row.state, unnamed, natural(name), row.mac.0)
}

fn title(trouble: usize, booting: usize, up: usize) -> String {
    match (trouble, booting) {
        (0, 0) => format!("{up} up · ramboot"),
        (0, booting) => format!("{booting} booting, {up} up · ramboot"),
        (trouble, _) => format!("{trouble} in trouble · ramboot"),
    }
}

fn image(row: &ImageRow, now: u64) -> Image {
    let published = now.saturating_sub(row.published_s);
    let known = published > 0 && row.published_s > 0;
    Image {
        name: shown(&row.name, MAX_NAME),
        short: row.id.short(),
        size: size(row.size),
        kernel: shown(&row.kernel, MAX_NAME),
        arch: row.arch.to_string(),
        ago: known.then(|| age(published, now)),
        minute: minute(published),
        note: shown(&row.note, MAX_SENTENCE),
        running: count(row.running as u64),
        previous: row.previous.map(|id| id.short()),
        running_previous: (row.running_previous > 0).then(|| count(row.running_previous as u64)),
    }
}

fn machine(row: &WorkerRow, scale: u64, shelf: &Shelf<'_>) -> Machine {
    let (class, fall) = (class_of(row), Waterfall::of(row));
    let size = row
        .image
        .as_ref()
        .and_then(|image| shelf.sizes.get(&image.id));
    let next = row.next.as_ref();
    let trouble = class == Class::Trouble;
    let (state, class) = match (row.state, class) {
        (Standing::Failed, _) if row.filling.is_some() => ("waits for its image", "failed"),
        (Standing::Failed, _) => ("failed", "failed"),
        (Standing::Silent, _) => ("silent", "silent"),
        (Standing::Up, _) if row.filling.is_some() => (row.sentence.as_str(), "up filling"),
        (Standing::Up, _) => (row.sentence.as_str(), "up"),
        (_, Class::Trouble) => ("tries again", "failed"),
        (Standing::Asking, _) => ("asking", "asking"),
        (Standing::Loading, _) => ("loading", "booting"),
        (Standing::Booting, _) => ("booting", "booting"),
    };
    Machine {
        id: id(row),
        name: name(row),
        named: row.name.is_some(),
        mac: row.mac.to_string(),
        address: row.address.map(|address| address.to_string()),
        model: shown(&row.model, MAX_MODEL),
        serial: row.serial.as_deref().map(|serial| shown(serial, MAX_NAME)),
        image: row.image.as_ref().map(|image| shelf.used(image)),
        next: next
            .filter(|_| row.would_change || row.image.is_none())
            .map(|next| shelf.used(next)),
        class,
        state: shown(state, MAX_SENTENCE),
        sentence: (row.state != Standing::Up).then(|| shown(&row.sentence, MAX_SENTENCE)),
        problem: problem(row),
        trouble,
        remedy: pieces(&shown(remedy(row), MAX_SENTENCE)),
        progress: waterfall::progress(row),
        since: span(row.up_s.unwrap_or(row.since_s)),
        boot: row.boot_ms.map(seconds).or_else(|| fall.so_far()),
        short: fall.short(scale),
        long: fall.long(size.copied()),
        memory: memory(row),
        load: row
            .load_percent
            .map(|load| format!("{}.{:02}", load / 100, load % 100)),
    }
}

fn memory(row: &WorkerRow) -> Option<String> {
    let all = size(row.memory?);
    Some(match row.available {
        Some(free) => format!("{} of {all} free", size(free)),
        None => all,
    })
}

/// A document of about three megabytes.
pub(super) const MAX_ROWS: usize = 500;
/// Characters, as the following: a host name's label.
pub(super) const MAX_NAME: usize = 63;
const MAX_MODEL: usize = 80;
/// As the fleet has it.
pub(super) const MAX_SENTENCE: usize = 400;
