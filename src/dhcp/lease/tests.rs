use proptest::prelude::*;

use super::*;
use crate::config::words::Pool;

const HOUR: Duration = Duration::from_secs(3600);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn plan(first: u8, last: u8) -> Plan {
    let pool = Pool {
        first: address(first),
        last: address(last),
    };
    let reserved = HashMap::from([(mac(99), address(3))]);
    Plan::new(network(), pool, reserved, [address(1)])
}

fn network() -> Network {
    Network::of(address(0), 24)
}

fn hold(mac: Mac, address: Ipv4Addr, until: Duration) -> LeaseChange {
    LeaseChange::Hold {
        network: Network::of(address, 24),
        mac,
        address,
        at: Duration::ZERO,
        until,
        acknowledged: true,
        known: false,
    }
}

fn free(mac: Mac) -> LeaseChange {
    LeaseChange::Free {
        network: network(),
        mac,
    }
}

#[test]
fn a_manager_that_lost_its_memory_gives_the_same_address() {
    let plan = plan(1, 200);
    let first = Leases::default()
        .pick(&plan, mac(7), None, Choice::Any, HOUR)
        .expect("one");
    let again = Leases::default()
        .pick(&plan, mac(7), None, Choice::Any, Duration::ZERO)
        .expect("one");
    assert_eq!(first, again);
}

#[test]
fn every_address_but_those_kept_is_given_once() {
    let plan = plan(0, 9);
    let mut leases = Leases::default();
    let mut given = HashSet::new();
    for i in 0..8 {
        let picked = leases
            .pick(&plan, mac(i), None, Choice::Any, Duration::ZERO)
            .expect("one");
        assert!(given.insert(picked), "{picked} twice");
        leases.apply(hold(mac(i), picked, HOUR));
    }
    assert!(!given.contains(&address(1)) && !given.contains(&address(3)));
    assert_eq!(
        leases.pick(&plan, mac(50), None, Choice::Any, Duration::ZERO),
        Err(Why::PoolExhausted)
    );
    assert_eq!(
        leases.pick(&plan, mac(99), None, Choice::Any, Duration::ZERO),
        Ok(address(3))
    );
    assert!(
        leases.pick(&plan, mac(50), None, Choice::Any, HOUR).is_ok(),
        "they are over"
    );
}

#[test]
fn what_a_client_asks_for_is_honoured_when_free() {
    let plan = plan(1, 200);
    let mut leases = Leases::default();
    assert_eq!(
        leases.pick(&plan, mac(7), Some(address(50)), Choice::Any, HOUR),
        Ok(address(50))
    );
    for not_its in [
        address(1),
        address(3),
        address(201),
        Ipv4Addr::new(10, 0, 1, 50),
    ] {
        assert_ne!(
            leases.pick(&plan, mac(7), Some(not_its), Choice::Any, HOUR),
            Ok(not_its)
        );
    }
    leases.apply(hold(mac(8), address(50), 2 * HOUR));
    assert_ne!(
        leases.pick(&plan, mac(7), Some(address(50)), Choice::Any, HOUR),
        Ok(address(50))
    );
    assert_eq!(
        leases.pick(&plan, mac(8), Some(address(60)), Choice::Any, HOUR),
        Ok(address(50)),
        "its own first"
    );
    assert_eq!(
        leases.pick(&plan, mac(99), Some(address(60)), Choice::Any, HOUR),
        Ok(address(3))
    );
}

#[test]
fn a_declined_address_is_nobodys_for_a_time() {
    let plan = plan(5, 5);
    let mut leases = Leases::default();
    leases.apply(hold(mac(7), address(5), HOUR));
    leases.apply(LeaseChange::SetAside {
        address: address(5),
        until: HOUR,
    });
    assert_eq!(leases.last(network(), mac(7)), None);
    assert_eq!(
        leases.pick(&plan, mac(7), None, Choice::Any, Duration::ZERO),
        Err(Why::PoolExhausted)
    );
    assert_eq!(
        leases.pick(&plan, mac(7), None, Choice::Any, HOUR),
        Ok(address(5))
    );
    leases.apply(LeaseChange::SetAside {
        address: address(3),
        until: HOUR,
    });
    assert_eq!(
        leases.pick(&plan, mac(99), None, Choice::Any, Duration::ZERO),
        Err(Why::ReservationInUse(address(3)))
    );
}

#[test]
fn an_offer_does_not_shorten_a_lease() {
    let mut leases = Leases::default();
    leases.apply(hold(mac(7), address(5), HOUR));
    leases.apply(hold(mac(7), address(5), OFFER_FOR));
    assert!(leases.holds(mac(7), address(5), HOUR / 2));
    leases.apply(free(mac(7)));
    assert_eq!(leases, Leases::default());
}

#[test]
fn a_machine_has_an_address_in_each_network_it_shows_itself_in() {
    let mut leases = Leases::default();
    let other = Ipv4Addr::new(10, 0, 1, 5);
    leases.apply(hold(mac(7), address(5), HOUR));
    leases.apply(hold(mac(7), other, HOUR));
    assert!(leases.holds(mac(7), address(5), Duration::ZERO));
    assert_eq!(leases.last(Network::of(other, 24), mac(7)), Some(other));
    leases.apply(hold(mac(7), address(6), HOUR));
    assert_eq!(leases.owner(address(5), Duration::ZERO), None);
    leases.apply(free(mac(7)));
    assert!(leases.holds(mac(7), other, Duration::ZERO));
}

#[test]
fn what_vouches_for_an_address() {
    let mut leases = Leases::default();
    let unproven = |leases: &Leases, m, now| leases.is_unproven(mac(m), address(5), now);
    assert!(unproven(&leases, 7, Duration::ZERO), "nobody was asked");
    leases.apply(hold(mac(7), address(5), OFFER_FOR));
    for (machine, now, want) in [
        (7, OFFER_FOR / 2, false),
        (7, PROVEN_FOR - OFFER_FOR, false),
        (7, PROVEN_FOR, true),
        (8, OFFER_FOR, true),
    ] {
        assert_eq!(unproven(&leases, machine, now), want, "{machine} {now:?}");
    }
    leases.apply(hold(mac(7), address(5), HOUR));
    assert!(!unproven(&leases, 7, HOUR / 2), "it holds it");
    leases.apply(elsewhere(mac(8), address(5)));
    assert!(
        unproven(&leases, 7, HOUR / 2),
        "another took it from another server"
    );
    assert!(leases.holds(mac(7), address(5), HOUR / 2));
}

#[test]
fn what_another_server_gives_is_kept_from_others() {
    let mut leases = Leases::default();
    leases.apply(LeaseChange::Hold {
        network: network(),
        mac: mac(7),
        address: address(5),
        at: Duration::ZERO,
        until: OFFER_FOR,
        acknowledged: false,
        known: false,
    });
    leases.apply(hold(mac(8), address(6), HOUR));
    leases.apply(elsewhere(mac(8), address(5)));
    let live: Vec<_> = leases.live(Duration::ZERO).collect();
    assert_eq!(live, [(address(5), mac(8))], "an offer gives way");
    assert!(!leases.is_free_for(mac(7), address(5), Duration::ZERO));
}

fn elsewhere(mac: Mac, address: Ipv4Addr) -> LeaseChange {
    LeaseChange::Elsewhere {
        network: network(),
        mac,
        address,
        at: Duration::ZERO,
        until: OFFER_FOR,
    }
}

fn any_change() -> impl Strategy<Value = LeaseChange> {
    let until = (0_u64..100).prop_map(Duration::from_secs);
    (0_u8..8, 0_u8..12, 0_u8..12, until).prop_map(|(which, m, a, until)| match which {
        0 => hold(mac(m), address(a), until),
        3 => hold(mac(m), Ipv4Addr::new(10, 0, 1, a), until),
        1 => free(mac(m)),
        4 => elsewhere(mac(m), address(a)),
        5 => LeaseChange::Heard {
            network: network(),
            mac: mac(m),
            address: address(a),
            at: until,
        },
        6 => LeaseChange::Booted {
            address: address(a),
            mac: (m > 5).then(|| mac(m)),
        },
        _ => LeaseChange::SetAside {
            address: address(a),
            until,
        },
    })
}

proptest! {
    #[test]
    fn one_owner_an_address_one_address_a_machine(changes in prop::collection::vec(any_change(), 0..60)) {
        let mut leases = Leases::default();
        for (step, change) in changes.into_iter().enumerate() {
            leases.apply(change);
            if step % 7 == 6 {
                leases.pass(Duration::from_secs(step as u64));
            }
            let live: Vec<_> = leases.live(Duration::ZERO).collect();
            let macs: HashSet<_> = live.iter().map(|(address, mac)| (address.octets()[2], mac)).collect();
            prop_assert_eq!(macs.len(), live.len(), "one address a network");
            for (mac, addresses) in &leases.by_mac {
                prop_assert!(!addresses.is_empty());
                for address in addresses {
                    prop_assert_eq!(leases.by_address[address].owner, Owner::Machine(*mac));
                }
            }
            let bit = |set: &Addresses, address: &Ipv4Addr| {
                set.word(address.to_bits() / addresses::WORD) >> (address.to_bits() % addresses::WORD) & 1 == 1
            };
            for (address, entry) in &leases.by_address {
                let busy = bit(&leases.busy, address);
                prop_assert!(busy != bit(&leases.over, address));
                prop_assert_eq!(busy, leases.ends.contains(&(entry.until, *address)));
                let stranger = busy && !entry.known;
                prop_assert_eq!(stranger, leases.strangers.contains(&entry.age(*address)));
            }
            prop_assert!(leases.ends.len() <= leases.by_address.len());
            prop_assert!(leases.strangers.len() <= leases.ends.len());
            let listed: usize = leases.by_mac.values().map(Vec::len).sum();
            prop_assert!(listed <= leases.by_address.len());
        }
    }
}

/// A /16 that strangers filled: what is looked at does not grow with the pool's machines.
#[test]
fn a_full_pool_is_seen_to_be_full_by_its_words() {
    let network = Network::of(Ipv4Addr::new(10, 7, 0, 0), 16);
    let pool = Pool {
        first: Ipv4Addr::new(10, 7, 0, 0),
        last: Ipv4Addr::new(10, 7, 255, 255),
    };
    let kept = [
        network.ends().expect("two"),
        [Ipv4Addr::new(10, 7, 0, 1); 2],
    ];
    let plan = Plan::new(network, pool, HashMap::new(), kept.into_iter().flatten());
    let mut leases = Leases::default();
    let stranger = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 1, a, b, c, d])
    };
    let mut given = HashSet::new();
    let mut words = 0;
    for number in 0..65_533 {
        let mac = stranger(number);
        let address = plan.search(mac, |word| {
            words += 1;
            !leases.busy.word(word)
        });
        let address = address.expect("one is free");
        assert_eq!(
            leases.pick(&plan, mac, None, Choice::Any, HOUR),
            Ok(address)
        );
        assert!(given.insert(address), "{address} twice");
        leases.apply(LeaseChange::Hold {
            network,
            mac,
            address,
            at: HOUR,
            until: 2 * HOUR,
            acknowledged: true,
            known: false,
        });
    }
    // At the base each of the last thousands looked at tens of thousands of addresses.
    assert!(words < 65_533 * 8, "{words} words for 65533 addresses");
    let mut looked = 0;
    let none = plan.search(mac(1), |word| {
        looked += 1;
        !leases.busy.word(word)
    });
    assert_eq!(none, None);
    assert!(looked <= 1_025, "{looked} words");
    let full = Err(Why::PoolExhausted);
    assert_eq!(leases.pick(&plan, mac(1), None, Choice::Any, HOUR), full);
    let holder = leases.last(network, stranger(7)).expect("an address");
    assert!(leases.is_free_for(stranger(7), holder, HOUR), "it renews");
    // Its end is seen before time is said to have passed, and after.
    leases
        .pick(&plan, mac(1), None, Choice::Any, 2 * HOUR)
        .expect("they are over");
    leases.pass(2 * HOUR);
    assert!(leases.ends.is_empty() && leases.strangers.is_empty());
    leases
        .pick(&plan, mac(1), None, Choice::Any, 2 * HOUR)
        .expect("they are over");
}

#[test]
fn a_full_pool_takes_back_what_strangers_have() {
    let plan = plan(5, 7);
    let at = |seconds| Duration::from_secs(seconds);
    let held = |m: u8, a: u8, now: u64, known: bool| LeaseChange::Hold {
        network: network(),
        mac: mac(m),
        address: address(a),
        at: at(now),
        until: at(now) + HOUR,
        acknowledged: true,
        known,
    };
    let filled = || {
        let mut leases = Leases::default();
        leases.apply(held(1, 5, 10, false));
        leases.apply(held(2, 6, 0, false));
        leases.apply(held(3, 7, 0, true));
        leases
    };
    let pick = |leases: &Leases, m, now| leases.pick(&plan, mac(m), None, Choice::Any, now);
    let full = Err(Why::PoolExhausted);
    let leases = filled();
    assert_eq!(pick(&leases, 9, STRANGER_FOR - at(1)), full, "not so soon");
    assert_eq!(pick(&leases, 9, STRANGER_FOR), Ok(address(6)), "the oldest");
    assert_eq!(
        pick(&leases, 2, STRANGER_FOR),
        Ok(address(6)),
        "still its own"
    );
    // A boot file went there, a renewal came from there, or a heartbeat.
    let booted = LeaseChange::Booted {
        address: address(6),
        mac: None,
    };
    let heard = LeaseChange::Heard {
        network: network(),
        mac: mac(2),
        address: address(6),
        at: at(100),
    };
    for sign in [booted, heard, held(2, 6, 100, true)] {
        let mut leases = filled();
        leases.apply(sign);
        assert_eq!(pick(&leases, 9, STRANGER_FOR + at(9)), full, "{sign:?}");
        assert_eq!(pick(&leases, 9, STRANGER_FOR + at(10)), Ok(address(5)));
        assert!(leases.is_known(mac(2)));
    }
    let mut leases = filled();
    leases.apply(LeaseChange::Booted {
        address: address(6),
        mac: Some(mac(1)),
    });
    assert!(!leases.is_known(mac(2)), "another machine's word");
    // A known machine that has lost its address comes before strangers.
    leases.apply(held(4, 5, 20, true));
    leases.apply(LeaseChange::Free {
        network: network(),
        mac: mac(4),
    });
    leases.apply(held(1, 5, 20, false));
    assert_eq!(pick(&leases, 4, at(30)), Ok(address(6)), "at once");
    assert_eq!(pick(&leases, 9, at(30)), full);
}

#[test]
fn who_is_heard_somewhere_has_the_address() {
    let heard = |m: u8, a: u8| LeaseChange::Heard {
        network: network(),
        mac: mac(m),
        address: address(a),
        at: Duration::ZERO,
    };
    let mut leases = Leases::default();
    leases.apply(heard(1, 5));
    assert!(leases.holds(mac(1), address(5), HEARD_FOR / 2));
    assert!(!leases.gives_way_to(mac(2), address(5), HEARD_FOR / 2));
    assert!(!leases.is_unproven(mac(1), address(5), HEARD_FOR / 2));
    leases.apply(heard(2, 5));
    assert!(
        leases.holds(mac(1), address(5), HEARD_FOR / 2),
        "two say so"
    );
    // An offer gives way to who is there, as does an address of which nobody knew whose it is.
    leases.apply(LeaseChange::Hold {
        network: network(),
        mac: mac(3),
        address: address(6),
        at: Duration::ZERO,
        until: OFFER_FOR,
        acknowledged: false,
        known: false,
    });
    assert!(leases.gives_way_to(mac(2), address(6), Duration::ZERO));
    leases.apply(heard(2, 6));
    assert!(leases.holds(mac(2), address(6), Duration::ZERO));
    leases.apply(LeaseChange::SetAside {
        address: address(7),
        until: HOUR,
    });
    leases.apply(heard(4, 7));
    assert!(leases.holds(mac(4), address(7), Duration::ZERO));
    // A router answers for many addresses, and keeps its own.
    leases.apply(heard(4, 8));
    assert!(leases.holds(mac(4), address(7), Duration::ZERO));
    assert_eq!(
        leases.owner(address(8), Duration::ZERO),
        Some(Owner::Stranger)
    );
}

#[test]
fn what_somebody_gave_up_is_chosen_before_what_nobody_heard_of() {
    let plan = plan(5, 9);
    let mut leases = Leases::default();
    let pick = |leases: &Leases, choice, wanted| leases.pick(&plan, mac(9), wanted, choice, HOUR);
    let only = Choice::KnownOnly;
    assert_eq!(pick(&leases, only, None), Err(Why::JustStarted));
    assert_eq!(pick(&leases, only, Some(address(7))), Err(Why::JustStarted));
    leases.apply(hold(mac(1), address(7), HOUR));
    leases.pass(HOUR);
    for choice in [only, Choice::KnownFirst] {
        assert_eq!(pick(&leases, choice, None), Ok(address(7)), "{choice:?}");
    }
    assert_eq!(
        pick(&leases, Choice::KnownFirst, Some(address(8))),
        Ok(address(8))
    );
    assert_eq!(pick(&leases, only, Some(address(8))), Ok(address(7)));
    // Who was found there, or asked another server for it, may still be there.
    leases.apply(LeaseChange::SetAside {
        address: address(7),
        until: HOUR,
    });
    leases.apply(elsewhere(mac(2), address(8)));
    leases.pass(HOUR);
    assert_eq!(pick(&leases, only, None), Err(Why::JustStarted));
    let reserved = leases.pick(&plan, mac(99), None, only, HOUR);
    assert_eq!(reserved, Ok(address(3)), "nobody else can have it");
}
