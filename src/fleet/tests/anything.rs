//! Whatever machines do and say, in any order: who looks sees all of them.

use proptest::prelude::*;

use super::*;
use crate::fleet::snapshot::{Manager, Snapshot, VERSION};
use crate::fleet::streaming::is_possible;
use crate::status::page;
use crate::verbs::nodes::show;

/// Such as there are, and such as no machine can have measured.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, 0..300_000_u64, 0..400_000_000_u64, any::<u64>()]
}

fn happens() -> impl Strategy<Value = Event> {
    prop_oneof![asks(), loads(), reports(), beats()]
}

fn asks() -> impl Strategy<Value = Event> {
    use AskedBy::{Firmware, Init, System};
    let asker = prop::sample::select(vec![Firmware, Init, System]);
    (1..4_u32, asker, any::<bool>()).prop_map(|(last, asker, discover)| {
        Event::Asked(Asked {
            address: Some(address(last)),
            asker,
            discover,
            ..asked(last)
        })
    })
}

fn loads() -> impl Strategy<Value = Event> {
    let part = prop::sample::select(vec![Part::Loader, Part::Kernel, Part::Initramfs, Part::Uki]);
    (1..4_u32, part, number(), 0..7).prop_map(|(last, part, bytes, kind)| match kind {
        0 => Event::Sent(address(last), bytes),
        1 => Event::Begins(who(last), part),
        2 => Event::Loaded(who(last), part),
        3 => Event::Chosen(who(last), None, IMAGE),
        4 => Event::Ended(address(last), IMAGE),
        5 => Event::Begins(named(last, address(last % 3 + 1)), part),
        _ => Event::Nothing(who(last), "nothing is published".to_owned()),
    })
}

fn reports() -> impl Strategy<Value = Event> {
    let mut stages = Stage::BOOT.to_vec();
    stages.push(Stage::Untethered);
    let keys = vec!["gate", "resident", "memory", "again", "addr", "bytes"];
    let values = vec!["hot", "37%", "-1", "300%", "yes", "18446744073709551615"];
    let fact = (prop::sample::select(keys), prop::sample::select(values));
    let bars = prop::collection::vec((number(), number()), 0..3);
    (
        (1..4_u32, prop::sample::select(stages)),
        (prop::option::of(Just("ENOMEM")), number()),
        prop::collection::vec(fact, 0..3),
        bars,
    )
        .prop_map(|((last, stage), (error, ms), facts, bars)| {
            let mut event = report(last, stage, error);
            if let Event::Reported(_, report) = &mut event {
                let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
                report.line.ms = ms;
                report.line.facts = facts.into_iter().map(owned).collect();
                report
                    .waterfall
                    .extend(bars.into_iter().map(|(begin_ms, end_ms)| Bar {
                        what: "fetch".to_owned(),
                        begin_ms,
                        end_ms,
                    }));
            }
            event
        })
}

fn beats() -> impl Strategy<Value = Event> {
    let filling = (number(), number(), number(), number());
    let filling = prop::option::of(
        filling.prop_map(|(resident, size, per_second, blocked_ms)| Filling {
            resident,
            size,
            per_second,
            blocked_ms,
        }),
    );
    (1..4_u32, number(), number(), any::<u32>(), filling).prop_map(
        |(last, up_s, memory, load_percent, filling)| {
            let beat = Heartbeat {
                up_s,
                memory,
                available: up_s,
                boot_ms: memory,
                load_percent,
                filling: filling.filter(is_possible),
                ..beat(last)
            };
            Event::Beat(address(last), beat)
        },
    )
}

proptest! {
    #[test]
    fn whatever_happens_all_machines_are_shown(
        story in prop::collection::vec((number(), happens()), 1..40),
    ) {
        let (mut fleet, mut now) = (Fleet::default(), Duration::ZERO);
        for (ms, event) in story {
            now = now.saturating_add(Duration::from_millis(ms));
            // Who says too much is refused.
            let _ = fleet.apply(event, now);
            let workers = rows(&fleet, &catalogue(IMAGE), now);
            prop_assert_eq!(workers.len(), fleet.len());
            let snapshot = Snapshot {
                version: VERSION,
                manager: Manager {
                    version: String::new(),
                    up_s: now.as_secs(),
                    bytes_per_s: ms,
                    bytes: ms,
                    refused: fleet.refused(),
                    interfaces: Vec::new(),
                    unlisted: fleet.unlisted(),
                },
                images: Vec::new(),
                workers,
            };
            let html = page::html(&snapshot, ms).expect("a page");
            prop_assert_eq!(html.matches("<tr id=\"m-").count(), fleet.len());
            let table = show::table(&snapshot);
            for row in &snapshot.workers {
                prop_assert!(table.contains(&row.mac.to_string()), "{}", table);
            }
            fleet.tick(now);
        }
    }
}
