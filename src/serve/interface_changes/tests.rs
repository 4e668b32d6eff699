use proptest::prelude::*;

use super::*;

fn found(name: &str, index: u32, up: bool, address: Option<u8>) -> Found {
    Found {
        name: name.to_owned(),
        index,
        up,
        loopback: false,
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        address: address.map(|last| (Ipv4Addr::new(10, 0, 0, last), 24)),
    }
}

fn place(name: &str, index: u32, last: u8) -> Place {
    let all = [found(name, index, true, Some(last))];
    let chosen = choose(&all, &[name.to_owned()]).expect("is there");
    Place::new(chosen.into_iter().next().expect("one"))
}

#[test]
fn one_line_a_change() {
    let eth0 = place("eth0", 2, 1);
    let with = |change: &dyn Fn(&mut Found)| {
        let mut one = found("eth0", 2, true, Some(1));
        change(&mut one);
        vec![one]
    };
    let away = |why: &str| {
        Some(News::Bad(format!(
            "interface eth0 is away ({why}): machines on it are not answered until it is back"
        )))
    };
    let good = |text: &str| Some(News::Good(format!("interface eth0 {text}")));
    for (found, want) in [
        (with(&|_| ()), None),
        (vec![], away("there is no such interface")),
        (with(&|one| one.up = false), away("it is down")),
        (
            with(&|one| one.address = None),
            away("it has no IPv4 address"),
        ),
        (
            with(&|one| one.index = 7),
            good("was made anew, 10.0.0.1: DHCP is bound to the new one"),
        ),
        (
            with(&|one| one.mac = None),
            good("has another hardware address: DHCP is bound to it again"),
        ),
        (
            with(&|one| one.address = Some(([10, 0, 0, 2].into(), 24))),
            good(
                "has another address, 10.0.0.2 (was 10.0.0.1): machines on it are answered from there",
            ),
        ),
        (
            with(&|one| one.address = Some(([10, 0, 0, 1].into(), 16))),
            good("is in the network 10.0.0.1/16 now (was /24)"),
        ),
    ] {
        let after = eth0.after(&found, true);
        assert_eq!(after.news(&eth0), want);
        if let Some(News::Bad(text)) = want {
            assert_eq!((after.trouble(), after.device()), (Some(text), None));
            assert_eq!(after.interface, eth0.interface, "as it was");
        }
    }
    let gone = eth0.after(&[], true);
    let down = gone.after(&with(&|one| one.up = false), true);
    assert_eq!(down.news(&gone), None, "it is away still");
    let back = down.after(&with(&|_| ()), true);
    assert_eq!(
        back.news(&down),
        good("is back, 10.0.0.1: machines on it are answered again")
    );
    let elsewhere = with(&|one| one.address = Some(([10, 0, 0, 9].into(), 24)));
    assert_eq!(
        gone.after(&elsewhere, true).news(&gone),
        good(
            "is back with another address, 10.0.0.9 (was 10.0.0.1): machines on it are answered from there"
        )
    );
}

#[test]
fn another_interface_is_taken_only_where_none_was_named_and_it_is_the_same_machine_port() {
    let eth0 = place("eth0", 2, 1);
    let mut bridge = found("br0", 5, true, Some(1));
    bridge.mac = None;
    let bare = found("eth0", 2, true, None);
    let mut stranger = found("docker0", 6, true, Some(77));
    stranger.mac = Some(Mac([2, 0, 0, 0, 0, 99]));
    let renamed = found("enx1", 7, true, Some(5));
    for (found, named, want) in [
        (vec![bare.clone(), bridge.clone()], false, Some("br0")),
        (vec![bare.clone(), bridge.clone()], true, None),
        (vec![renamed.clone()], false, Some("enx1")),
        (vec![stranger.clone()], false, None),
        // The one that is served is meant, however many there are beside it.
        (
            vec![found("eth0", 9, true, Some(1)), stranger.clone()],
            false,
            Some("eth0"),
        ),
        // Two could be meant.
        (vec![bridge, renamed], false, None),
    ] {
        let after = eth0.after(&found, named);
        let is = after
            .away
            .is_none()
            .then_some(after.interface.name.as_str());
        assert_eq!(is, want, "{found:?}");
    }
}

#[test]
fn what_is_closed_is_closed_first_and_dhcp_comes_last() {
    let old = place("eth0", 2, 1);
    let new = place("eth0", 7, 3);
    let open = |place: &Place| Open {
        devices: place.device().into_iter().collect(),
        addresses: addresses(slice::from_ref(place)),
    };
    let device = |place: &Place| place.device().expect("is there");
    assert_eq!(
        steps(&open(&old), &open(&new)),
        [
            Step::Unbind(device(&old)),
            Step::Close(old.interface.address),
            Step::Listen(new.interface.address),
            Step::Bind(device(&new)),
        ]
    );
    assert_eq!(steps(&open(&new), &open(&new)), []);
}

/// What the shell has open; a step may fail.
fn take(open: &mut Open, step: Step, fails: bool) -> Result<(), TestCaseError> {
    match step {
        Step::Unbind(device) => open.devices.retain(|one| *one != device),
        Step::Close(address) => open.addresses.retain(|one| *one != address),
        Step::Listen(address) => {
            prop_assert!(!open.addresses.contains(&address), "the port is taken");
            if !fails {
                open.addresses.push(address);
            }
        }
        Step::Bind(device) => {
            let same = |one: &Device| one.index == device.index;
            prop_assert!(!open.devices.iter().any(same), "the port is taken");
            if !fails {
                open.devices.push(device);
            }
        }
    }
    Ok(())
}

/// Two interfaces and one that is not meant, each there or not, under any number, up or not, with an address or not.
fn system() -> impl Strategy<Value = Vec<Found>> {
    let one = |name: &'static str, numbers: u32| {
        let number = (0..3_u32).prop_map(move |n| numbers + n);
        let parts = (number, any::<bool>(), prop::option::of(1..5_u8));
        prop::option::of(parts.prop_map(move |(index, up, last)| found(name, index, up, last)))
    };
    (one("eth0", 10), one("eth1", 20), one("eth2", 30))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens in whatever order, and whatever cannot be opened meanwhile: in the end the sockets are those of the
    /// interfaces that are there, and nothing else is open but the address that an interface had which is away.
    #[test]
    fn the_sockets_follow(
        history in prop::collection::vec((system(), any::<bool>()), 1..12),
        named in any::<bool>(),
    ) {
        let mut places = vec![place("eth0", 10, 1), place("eth1", 20, 2)];
        // Without a name there is one only, which may be called otherwise later.
        places.truncate(if named { 2 } else { 1 });
        let names = if named { &["eth0", "eth1"][..] } else { &[] };
        let mut open = Open::default();
        let last = history.last().map(|(found, _)| (found.clone(), false));
        for (found, fails) in history.into_iter().chain(last) {
            places = places.iter().map(|place| place.after(&found, named)).collect();
            let wanted = Open {
                devices: places.iter().filter_map(Place::device).collect(),
                addresses: addresses(&places),
            };
            for step in steps(&open, &wanted) {
                take(&mut open, step, fails)?;
            }
            for place in places.iter().filter(|place| place.away.is_none()) {
                let Interface { name, index, address, .. } = &place.interface;
                let is = |one: &Found| {
                    one.name == *name && one.index == *index && one.up && one.address == Some((*address, 24))
                };
                prop_assert!(found.iter().any(is), "{place:?} is not in {found:?}");
            }
            for name in names {
                let usable = found.iter().any(|one| one.name == *name && one.up && one.address.is_some());
                let served = places.iter().any(|one| one.interface.name == *name && one.away.is_none());
                prop_assert!(served || !usable, "{name} is there and not served: {places:?}");
            }
        }
        let mut devices: Vec<Device> = places.iter().filter_map(Place::device).collect();
        let mut all = addresses(&places);
        devices.sort_by_key(|one| one.index);
        all.sort_unstable();
        open.devices.sort_by_key(|one| one.index);
        open.addresses.sort_unstable();
        prop_assert_eq!(open, Open { devices, addresses: all });
    }
}
