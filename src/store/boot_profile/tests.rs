use proptest::prelude::*;

use super::*;

pub(crate) const IMAGE: ImageId = ImageId([7; 32]);

/// Of the machine whose MAC ends so.
pub(crate) fn recording(last: u8, online_ms: Option<u32>, touched: &[(u64, u32)]) -> Recording {
    Recording {
        mac: Mac([2, 0, 0, 0, 0, last]),
        image: IMAGE,
        online_ms,
        ready_ms: None,
        touched: touched.to_vec(),
    }
}

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn known(recordings: &[Recording]) -> Known {
    let kept = |recording: &Recording| Kept {
        at: 1,
        from: None,
        recording: recording.clone(),
    };
    Known {
        recordings: recordings.iter().map(kept).collect(),
        carried: None,
    }
}

#[test]
fn one_row_per_rule_of_what_is_hot() {
    use Want::{Cold, Hot, Warm};
    let early = recording(1, Some(10), &[(0, 0), (3, 10), (1, 11)]);
    let ready = Recording {
        ready_ms: Some(9),
        ..recording(1, None, &[(0, 0), (3, 10)])
    };
    let both = recording(2, Some(5), &[(1, 0), (4, 6)]);
    let (first, third) = (PLACES / 2, PLACES / 3);
    for (what, recordings, want) in [
        ("nothing", vec![], [Cold; 5]),
        (
            "until the network is as it stays, and at that moment",
            vec![early.clone()],
            [Hot(0), Warm(0), Cold, Hot(first), Cold],
        ),
        (
            "else until it was up",
            vec![ready],
            [Hot(0), Cold, Cold, Warm(0), Cold],
        ),
        (
            "else all",
            vec![recording(1, None, &[(2, 0), (0, 60_000)])],
            [Hot(first), Cold, Hot(0), Cold, Cold],
        ),
        (
            "one boot that read it early is enough",
            vec![early, both],
            [Hot(0), Hot(third), Cold, Hot(84), Warm(0)],
        ),
    ] {
        let profile = known(&recordings).wants(5 * CHUNK_BYTES);
        assert_eq!(profile.wants(), want, "{what}");
    }
}

#[test]
fn what_was_carried_is_hot_beside_what_was_recorded() {
    let mut known = known(&[recording(1, Some(0), &[(4, 0)])]);
    known.carried = Some(Carried {
        from: ImageId([8; 32]),
        at: 1,
        files: 1,
        bytes: 1,
        lost: 0,
        hot: vec![2],
        warm: vec![4, 1],
    });
    let hot = |place| Want::Hot(place);
    let want = [
        Want::Cold,
        Want::Warm(0),
        hot(0),
        Want::Cold,
        hot(PLACES / 2),
    ];
    assert_eq!(known.wants(5 * CHUNK_BYTES).wants(), want);
}

#[test]
fn the_last_recordings_are_kept_one_of_each_machine() {
    let (mut known, size) = (Known::default(), 4 * CHUNK_BYTES);
    for number in 0..10_u8 {
        let recording = recording(number, None, &[(0, 0)]);
        let from = at(number);
        known
            .add(from, recording, IMAGE, size, 1000)
            .expect("taken");
    }
    let again = recording(5, None, &[(1, 0)]);
    let refused = known.add(at(5), again.clone(), IMAGE, size, 1059);
    assert_eq!(refused, Err(Refused::TooSoon(again.mac)));
    known
        .add(at(5), again.clone(), IMAGE, size, 1060)
        .expect("taken");
    let set_back = recording(6, None, &[(2, 0)]);
    known.add(at(6), set_back, IMAGE, size, 5).expect("taken");
    let macs: Vec<u8> = known
        .recordings
        .iter()
        .map(|k| k.recording.mac.0[5])
        .collect();
    assert_eq!(macs, [2, 3, 4, 7, 8, 9, 5, 6]);
    assert_eq!(known.recordings[6].recording, again);
    known.check(IMAGE, size).expect("as it was written");
}

/// Eight are kept: one machine that calls itself ten others must not push the honest ones out.
#[test]
fn one_address_has_one_recording_whatever_it_calls_itself() {
    let (mut known, size) = (Known::default(), 4 * CHUNK_BYTES);
    for honest in 1..=7_u8 {
        let recording = recording(honest, None, &[(0, 0)]);
        known
            .add(at(honest), recording, IMAGE, size, 1000)
            .expect("taken");
    }
    for (made_up, now) in (100..110_u8).zip((2000..).step_by(60)) {
        let made_up = recording(made_up, None, &[(3, 0)]);
        known.add(at(66), made_up, IMAGE, size, now).expect("taken");
    }
    let from: Vec<_> = known.recordings.iter().map(|kept| kept.from).collect();
    let want = [1, 2, 3, 4, 5, 6, 7, 66].map(|last| Some(at(last)));
    assert_eq!(from, want);
    let soon = recording(110, None, &[(3, 0)]);
    let refused = known.add(at(66), soon, IMAGE, size, 2599);
    assert!(matches!(refused, Err(Refused::TooSoon(_))), "{refused:?}");
}

#[test]
fn what_no_boot_does_is_refused() {
    let size = 300 * CHUNK_BYTES;
    let first = |count: u64| -> Vec<(u64, u32)> { (0..count).map(|i| (i, 0)).collect() };
    let of = |touched: &[(u64, u32)]| recording(1, None, touched);
    let other = Recording {
        image: ImageId([8; 32]),
        ..of(&first(9))
    };
    for (recording, size, want) in [
        (of(&first(180)), size, Ok(())),
        (of(&first(4)), size, Ok(())),
        (of(&first(256)), 256 * CHUNK_BYTES, Ok(())),
        (
            of(&first(181)),
            size,
            Err(Refused::TooMuch {
                read: 181,
                all: 300,
            }),
        ),
        (
            of(&first(3)),
            size,
            Err(Refused::TooLittle { read: 3, all: 300 }),
        ),
        (
            other,
            size,
            Err(Refused::OtherImage(ImageId([8; 32]), IMAGE)),
        ),
        (of(&[]), size, Err(Refused::Bad(BadRecording::Count(0)))),
        (
            of(&[(1, 0), (1, 0)]),
            size,
            Err(Refused::Bad(BadRecording::Twice(1))),
        ),
    ] {
        assert_eq!(Known::default().add(at(1), recording, IMAGE, size, 9), want);
    }
}

#[test]
fn a_file_that_says_what_nobody_wrote_is_refused() {
    let size = 4 * CHUNK_BYTES;
    let good = known(&[recording(1, None, &[(0, 0)])]);
    good.check(IMAGE, size).expect("good");
    let many: Vec<Recording> = (0..9).map(|i| recording(i, None, &[(0, 0)])).collect();
    let mut carried = good.clone();
    carried.carried = Some(Carried {
        from: IMAGE,
        at: 0,
        files: 0,
        bytes: 0,
        lost: 0,
        hot: vec![],
        warm: vec![4],
    });
    for bad in [
        known(&many),
        known(&[recording(1, None, &[(4, 0)])]),
        carried,
    ] {
        bad.check(IMAGE, size).expect_err("refused");
    }
    good.check(ImageId([8; 32]), size)
        .expect_err("another image");
}

proptest! {
    #[test]
    fn a_profile_has_each_chunk_once_and_hot_is_what_somebody_read_early(
        boots in proptest::collection::vec(
            (proptest::option::of(0_u32..50), proptest::collection::btree_set(0_u64..40, 1..20)), 0..8),
    ) {
        let size = 40 * CHUNK_BYTES;
        let recordings: Vec<Recording> = boots.iter().zip(0..).map(|((online, chunks), last)| {
            let touched: Vec<(u64, u32)> = chunks.iter().copied().zip((0..).step_by(3)).collect();
            recording(last, *online, &touched)
        }).collect();
        let profile = known(&recordings).wants(size);
        prop_assert_eq!(profile.wants().len(), 40);
        for (want, index) in profile.wants().iter().zip(0_u64..) {
            let times = || recordings.iter().flat_map(|r| {
                let of = r.touched.iter().filter(move |(i, _)| *i == index);
                of.map(move |(_, ms)| *ms <= online(r))
            });
            let expected = (times().any(|hot| hot), times().next().is_some());
            prop_assert_eq!(expected, (matches!(want, Want::Hot(_)), *want != Want::Cold));
        }
    }
}
