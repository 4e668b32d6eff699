//! Machines that nobody has but who makes them up, and words about machines from where they are not.

use super::*;
use crate::fleet::table::{MAX_LISTED, MAX_NEWCOMERS};
use crate::fleet::worker::Worker;

const MADE_UP: std::ops::Range<u32> = 1_000..67_000;

/// What `/nodes.json` would have of the machines.
fn json_bytes(story: &Story) -> usize {
    let rows = rows(&story.fleet, &catalogue(IMAGE), story.now());
    serde_json::to_vec(&rows).expect("JSON").len()
}

#[test]
fn machines_that_are_made_up_by_dhcp_cost_little() {
    let mut story = Story::default();
    story.boots(1, 0);
    for last in MADE_UP {
        story.at(20_000, Event::Asked(asked(last)));
    }
    assert_eq!(story.fleet.table.workers.len(), 1);
    assert!(story.fleet.table.newcomers.len() <= MAX_NEWCOMERS);
    assert_eq!(story.fleet.listed().len(), 1 + MAX_LISTED);
    let rest = story.fleet.table.newcomers.len() - MAX_LISTED;
    assert_eq!(story.fleet.unlisted(), rest);
    let bytes = json_bytes(&story);
    assert!(bytes < 1 << 20, "{bytes}");
    // With its texts and what a map takes beside it, a kilobyte.
    assert!(size_of::<Worker>() <= 704, "{}", size_of::<Worker>());
}

#[test]
fn machines_that_are_made_up_by_urls_cost_little() {
    let mut story = Story::default();
    story.boots(1, 0);
    let from = |last, address| {
        let unknown = named(last, None);
        let who = named(last, address);
        [
            Event::Chosen(unknown, None, IMAGE),
            Event::Begins(who, Part::Loader),
            Event::Loaded(who, Part::Loader),
        ]
    };
    // One address has one machine.
    for last in MADE_UP.step_by(5) {
        for event in from(last, address(66)) {
            story.at(20_000, event);
        }
    }
    assert_eq!(story.fleet.len(), 2);
    // Many addresses have few.
    for last in MADE_UP.step_by(5) {
        for event in from(last, address(last)) {
            story.at(30_000, event);
        }
    }
    assert_eq!(story.fleet.table.workers.len(), 1);
    assert!(story.fleet.table.newcomers.len() <= MAX_NEWCOMERS);
    assert!(story.fleet.table.by_address.len() <= MAX_NEWCOMERS + 1);
    // Not even with a file for each of them.
    for last in 1_000..2_000 {
        story.at(
            40_000,
            Event::Begins(named(last, address(66)), Part::Loader),
        );
        let here = Who {
            mac: None,
            ..named(last, address(66))
        };
        story.at(40_000, Event::Begins(here, Part::Kernel));
        story.at(40_000, Event::Loaded(here, Part::Kernel));
    }
    assert_eq!(story.fleet.table.workers.len(), 2);
}

/// Whose firmware asks and gets no further is what a person wants to see, whatever others make up.
#[test]
fn who_asked_and_took_nothing_stays_to_be_seen() {
    let mut story = Story::default();
    for (ms, _) in (0..).step_by(6_000).zip(0..7) {
        story.at(ms, Event::Asked(asked(1)));
    }
    for last in MADE_UP {
        story.at(
            37_000,
            Event::Begins(named(last, address(last)), Part::Loader),
        );
        story.at(37_000, Event::Asked(asked(last + 100_000)));
    }
    let problem = story.row(1).problem.expect("a problem");
    assert_eq!(
        &*problem.sentence,
        "asked for an address 7 times in 37 s and took no answer"
    );
    // Those that a URL names are the first to go: what is left of them came after the last time that room was made.
    let newcomers = story.fleet.table.newcomers.values();
    let by_url = newcomers.filter(|worker| !worker.asked_dhcp).count();
    assert!(by_url <= MAX_NEWCOMERS / 16, "{by_url}");
}

#[test]
fn one_get_from_elsewhere_moves_nobody() {
    let attack = |story: &mut Story, ms| {
        let elsewhere = named(1, address(66));
        let unknown = named(1, None);
        story.at(ms, Event::Chosen(unknown, Some("forged".to_owned()), NEWER));
        story.at(ms, Event::Begins(elsewhere, Part::Loader));
        story.at(ms, Event::Loaded(elsewhere, Part::Loader));
    };
    // Known by DHCP and its boot, by its heartbeat alone, by its report alone.
    for known in 0..3 {
        let mut story = Story::default();
        match known {
            0 => story.boots(1, 0),
            1 => drop(story.at(0, Event::Beat(address(1), beat(1)))),
            _ => drop(story.at(0, report(1, Stage::Handover, None))),
        }
        let (before, ms) = (story.row(1), story.ms);
        attack(&mut story, ms);
        assert_eq!(story.row(1), before, "{known}");
        let forged = story
            .fleet
            .apply(Event::Beat(address(66), beat(1)), story.now());
        assert_eq!(forged, Err(Refused::Address(mac(1))), "{known}");
        let nowhere = Event::Beat(Ipv4Addr::UNSPECIFIED, beat(1));
        let forged = story.fleet.apply(nowhere, story.now());
        assert_eq!(forged, Err(Refused::Address(mac(1))), "{known}");
        // What it says itself is believed as before.
        story.at(ms + 1_000, Event::Beat(address(1), beat(1)));
        assert_eq!(story.row(1).image.map(|image| image.id), Some(IMAGE));
    }
}

/// Where nothing better is known, a URL says where a machine is, until the machine says more.
#[test]
fn a_get_counts_where_nothing_better_is_known() {
    let mut story = Story::default();
    let unknown = named(1, None);
    story.at(0, Event::Chosen(unknown, Some("node-1".to_owned()), IMAGE));
    story.at(0, Event::Begins(named(1, address(1)), Part::Loader));
    let row = story.row(1);
    assert_eq!(row.address, Some(address(1)));
    assert_eq!(row.name.as_deref(), Some("node-1"));
    assert_eq!(row.state, Standing::Loading);
    let kernel = Who {
        mac: None,
        ..named(1, address(1))
    };
    story.at(1_000, Event::Begins(kernel, Part::Kernel));
    assert_eq!(story.row(1).sentence, "loads the kernel");
    story.at(2_000, Event::Loaded(kernel, Part::Kernel));
    assert!(
        story.fleet.table.workers.contains_key(&mac(1)),
        "it took a file"
    );
    // Its own report outweighs the URL, wherever it comes from.
    story.at(3_000, Event::Beat(address(2), beat(1)));
    assert_eq!(story.row(1).address, Some(address(2)));
    story.at(3_000, Event::Begins(named(1, address(1)), Part::Loader));
    assert_eq!(story.row(1).address, Some(address(2)));
}

/// An address that DHCP gave to one machine is not the address of others that somebody there makes up.
#[test]
fn nobody_is_made_up_at_the_address_of_a_machine() {
    let mut story = Story::default();
    story.boots(1, 0);
    let now = story.now();
    for last in 2..100 {
        let forged = story.fleet.apply(Event::Beat(address(1), beat(last)), now);
        assert_eq!(forged, Err(Refused::Address(mac(last))));
    }
    assert_eq!(story.fleet.at(address(1)), Some(mac(1)));
    assert_eq!(story.fleet.table.workers.len(), 1);
    assert_eq!(story.row(1).state, Standing::Up);
}

#[test]
fn a_recording_counts_once_for_each_boot() {
    let mut story = Story::default();
    let may = |story: &Story, last| story.fleet.may_record(address(last), IMAGE);
    assert_eq!(may(&story, 1), Err(NotRecorded::NotGiven));
    story.boots(1, 0);
    assert_eq!(may(&story, 1), Err(NotRecorded::NotFetched));
    story.at(20_000, Event::Ended(address(1), NEWER));
    assert_eq!(
        may(&story, 1),
        Err(NotRecorded::NotFetched),
        "another image"
    );
    story.at(20_000, Event::Ended(address(1), IMAGE));
    assert_eq!(may(&story, 1), Ok(mac(1)));
    assert_eq!(may(&story, 66), Err(NotRecorded::NotGiven));
    story.fleet.recorded(address(1));
    assert_eq!(may(&story, 1), Err(NotRecorded::NotFetched));
    // Who goes by other names at one address has no more of them.
    story.at(30_000, Event::Beat(address(66), beat(66)));
    story.at(30_000, Event::Ended(address(66), IMAGE));
    assert_eq!(may(&story, 66), Ok(mac(66)));
    story.at(30_000, Event::Beat(address(66), beat(67)));
    assert_eq!(may(&story, 66), Err(NotRecorded::NotFetched));
}
