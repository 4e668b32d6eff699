mod anything;
mod strangers;
mod streams;

use std::sync::Arc;

use ramboot_wire::stage::Bar;
use ramboot_wire::{Arch, Heartbeat, ImageId, Report, Stage, StageLine};

use super::event::{Asked, Part};
use super::rows::{Catalogue, Rows};
use super::snapshot::{Standing, WorkerRow};
use super::table::MAX_WORKERS;
use super::worker::News;
use super::*;
use crate::config::Config;
use crate::pi::id::{Identity, Revision};
use crate::store::{BootFile, Generation};

const IMAGE: ImageId = ImageId([7; 32]);
const NEWER: ImageId = ImageId([8; 32]);

fn mac(last: u32) -> Mac {
    let [a, b, c, d] = last.to_be_bytes();
    Mac([0x52, 0x54, a, b, c, d])
}

fn address(last: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + last)
}

fn who(last: u32) -> Who {
    Who {
        mac: Some(mac(last)),
        address: Some(address(last)),
        named: false,
    }
}

/// Somebody at an address fetches a URL with this hardware address.
fn named(last: u32, address: impl Into<Option<Ipv4Addr>>) -> Who {
    Who {
        mac: Some(mac(last)),
        address: address.into(),
        named: true,
    }
}

fn rows(fleet: &Fleet, catalogue: &Catalogue, now: Duration) -> Vec<WorkerRow> {
    let mut rows = Rows::of(catalogue);
    rows.add(&fleet.copies(&fleet.listed()), now);
    rows.sorted()
}

fn asked(last: u32) -> Asked {
    Asked {
        mac: mac(last),
        model: "iPXE".to_owned(),
        pi: None,
        uuid: None,
        arch: Some(Arch::X86_64),
        address: None,
        asker: AskedBy::Firmware,
        discover: true,
    }
}

fn report(last: u32, stage: Stage, error: Option<&str>) -> Event {
    let line = StageLine {
        stage,
        error: error.map(str::to_owned),
        facts: Vec::new(),
        ms: 100,
    };
    let waterfall = match stage {
        Stage::Handover => vec![Bar {
            what: "early".to_owned(),
            begin_ms: 0,
            end_ms: 900,
        }],
        _ => Vec::new(),
    };
    let report = Report {
        mac: mac(last),
        image: IMAGE,
        line,
        waterfall,
    };
    Event::Reported(address(last), report)
}

fn beat(last: u32) -> Heartbeat {
    Heartbeat {
        mac: mac(last),
        image: IMAGE,
        hostname: Some(format!("worker-{last}")),
        boot_ms: 5_000,
        up_s: 60,
        memory: 1 << 30,
        available: 1 << 29,
        load_percent: 150,
        filling: None,
    }
}

/// What a name stands for.
fn catalogue(image: ImageId) -> Catalogue {
    let file = BootFile::of("vmlinuz", b"kernel");
    let generation = Generation {
        number: 1,
        image,
        size: 200_000_000,
        kernel: file.clone(),
        initrd: file,
        stub: None,
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::X86_64,
        published: 1,
        note: String::new(),
        pi: None,
        forced: Vec::new(),
    };
    Catalogue {
        config: Arc::new(Config::default()),
        current: vec![("default".parse().expect("a name"), generation)],
    }
}

/// A fleet and its clock, in milliseconds.
#[derive(Default)]
struct Story {
    fleet: Fleet,
    ms: u64,
}

impl Story {
    fn now(&self) -> Duration {
        Duration::from_millis(self.ms)
    }

    fn at(&mut self, ms: u64, event: Event) -> Option<News> {
        assert!(ms >= self.ms, "time goes on");
        self.ms = ms;
        self.fleet.apply(event, self.now()).expect("believed")
    }

    fn row(&self, last: u32) -> WorkerRow {
        let rows = rows(&self.fleet, &catalogue(IMAGE), self.now());
        rows.into_iter()
            .find(|row| row.mac == mac(last))
            .expect("is known")
    }

    /// A PC from its first question to its image's init.
    fn boots(&mut self, last: u32, at: u64) {
        self.loads(last, at);
        for (stage, ms) in Stage::BOOT.into_iter().zip(5_000..) {
            self.at(at + ms, report(last, stage, None));
        }
    }

    /// A PC from its first question to Linux.
    fn loads(&mut self, last: u32, at: u64) {
        let from = Asked {
            address: Some(address(last)),
            ..asked(last)
        };
        self.at(at, Event::Asked(asked(last)));
        self.at(at + 500, Event::Asked(from));
        for (ms, part) in [
            (1_000, Part::Loader),
            (2_000, Part::Kernel),
            (3_000, Part::Initramfs),
        ] {
            self.at(at + ms, Event::Begins(who(last), part));
            self.at(at + ms + 500, Event::Loaded(who(last), part));
        }
    }
}

#[test]
fn a_machine_goes_through_its_stages() {
    let mut story = Story::default();
    let chosen = Event::Chosen(who(1), Some("node-1".to_owned()), IMAGE);
    let from = |mut asked: Asked| {
        asked.address = Some(address(1));
        Event::Asked(asked)
    };
    let steps = [
        (
            0,
            Event::Asked(asked(1)),
            Standing::Asking,
            "asks for an address",
        ),
        (10, from(asked(1)), Standing::Asking, "asks for an address"),
        (
            20,
            Event::Begins(who(1), Part::Loader),
            Standing::Loading,
            "loads its boot loader",
        ),
        (30, chosen, Standing::Loading, "loads its boot loader"),
        (
            40,
            Event::Loaded(who(1), Part::Loader),
            Standing::Loading,
            "loads its boot loader",
        ),
        (
            50,
            Event::Begins(who(1), Part::Kernel),
            Standing::Loading,
            "loads the kernel",
        ),
        (
            60,
            Event::Loaded(who(1), Part::Kernel),
            Standing::Loading,
            "loads the kernel",
        ),
        (
            70,
            Event::Begins(who(1), Part::Initramfs),
            Standing::Loading,
            "loads the initramfs",
        ),
        (
            80,
            Event::Loaded(who(1), Part::Initramfs),
            Standing::Loading,
            "starts Linux",
        ),
        (
            2_000,
            report(1, Stage::Early, None),
            Standing::Booting,
            "loads drivers",
        ),
        (
            2_001,
            report(1, Stage::Modules, None),
            Standing::Booting,
            "waits for a cable",
        ),
        (
            2_002,
            report(1, Stage::Net, None),
            Standing::Booting,
            "asks for an address",
        ),
        (
            2_003,
            report(1, Stage::Dhcp, None),
            Standing::Booting,
            "fetches its own files",
        ),
        (
            2_004,
            report(1, Stage::Files, None),
            Standing::Booting,
            "fetches the chunk list",
        ),
        (
            2_100,
            report(1, Stage::Chunks, None),
            Standing::Booting,
            "fetches the image: 0 of 200 MB, 0 MB/s",
        ),
        (
            2_600,
            Event::Sent(address(1), 50_000_000),
            Standing::Booting,
            "fetches the image: 50 of 200 MB, 100 MB/s",
        ),
        (
            4_000,
            report(1, Stage::Fetch, None),
            Standing::Booting,
            "mounts the image",
        ),
        (
            4_100,
            report(1, Stage::Mount, None),
            Standing::Booting,
            "hands over to the image's init",
        ),
        (4_200, report(1, Stage::Handover, None), Standing::Up, "up"),
    ];
    for (ms, event, state, sentence) in steps {
        let what = format!("{event:?}");
        story.at(ms, event);
        let row = story.row(1);
        assert_eq!(
            (row.state, row.sentence.as_str()),
            (state, sentence),
            "{what}"
        );
    }
    let row = story.row(1);
    assert_eq!(row.name.as_deref(), Some("node-1"));
    assert_eq!(row.boot_ms, Some(4_200), "since the first question");
    let bars: Vec<_> = row
        .boot
        .iter()
        .map(|bar| (bar.what.as_str(), bar.begin_ms, bar.end_ms))
        .collect();
    // /init's own came last, and ended when it reported.
    let want = [
        ("dhcp", 0, 20),
        ("loader", 20, 40),
        ("kernel", 50, 60),
        ("initramfs", 70, 80),
        ("linux", 80, 3_300),
        ("early", 3_300, 4_200),
    ];
    assert_eq!(bars, want);
}

#[test]
fn the_counter_hears_of_each_end_once() {
    let mut story = Story::default();
    story.boots(1, 0);
    assert_eq!(story.row(1).state, Standing::Up);
    assert_eq!(
        story.at(60_000, report(2, Stage::Early, None)),
        Some(News::Stage(Stage::Early, 100))
    );
    assert_eq!(
        story.at(60_001, report(2, Stage::Handover, None)),
        Some(News::Up(100, None)),
        "its firmware was not seen"
    );
    assert_eq!(
        story.at(60_002, report(3, Stage::Mount, Some("mounting: EINVAL"))),
        Some(News::Failed(Stage::Mount))
    );
    let again = Report {
        mac: mac(3),
        image: IMAGE,
        line: StageLine {
            stage: Stage::Fetch,
            error: Some("chunk 7 from 10.0.0.9 is wrong".to_owned()),
            facts: vec![("again".to_owned(), "yes".to_owned())],
            ms: 0,
        },
        waterfall: Vec::new(),
    };
    assert_eq!(
        story.at(60_003, Event::Reported(address(3), again)),
        None,
        "it goes on"
    );
}

#[test]
fn a_machine_that_is_switched_off_and_on_begins_anew() {
    let mut story = Story::default();
    story.boots(1, 0);
    story.at(20_000, Event::Beat(address(1), beat(1)));
    let row = story.row(1);
    assert_eq!(
        (row.state, row.up_s, row.load_percent),
        (Standing::Up, Some(60), Some(150))
    );
    story.at(30_000, Event::Asked(asked(1)));
    let row = story.row(1);
    assert_eq!(
        (row.state, row.up_s, row.boot_ms),
        (Standing::Asking, None, None)
    );
    assert_eq!(row.boot, []);
}

#[test]
fn heartbeats_tell_a_manager_that_lost_its_memory() {
    let mut story = Story::default();
    story.at(0, Event::Beat(address(1), beat(1)));
    let row = story.row(1);
    assert_eq!(row.state, Standing::Up);
    assert_eq!(row.name.as_deref(), Some("worker-1"));
    assert_eq!((row.boot_ms, row.up_s), (Some(5_000), Some(60)));
    assert_eq!(row.address, Some(address(1)));
    // Three of them are missed.
    story.ms = 120_000;
    assert_eq!(story.row(1).state, Standing::Up);
    story.ms = 121_000;
    let row = story.row(1);
    assert_eq!(row.state, Standing::Silent);
    assert_eq!(row.sentence, "was up, and has sent no heartbeat for 2 min");
}

#[test]
fn a_reboot_that_would_change_something_is_seen() {
    let mut story = Story::default();
    story.at(0, Event::Beat(address(1), beat(1)));
    for (image, would_change) in [(IMAGE, false), (NEWER, true)] {
        let rows = rows(&story.fleet, &catalogue(image), story.now());
        assert_eq!(rows[0].would_change, would_change);
        let next = rows[0].next.as_ref().expect("something is published");
        assert_eq!((next.id, next.name.as_deref()), (image, Some("default")));
    }
}

#[test]
fn trouble_is_a_sentence_with_a_remedy() {
    let mut story = Story::default();
    for (ms, _) in (0..).step_by(6_000).zip(0..5) {
        story.at(ms, Event::Asked(asked(1)));
    }
    story.at(24_100, Event::Begins(who(2), Part::Kernel));
    story.at(
        24_200,
        report(3, Stage::Fetch, Some("RAM: 512 MiB there, 700 MiB needed")),
    );
    story.at(
        24_300,
        Event::Nothing(who(4), "no image is published".to_owned()),
    );
    story.ms = 25_000;
    let sentence = |row: WorkerRow| row.problem.map(|problem| problem.sentence);
    assert_eq!(
        sentence(story.row(1)).as_deref(),
        Some("asked for an address 5 times in 25 s and took no answer")
    );
    assert_eq!(sentence(story.row(2)), None);
    assert_eq!(
        sentence(story.row(3)).as_deref(),
        Some("RAM: 512 MiB there, 700 MiB needed")
    );
    assert_eq!(
        sentence(story.row(4)).as_deref(),
        Some("no image is published")
    );
    story.ms = 85_000;
    assert_eq!(
        sentence(story.row(2)).as_deref(),
        Some("has not gone on with kernel for 60 s")
    );
    for last in [1, 2, 3, 4] {
        let row = story.row(last);
        let remedy = row
            .problem
            .map(|problem| problem.remedy)
            .unwrap_or_default();
        assert!(last == 1 || row.state == Standing::Failed, "{last}");
        assert!(last == 1 || remedy.ends_with('.'), "{last}: {remedy}");
    }
}

#[test]
fn each_silence_says_where_it_began() {
    let mut story = Story::default();
    story.at(0, Event::Begins(who(1), Part::Loader));
    story.at(0, Event::Begins(who(2), Part::Initramfs));
    story.at(0, Event::Loaded(who(2), Part::Initramfs));
    story.at(0, report(3, Stage::Dhcp, None));
    story.at(0, report(4, Stage::Handover, None));
    let sentence = |story: &Story, last| story.row(last).problem.map(|problem| problem.sentence);
    story.ms = 60_000;
    for last in 1..=4 {
        assert_eq!(sentence(&story, last), None, "{last} after a minute");
    }
    story.ms = 61_000;
    for (last, want) in [
        (1, Some("has not gone on with loader for 61 s")),
        (
            2,
            Some("loaded kernel and initramfs, and /init was not heard of for 61 s"),
        ),
        (3, Some("was not heard of for 61 s, in the stage files")),
        // It runs, and owes nobody a word.
        (4, None),
    ] {
        assert_eq!(sentence(&story, last).as_deref(), want, "{last}");
        let failed = story.row(last).state == Standing::Failed;
        assert_eq!(failed, want.is_some(), "{last}");
    }
}

#[test]
fn a_pi_says_what_it_is_before_it_loads_anything() {
    let mut story = Story::default();
    let identity = |serial, revision| Identity {
        stage: crate::pi::id::Stage::Eeprom,
        serial,
        revision,
    };
    let pi = identity(Some(0x5b15_4510), Some(Revision(0x00c0_3114)));
    let asked = Asked {
        pi: Some(pi),
        model: pi.to_string(),
        ..asked(1)
    };
    story.at(0, Event::Asked(asked));
    let row = story.row(1);
    assert_eq!(row.model, "Raspberry Pi 4B with 4 GB");
    assert_eq!(
        (row.serial.as_deref(), row.memory),
        (Some("5b154510"), Some(4 << 30))
    );
}

#[test]
fn systems_that_only_want_an_address_are_none_of_ours() {
    let mut story = Story::default();
    let system = Asked {
        asker: AskedBy::System,
        ..asked(1)
    };
    story.at(0, Event::Asked(system));
    assert!(story.fleet.is_empty());
}

#[test]
fn what_doctor_tries_is_no_machine() {
    let mut story = Story::default();
    let made_up = Asked {
        mac: Mac([0x02, 0x72, 0x62, 0, 0, 1]),
        ..asked(1)
    };
    story.at(0, Event::Asked(made_up));
    assert!(story.fleet.is_empty());
}

#[test]
fn nobody_speaks_for_another_machine() {
    let mut story = Story::default();
    story.boots(1, 0);
    let now = story.now();
    let forged = Event::Beat(address(66), beat(1));
    assert_eq!(
        story.fleet.apply(forged.clone(), now),
        Err(Refused::Address(mac(1)))
    );
    assert_eq!(story.row(1).address, Some(address(1)));
    assert_eq!(story.fleet.refused(), 1);
    // After a long silence it may have moved.
    story.at(300_000, forged);
    assert_eq!(story.row(1).address, Some(address(66)));
}

#[test]
fn who_makes_machines_up_has_one_for_each_address() {
    let mut story = Story::default();
    story.boots(1, 0);
    for made_up in 100..200 {
        story.at(10_000, Event::Beat(address(66), beat(made_up)));
    }
    assert_eq!(story.fleet.len(), 2);
    assert_eq!(story.row(199).state, Standing::Up);
}

#[test]
fn a_flood_of_reports_is_cut() {
    let mut story = Story::default();
    let now = story.now();
    let mut believed = 0;
    for _ in 0..1_000 {
        believed += usize::from(
            story
                .fleet
                .apply(report(1, Stage::Fetch, None), now)
                .is_ok(),
        );
    }
    assert_eq!(believed, 64);
    // One each second comes back.
    story.at(1_000, report(1, Stage::Fetch, None));
    let refused = story
        .fleet
        .apply(report(1, Stage::Fetch, None), story.now());
    assert_eq!(refused, Err(Refused::TooMany(mac(1))));
}

#[test]
fn hostile_words_are_one_short_line() {
    let mut story = Story::default();
    let line = StageLine {
        stage: Stage::Early,
        error: Some("\u{1b}[2J\n\u{202e}<script>".repeat(300)),
        facts: vec![("machine".to_owned(), "x\ny".repeat(2_000))],
        ms: u64::MAX,
    };
    let bars = (0..1_000).map(|i| Bar {
        what: "\u{0}".repeat(99),
        begin_ms: u64::MAX,
        end_ms: i,
    });
    let report = Report {
        mac: mac(1),
        image: IMAGE,
        line,
        waterfall: bars.collect(),
    };
    story.at(0, Event::Reported(address(1), report));
    let row = story.row(1);
    let sentence = row.problem.expect("a problem").sentence;
    for text in [&sentence, &row.model] {
        assert!(
            text.chars().count() <= 400
                && !text.contains(char::is_control)
                && !text.contains('\u{202e}'),
            "{text}"
        );
    }
    assert!(row.boot.len() <= 32, "{}", row.boot.len());
    assert!(
        row.boot
            .iter()
            .all(|bar| bar.begin_ms <= bar.end_ms && bar.what.chars().count() <= 24)
    );
}

#[test]
fn room_is_bounded_and_who_boots_keeps_it() {
    let mut story = Story::default();
    story.boots(1, 0);
    for last in 2..=u32::try_from(MAX_WORKERS).expect("few") + 5_000 {
        story.at(10_000, Event::Beat(address(last), beat(last)));
    }
    assert!(story.fleet.len() <= MAX_WORKERS);
    assert!(story.fleet.len() > MAX_WORKERS / 2);
    assert_eq!(
        story.row(1).state,
        Standing::Up,
        "the only one that was seen to boot"
    );
    assert_eq!(story.fleet.table.by_address.len(), story.fleet.len());
}

#[test]
fn who_is_not_heard_of_for_a_week_is_forgotten() {
    let mut story = Story::default();
    story.boots(1, 0);
    story.fleet.tick(Duration::from_secs(6 * 86_400));
    assert_eq!(story.fleet.len(), 1);
    story.fleet.tick(Duration::from_secs(8 * 86_400));
    assert!(story.fleet.is_empty() && story.fleet.table.by_address.is_empty());
}

/// The last connections are kept for machines that DHCP knows: whoever names one in a URL is not one.
#[test]
fn a_machine_is_known_where_dhcp_saw_it() {
    let mut fleet = Fleet::default();
    let now = Duration::from_secs(1);
    let mut apply = |event| {
        fleet.apply(event, now).expect("believed");
        [1, 2].map(|last| fleet.knows(address(last)))
    };
    let begins = Event::Begins(named(1, address(1)), Part::Loader);
    assert_eq!(apply(begins), [false, false]);
    let loads = Event::Begins(who(2), Part::Kernel);
    assert_eq!(apply(loads), [false, false]);
    let mut given = asked(1);
    given.address = Some(address(1));
    assert_eq!(apply(Event::Asked(given)), [true, false]);
    // Somebody else asks in its name.
    let begins = Event::Begins(named(1, address(2)), Part::Loader);
    assert_eq!(apply(begins), [true, false]);
}
