//! Machines that run before all of their image is there.

use super::*;

/// The heartbeat of what fetches the rest of an image of 200 MB.
fn fills(last: u32, resident: u64, per_second: u64, blocked_ms: u64) -> Event {
    let filling = Filling {
        resident,
        size: 200_000_000,
        per_second,
        blocked_ms,
    };
    let beat = Heartbeat {
        filling: Some(filling),
        ..beat(last)
    };
    Event::Beat(address(last), beat)
}

/// A report of a stage that has these facts.
fn tells(last: u32, stage: Stage, error: Option<&str>, facts: &[(&str, &str)]) -> Event {
    let mut event = report(last, stage, error);
    if let Event::Reported(_, report) = &mut event {
        let fact = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        report.line.facts = facts.iter().map(fact).collect();
    }
    event
}

impl Story {
    /// A PC that runs with 37 % of its image, at 10 s of this manager's time.
    fn streams(&mut self, last: u32) {
        self.loads(last, 0);
        for (stage, ms) in Stage::BOOT.into_iter().zip(9_992..) {
            let facts: &[_] = match stage {
                Stage::Fetch => &[("gate", "hot"), ("resident", "37%")],
                _ => &[],
            };
            self.at(ms, tells(last, stage, None, facts));
        }
    }

    fn says(&self, last: u32) -> (Standing, String) {
        let row = self.row(last);
        (row.state, row.sentence)
    }
}

fn up(sentence: &str) -> (Standing, String) {
    (Standing::Up, sentence.to_owned())
}

#[test]
fn one_that_runs_before_its_image_is_there_is_seen_until_it_is() {
    let mut story = Story::default();
    story.streams(1);
    assert_eq!(story.says(1), up("running, 37 % resident"));
    for (ms, event, want) in [
        (
            12_000,
            fills(1, 74_000_000, 10_500_000, 0),
            "running, 37 % resident, 12 s to independence",
        ),
        // The other process, which knows nothing of it.
        (
            13_000,
            Event::Beat(address(1), beat(1)),
            "running, 37 % resident, 11 s to independence",
        ),
        (
            14_000,
            fills(1, 74_000_001, 0, 0),
            "running, 37 % resident, waits for the manager",
        ),
        (
            16_000,
            fills(1, 199_999_999, 50_000, 0),
            "running, 99 % resident, 1 s to independence",
        ),
        (
            18_000,
            fills(1, 200_000_000, 50_000, 0),
            "running, 100 % resident, records what it reads",
        ),
    ] {
        story.at(ms, event);
        assert_eq!(story.says(1), up(want), "at {ms} ms");
    }
    let filling = story.row(1).filling.expect("is seen");
    assert_eq!(filling.resident, Some(200_000_000));
    assert_eq!(filling.independent_s, Some(0));

    let end = report(1, Stage::Untethered, None);
    assert_eq!(story.at(20_000, end.clone()), Some(News::Untethered(100)));
    assert_eq!(
        story.at(20_001, end),
        None,
        "it is told twice, counted once"
    );
    // UDP brings it late.
    story.at(20_002, fills(1, 199_000_000, 50_000, 0));
    assert_eq!(story.says(1), up("up"));
    let row = story.row(1);
    assert_eq!((row.filling, row.problem), (None, None));
    let last = row.boot.last().expect("bars");
    assert_eq!(last.what, "untethered");
    assert_eq!(last.end_ms - last.begin_ms, 100, "as the report says");
    assert_eq!(
        row.boot
            .iter()
            .filter(|bar| bar.what == "untethered")
            .count(),
        1
    );
    assert_eq!(row.boot_ms, Some(10_000), "until it ran");
}

#[test]
fn a_manager_that_comes_later_hears_how_far_an_image_is() {
    let mut story = Story::default();
    story.at(0, fills(1, 100_000_000, 10_000_000, 0));
    let want = up("running, 50 % resident, 10 s to independence");
    assert_eq!(story.says(1), want);
    // Another one hears only of the end.
    let mut story = Story::default();
    let end = report(1, Stage::Untethered, None);
    assert_eq!(story.at(0, end), Some(News::Untethered(100)));
    assert_eq!(story.says(1), up("up"));
    assert_eq!(story.row(1).image.expect("is known").id, IMAGE);
}

#[test]
fn a_lost_end_is_made_up_for_by_ordinary_heartbeats() {
    for (resident, want) in [
        (200_000_000, "up"),
        (
            74_000_000,
            "up; of its image 37 % was there when last heard",
        ),
    ] {
        let mut story = Story::default();
        story.streams(1);
        story.at(12_000, fills(1, resident, 1_000_000, 0));
        // Four of its heartbeats may be lost.
        story.at(22_000, Event::Beat(address(1), beat(1)));
        assert!(story.says(1).1.starts_with("running, "), "{resident}");
        story.at(22_001, Event::Beat(address(1), beat(1)));
        assert_eq!(story.says(1), up(want));
        let row = story.row(1);
        assert_eq!((row.filling, row.problem), (None, None));
        // And it is no verdict.
        story.at(60_000, fills(1, 100_000_000, 10_000_000, 0));
        let again = "running, 50 % resident, 10 s to independence";
        assert_eq!(story.says(1), up(again));
    }
}

#[test]
fn one_without_heartbeats_is_in_no_trouble() {
    let mut story = Story::default();
    story.streams(1);
    story.ms = 900_000;
    assert_eq!(story.says(1), up("running, 37 % resident"));
    assert_eq!(story.row(1).problem, None);
    story.at(900_001, report(1, Stage::Untethered, None));
    assert_eq!(story.says(1), up("up"));
}

#[test]
fn whoever_waits_for_its_image_is_in_trouble_and_gets_help() {
    let mut story = Story::default();
    story.streams(1);
    story.at(30_000, fills(1, 74_000_000, 0, 4_999));
    assert_eq!(story.row(1).problem, None);
    story.at(37_000, fills(1, 74_000_000, 0, 12_000));
    let row = story.row(1);
    assert!(row.state == Standing::Failed && row.runs());
    assert_eq!(
        row.sentence,
        "running, 37 % resident, waits for the manager"
    );
    let problem = row.problem.expect("a problem");
    assert_eq!(
        problem.sentence,
        "a program of this machine has waited 12 s for a part of the image 070707070707"
    );
    assert_eq!(problem.since_s, 12);
    assert!(
        problem
            .remedy
            .starts_with("Start a manager that has this image")
    );
    // What fetches says why, and goes on; it is the same boot.
    let again = [("again", "yes")];
    let lies = tells(
        1,
        Stage::Fetch,
        Some("chunk 7 from 10.0.0.9 is wrong"),
        &again,
    );
    story.at(38_000, lies);
    story.at(39_000, fills(1, 80_000_000, 40_000_000, 0));
    assert_eq!(
        story.says(1),
        up("running, 40 % resident, 3 s to independence")
    );
    let row = story.row(1);
    assert_eq!(row.boot_ms, Some(10_000));
    let problem = row.problem.expect("what went wrong");
    assert_eq!(problem.sentence, "chunk 7 from 10.0.0.9 is wrong");
    // One that cannot leave its manager says so, and runs.
    let stays = tells(
        1,
        Stage::Untethered,
        Some("exchanging the file: EINVAL"),
        &[],
    );
    assert_eq!(story.at(40_000, stays), None);
    assert_eq!(story.row(1).state, Standing::Up);
    assert!(story.row(1).filling.is_some());
}

#[test]
fn silence_with_a_part_of_the_image_is_found_soon() {
    let mut story = Story::default();
    story.streams(1);
    story.at(12_000, fills(1, 74_000_000, 10_000_000, 0));
    for (ms, want) in [
        (22_999, "running, 37 % resident, 3 s to independence"),
        (23_000, "running, 37 % resident, not heard of for 11 s"),
        (72_000, "running, 37 % resident, not heard of for 60 s"),
    ] {
        story.ms = ms;
        assert_eq!(story.says(1), up(want), "{ms}");
        assert!(story.row(1).is_tethered(), "{ms}");
    }
    story.ms = 73_000;
    let row = story.row(1);
    assert_eq!(row.state, Standing::Silent);
    let want = "was up with 37 % of its image, and has sent no heartbeat for 61 s";
    assert_eq!(row.sentence, want);
    let problem = row.problem.as_ref().expect("a problem");
    assert_eq!(problem.sentence, want);
    assert!(problem.remedy.starts_with("Is it still on"));
    assert!(!row.is_tethered(), "who knows");
}

#[test]
fn one_that_starts_over_begins_with_nothing() {
    for begins in [report(1, Stage::Early, None), Event::Asked(asked(1))] {
        let mut story = Story::default();
        story.streams(1);
        story.at(12_000, fills(1, 74_000_000, 0, 60_000));
        story.at(30_000, begins);
        let row = story.row(1);
        assert_eq!((row.filling, row.problem), (None, None));
        assert_ne!(row.state, Standing::Failed);
        // This time all of its image is fetched before it runs.
        for stage in Stage::BOOT {
            story.at(31_000, report(1, stage, None));
        }
        assert_eq!(story.says(1), up("up"));
    }
    // Nobody but its heartbeats tells: its kernel is younger.
    let mut story = Story::default();
    story.at(
        0,
        Event::Beat(
            address(1),
            Heartbeat {
                up_s: 9_000,
                ..beat(1)
            },
        ),
    );
    story.at(1_000, report(1, Stage::Untethered, Some("no manager")));
    story.at(9_000, fills(1, 2_000_000, 0, 0));
    let row = story.row(1);
    assert_eq!((row.problem, row.since_s, row.up_s), (None, 0, Some(60)));
    assert_eq!(row.boot, []);
}

#[test]
fn what_a_machine_says_of_its_image_is_bounded() {
    let mut story = Story::default();
    story.streams(1);
    let hostile = |resident, size, per_second, blocked_ms| {
        let filling = Filling {
            resident,
            size,
            per_second,
            blocked_ms,
        };
        let beat = Heartbeat {
            filling: Some(filling),
            ..beat(1)
        };
        Event::Beat(address(1), beat)
    };
    for (resident, size) in [(0, 0), (1, 0), (200_000_001, 200_000_000), (u64::MAX, 1)] {
        let event = hostile(resident, size, 1, 0);
        let refused = story.fleet.apply(event, Duration::from_secs(11));
        assert_eq!(refused, Err(Refused::Filling(mac(1), resident, size)));
    }
    assert_eq!(story.fleet.refused(), 4);
    assert_eq!(story.says(1), up("running, 37 % resident"));
    let huge = u64::MAX;
    for (event, percent, independent_s, blocked_s) in [
        // It is this image's, which has 200 MB.
        (hostile(huge, huge, 1, 0), 100, Some(0), 0),
        (hostile(100_000_000, huge, 1_000_000, 0), 50, Some(100), 0),
        (hostile(1, 1, 1, 0), 0, None, 0),
        (hostile(0, huge, huge, huge), 0, None, 2_592_000),
    ] {
        story.at(11_000, event);
        let filling = story.row(1).filling.expect("is seen");
        let found = (filling.percent, filling.independent_s, filling.blocked_s);
        assert_eq!(found, (percent, independent_s, blocked_s), "{filling:?}");
        assert_eq!(filling.size, Some(200_000_000));
    }
    // Bars are kept once, however often it says so.
    for turn in 1..100 {
        let ms = 11_000 + turn * 20_000;
        story.at(ms, fills(1, 1, 1, 0));
        story.at(ms + 1, report(1, Stage::Untethered, None));
    }
    let bars = story.row(1).boot;
    assert_eq!(
        bars.iter().filter(|bar| bar.what == "untethered").count(),
        1
    );
    for facts in [
        [("resident", "101%")],
        [("resident", "-1%")],
        [("resident", "37")],
    ] {
        let mut story = Story::default();
        story.at(0, tells(1, Stage::Fetch, None, &facts));
        story.at(1, report(1, Stage::Handover, None));
        assert_eq!(story.says(1), up("up"), "{facts:?}");
    }
}

#[test]
fn two_heartbeats_in_three_seconds_are_no_flood() {
    let mut story = Story::default();
    story.streams(1);
    for turn in 1..1_800 {
        let ms = 10_000 + turn * 2_000;
        story.at(ms, fills(1, 74_000_000, 1_000_000, 0));
        if turn % 15 == 0 {
            story.at(ms, Event::Beat(address(1), beat(1)));
        }
    }
    assert_eq!(story.fleet.refused(), 0);
    // Nobody sends a thousand at once.
    for _ in 0..1_000 {
        let _ = story.fleet.apply(fills(1, 1, 1, 0), story.now());
    }
    assert!(story.fleet.refused() > 900, "{}", story.fleet.refused());
}

#[test]
fn a_report_may_say_itself_when_the_rest_came() {
    const MONTH_MS: u64 = 2_592_000_000;
    let bar = |begin_ms, end_ms| {
        vec![Bar {
            what: "untethered".to_owned(),
            begin_ms,
            end_ms,
        }]
    };
    for (waterfall, ms, want) in [
        // Since the mount, which ended with all that is known of /init.
        (vec![], 9_000, (900, 9_900)),
        (bar(850, 9_850), 9_000, (850, 9_850)),
        (vec![], u64::MAX, (900, MONTH_MS)),
        (bar(u64::MAX, 0), 1, (MONTH_MS, MONTH_MS)),
    ] {
        let mut story = Story::default();
        story.at(0, report(1, Stage::Handover, None));
        let mut end = report(1, Stage::Untethered, None);
        if let Event::Reported(_, report) = &mut end {
            report.line.ms = ms;
            report.waterfall = waterfall;
        }
        let news = story.at(10_000, end);
        assert_eq!(news, Some(News::Untethered(ms.min(MONTH_MS))));
        let row = story.row(1);
        let last = row.boot.last().expect("a bar");
        assert_eq!((last.begin_ms, last.end_ms), want, "{ms}");
    }
}
