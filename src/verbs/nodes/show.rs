//! The fleet as a table. Pure.

use ramboot_wire::plain;

use crate::fleet::snapshot::{Snapshot, Standing, WorkerRow};
use crate::text::table::{Column, Row, render};
use crate::text::time;

/// What the manager cannot answer on; all machines, those in trouble with what helps, and a line that sums up.
#[must_use]
pub fn table(snapshot: &Snapshot) -> String {
    let interfaces = snapshot.manager.interfaces.iter();
    let troubles = interfaces.filter_map(|one| one.trouble.as_deref());
    let troubles: String = troubles.map(|text| safe(text) + "\n").collect();
    if troubles.is_empty() {
        machines(snapshot)
    } else {
        format!("{troubles}\n{}", machines(snapshot))
    }
}

fn machines(snapshot: &Snapshot) -> String {
    if snapshot.workers.is_empty() {
        return nobody(snapshot);
    }
    let rows: Vec<Row> = snapshot.workers.iter().map(cells).map(Row::Cells).collect();
    let mut text = render(&COLUMNS, &rows);
    // Who was switched off is silent, too; who runs with a part of its image should not be.
    let in_trouble = |row: &&WorkerRow| match row.state {
        Standing::Failed => true,
        Standing::Silent => row.filling.is_some(),
        _ => false,
    };
    let troubled: Vec<&WorkerRow> = snapshot.workers.iter().filter(in_trouble).collect();
    for row in troubled.iter().take(MAX_TROUBLED) {
        let Some(problem) = &row.problem else {
            continue;
        };
        text += &format!(
            "\n{}: {}\n    {}\n",
            called(row),
            safe(&problem.sentence),
            safe(&problem.remedy)
        );
    }
    if troubled.len() > MAX_TROUBLED {
        text += &format!("\nand {} more in trouble\n", troubled.len() - MAX_TROUBLED);
    }
    text + "\n" + &sum(snapshot)
}

fn nobody(snapshot: &Snapshot) -> String {
    if snapshot.images.is_empty() {
        "no machine was seen yet, and no image is published: ramboot publish IMAGE\n".to_owned()
    } else {
        "no machine was seen yet: switch one on that boots from the network\n".to_owned()
    }
}

fn cells(row: &WorkerRow) -> Vec<String> {
    let model = match row.memory {
        // A Raspberry Pi's name has it already.
        Some(bytes) if row.serial.is_none() => format!("{}, {}", row.model, ram(bytes)),
        _ => row.model.clone(),
    };
    let image = row.image.as_ref().map_or_else(String::new, |image| {
        let name = image.name.as_deref().unwrap_or("-");
        let star = if row.would_change { " *" } else { "" };
        format!("{name} {}{star}", image.id.short())
    });
    let since = row.up_s.unwrap_or(row.since_s);
    vec![
        row.name.clone().unwrap_or_else(|| "-".to_owned()),
        row.mac.to_string(),
        row.address.map_or_else(String::new, |a| a.to_string()),
        model,
        row.serial.clone().unwrap_or_default(),
        image,
        row.sentence.clone(),
        time::span(since),
        row.boot_ms.map_or_else(String::new, |ms| {
            format!("{}.{} s", ms / 1000, ms % 1000 / 100)
        }),
        row.available.map_or_else(String::new, ram),
        row.load_percent.map_or_else(String::new, |load| {
            format!("{}.{:02}", load / 100, load % 100)
        }),
    ]
}

fn sum(snapshot: &Snapshot) -> String {
    let count = |state| {
        snapshot
            .workers
            .iter()
            .filter(|row| row.state == state)
            .count()
    };
    let on_the_way = count(Standing::Asking) + count(Standing::Loading) + count(Standing::Booting);
    let mut parts = vec![format!("{} up", count(Standing::Up))];
    for (number, words) in [
        (on_the_way, "on the way"),
        (count(Standing::Silent), "silent"),
        (count(Standing::Failed), "in trouble"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    }
    let number = snapshot.workers.len();
    let machines = if number == 1 { "machine" } else { "machines" };
    let mut text = format!("{number} {machines}: {}", parts.join(", "));
    let tethered = snapshot.workers.iter().filter(|row| row.is_tethered());
    let tethered = tethered.count();
    if tethered > 0 {
        text += &format!("; {tethered} without all of the image yet");
    }
    let outdated = snapshot
        .workers
        .iter()
        .filter(|row| row.would_change)
        .count();
    if outdated > 0 {
        text += &format!("; * {outdated} would boot another image than they run");
    }
    if snapshot.manager.unlisted > 0 {
        text += &format!(
            "; {} more that only asked are not listed",
            snapshot.manager.unlisted
        );
    }
    let rate = snapshot.manager.bytes_per_s / 1_000_000;
    if rate > 0 {
        text += &format!("; {rate} MB/s now");
    }
    text + "\n"
}

fn called(row: &WorkerRow) -> String {
    match &row.name {
        Some(name) => safe(name),
        None => row.mac.to_string(),
    }
}

/// Of another machine, on one line.
fn safe(text: &str) -> String {
    plain::line(text, plain::MAX_SENTENCE)
}

/// Bytes of RAM, as it is sold: `4 GB`, `512 MB`. A kernel keeps some of it for itself.
#[must_use]
pub fn ram(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib >= 1024 {
        let tenths = (mib * 10 + 512) / 1024;
        match tenths % 10 {
            0 => format!("{} GB", tenths / 10),
            rest => format!("{}.{rest} GB", tenths / 10),
        }
    } else {
        format!("{mib} MB")
    }
}

/// More than that nobody reads.
const MAX_TROUBLED: usize = 20;

const COLUMNS: [Column; 11] = [
    Column::left("NAME"),
    Column::left("MAC"),
    Column::left("ADDRESS"),
    Column::left("MODEL"),
    Column::left("SERIAL"),
    Column::left("IMAGE"),
    Column::left("STATE"),
    Column::right("SINCE"),
    Column::right("BOOT"),
    Column::right("FREE"),
    Column::right("LOAD"),
];

#[cfg(test)]
mod tests {
    use ramboot_wire::{ImageId, Mac};

    use super::*;
    use crate::control::Served;
    use crate::fleet::snapshot::{Filling, ImageUse, Manager, Trouble};

    fn filling() -> Filling {
        Filling {
            percent: 37,
            resident: Some(74_000_000),
            size: Some(200_000_000),
            bytes_per_s: 10_500_000,
            independent_s: Some(12),
            blocked_s: 0,
            heard_s: 1,
        }
    }

    fn worker(name: &str, state: Standing) -> WorkerRow {
        WorkerRow {
            mac: Mac([0x52, 0x54, 0, 0, 0, 1]),
            name: Some(name.to_owned()),
            address: Some([10, 0, 0, 5].into()),
            model: "QEMU Standard PC".to_owned(),
            serial: None,
            uuid: None,
            arch: None,
            memory: Some(1_033_375_744),
            image: Some(ImageUse {
                id: ImageId([0xab; 32]),
                name: Some("default".to_owned()),
            }),
            next: None,
            would_change: false,
            state,
            stage: None,
            sentence: "up".to_owned(),
            since_s: 3,
            up_s: Some(7_300),
            boot_ms: Some(12_345),
            available: Some(900 << 20),
            load_percent: Some(105),
            seen_s: 1,
            boot: Vec::new(),
            fetch: None,
            filling: None,
            problem: None,
        }
    }

    fn snapshot(workers: Vec<WorkerRow>) -> Snapshot {
        Snapshot {
            version: 1,
            manager: Manager {
                version: "0.1.0".to_owned(),
                up_s: 1,
                bytes_per_s: 112_000_000,
                bytes: 0,
                refused: 0,
                interfaces: Vec::new(),
                unlisted: 0,
            },
            images: Vec::new(),
            workers,
        }
    }

    #[test]
    fn one_look_says_it() {
        let outdated = WorkerRow {
            would_change: true,
            ..worker("gpu-1", Standing::Up)
        };
        let pi = WorkerRow {
            name: None,
            model: "Raspberry Pi 4B with 4 GB".to_owned(),
            serial: Some("5b154510".to_owned()),
            image: None,
            sentence: "stopped in the stage fetch\u{1b}[2J".to_owned(),
            up_s: None,
            boot_ms: None,
            available: None,
            load_percent: None,
            problem: Some(Trouble {
                sentence: "RAM: 512 MiB there, 700 MiB needed".to_owned(),
                remedy: "Take a smaller image.".to_owned(),
                since_s: 3,
            }),
            ..worker("", Standing::Failed)
        };
        let streams = WorkerRow {
            sentence: "running, 37 % resident, 12 s to independence".to_owned(),
            up_s: Some(9),
            filling: Some(filling()),
            ..worker("gpu-2", Standing::Up)
        };
        let quiet = "was up with 37 % of its image, and has sent no heartbeat for 61 s";
        let silent = WorkerRow {
            sentence: quiet.to_owned(),
            up_s: Some(70),
            filling: Some(filling()),
            problem: Some(Trouble {
                sentence: quiet.to_owned(),
                remedy: "Is it still on?".to_owned(),
                since_s: 61,
            }),
            ..worker("gpu-3", Standing::Silent)
        };
        let want = "\
NAME   MAC                ADDRESS   MODEL                      SERIAL    IMAGE                  STATE                           SINCE    BOOT    FREE  LOAD
gpu-1  52:54:00:00:00:01  10.0.0.5  QEMU Standard PC, 985 MB             default abababababab *  up                                2 h  12.3 s  900 MB  1.05
-      52:54:00:00:00:01  10.0.0.5  Raspberry Pi 4B with 4 GB  5b154510                         stopped in the stage fetch [2J    3 s
gpu-2  52:54:00:00:00:01  10.0.0.5  QEMU Standard PC, 985 MB             default abababababab    running, 37 % resident, 12 s to independence 9 s 12.3 s 900 MB 1.05
gpu-3  52:54:00:00:00:01  10.0.0.5  QEMU Standard PC, 985 MB             default abababababab    was up with 37 % of its image, and has sent no heartbeat for 61 s 70 s 12.3 s 900 MB 1.05

52:54:00:00:00:01: RAM: 512 MiB there, 700 MiB needed
    Take a smaller image.

gpu-3: was up with 37 % of its image, and has sent no heartbeat for 61 s
    Is it still on?

4 machines: 2 up, 1 silent, 1 in trouble; 1 without all of the image yet; * 1 would boot another image than they run; 112 MB/s now
";
        let found = table(&snapshot(vec![outdated, pi, streams, silent]));
        let squeeze = |text: &str| -> Vec<String> {
            text.lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(squeeze(&found), squeeze(want), "{found}");
    }

    #[test]
    fn an_empty_fleet_says_what_to_do() {
        assert_eq!(
            table(&snapshot(Vec::new())),
            "no machine was seen yet, and no image is published: ramboot publish IMAGE\n"
        );
    }

    #[test]
    fn an_interface_that_is_away_is_said_first() {
        let served = |trouble: Option<&str>| Served {
            name: "lan0".to_owned(),
            address: [10, 0, 0, 1].into(),
            prefix_len: 24,
            trouble: trouble.map(str::to_owned),
        };
        let mut snapshot = snapshot(Vec::new());
        let nobody = table(&snapshot);
        snapshot.manager.interfaces = vec![served(None)];
        assert_eq!(table(&snapshot), nobody);
        snapshot.manager.interfaces = vec![served(None), served(Some("lan1 is away"))];
        assert_eq!(table(&snapshot), format!("lan1 is away\n\n{nobody}"));
    }

    #[test]
    fn memory_is_said_as_it_is_sold() {
        for (mib, want) in [
            (512, "512 MB"),
            (985, "985 MB"),
            (1024, "1 GB"),
            (3900, "3.8 GB"),
            (8064, "7.9 GB"),
            (8192, "8 GB"),
        ] {
            assert_eq!(ram(mib << 20), want);
        }
    }
}
