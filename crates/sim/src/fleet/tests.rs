use super::*;
use crate::params::Date;
use crate::pc::PcParams;
use crate::server::{Server, boot, boot_mix};

fn many(count: u16) -> Vec<Params> {
    let one = |n| match n % 4 {
        0 => Params::pi3b(n),
        1 => Params::pi3b_plus(n),
        2 => Params::pi4(n, Date(2023, 1, 11)),
        _ => Params::pi5(n, Date(2026, 1, 1)),
    };
    let keep_little = |params| Params { keep: 0, ..params };
    (0..count).map(one).map(keep_little).collect()
}

#[test]
fn a_fleet_boots() {
    let conditions = Conditions {
        stagger: Duration::from_millis(10),
        ..Conditions::good(Duration::from_secs(600))
    };
    let outcomes = boot(many(500), Server::default(), conditions);
    assert_eq!(failures(&outcomes).next(), None);
    assert_eq!(outcomes.len(), 500);
    assert!(outcomes.iter().all(|outcome| outcome.violations.is_empty()));
}

#[test]
fn pis_and_pcs_boot_together() {
    let pis = many(60).into_iter().map(Station::from);
    let pcs = (0..10).flat_map(PcParams::one_of_each).map(Station::from);
    let conditions = Conditions::good(Duration::from_secs(600));
    let done = boot_mix(pis.chain(pcs).collect(), Server::default(), conditions);
    assert_eq!(done.len(), 120);
    for station in &done {
        assert_eq!(station.failure(), None, "{}", station.kind());
        assert_eq!(station.violations(), [], "{}", station.kind());
    }
    let addresses: BTreeSet<_> = done.iter().filter_map(Station::address).collect();
    assert_eq!(addresses.len(), 120);
}

#[test]
fn an_address_for_two_is_seen() {
    let server = Server {
        one_address: true,
        ..Server::default()
    };
    let conditions = Conditions::good(Duration::from_secs(600));
    let pis = vec![
        Params::pi4(1, Date(2023, 1, 11)),
        Params::pi4(2, Date(2023, 1, 11)),
    ];
    let outcomes = boot(pis, server, conditions);
    let found: Vec<_> = outcomes.iter().flat_map(|o| &o.violations).collect();
    let offered = |v: &&&Violation| matches!(v, Violation::OfferedTwice { .. });
    let shared = |v: &&&Violation| matches!(v, Violation::SharedAddress { .. });
    assert!(found.iter().any(|v| offered(&v)), "{found:?}");
    assert!(found.iter().any(|v| shared(&v)), "{found:?}");
}

#[test]
fn who_is_not_done_in_time_fails() {
    let limit = Duration::from_secs(1);
    let outcomes = boot(many(2), Server::default(), Conditions::good(limit));
    let unfinished = |(_, f): (usize, &Failure)| matches!(f, Failure::Unfinished { .. });
    assert_eq!(failures(&outcomes).filter(|&f| unfinished(f)).count(), 2);
}
