use super::*;
use proptest::prelude::*;

fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

fn item(name: &str, kind: Kind) -> Item {
    let mode = if kind == Kind::Folder { 0o700 } else { 0o644 };
    Item {
        name: name.into(),
        kind,
        meta: meta(mode),
    }
}

fn file(name: &str) -> Item {
    item(name, Kind::File { size: 1 })
}

fn folder(name: &str) -> Item {
    item(name, Kind::Folder)
}

fn link(name: &str, target: &str) -> Item {
    let target = PathBuf::from(target);
    item(name, Kind::Symlink { target })
}

fn hard(name: &str, to: &str) -> Item {
    item(name, Kind::Hardlink { to: to.into() })
}

fn merge(layers: Vec<Vec<Item>>) -> Result<Plan, Refusal> {
    let mut merge = Merge::new(true);
    for layer in layers {
        layer.into_iter().try_for_each(|item| merge.add(item))?;
        merge.end_layer()?;
    }
    Ok(merge.plan())
}

/// A line for each entry: `d` and mode, `f` and place, `l` and target, `h` and the first name.
fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for Entry { path, kind, meta } in plan.folders.iter().chain(&plan.others) {
        let what = match kind {
            Kind::Folder => format!("d {:o}", meta.mode),
            Kind::Symlink { target } => format!("l {}", target.display()),
            Kind::Hardlink { to } => format!("h {}", to.display()),
            _ => "o".to_owned(),
        };
        lines.push(format!("{}: {what}", path.display()));
    }
    for ((layer, ordinal), path) in &plan.files {
        lines.push(format!("{}: f {layer}.{ordinal}", path.display()));
    }
    lines.sort();
    lines
}

fn merged(layers: Vec<Vec<Item>>) -> Vec<String> {
    let plan = merge(layers).expect("merges");
    lines(&plan)
        .into_iter()
        .filter(|line| !line.starts_with(':'))
        .collect()
}

#[test]
fn later_wins_and_whiteouts_reach_below_only() {
    let below = || {
        vec![
            folder("a"),
            file("a/old"),
            file("a/gone"),
            folder("b"),
            file("b/x"),
            folder("c"),
            file("c/x"),
            file("d"),
        ]
    };
    let above = vec![
        file("a/.wh.gone"),
        file("a/old"),
        file("a/new"),
        // In any order with what the same layer brings.
        file("b/y"),
        file("b/.wh..wh..opq"),
        file(".wh.c"),
        file("c/z"),
        folder("d"),
        file("d/in"),
        file(".wh.nothing"),
        file("nowhere/.wh.nothing"),
        file(".wh..wh.aufs"),
    ];
    let want = [
        "a/new: f 1.2",
        "a/old: f 1.1",
        "a: d 700",
        "b/y: f 1.3",
        "b: d 700",
        "c/z: f 1.6",
        // Nothing describes this one any more.
        "c: d 755",
        "d/in: f 1.8",
        "d: d 700",
    ];
    assert_eq!(merged(vec![below(), above]), want);
    let file_again = vec![file("b")];
    let got = merged(vec![below(), file_again]);
    assert!(got.contains(&"b: f 1.0".to_owned()) && !got.contains(&"b/x: f 0.4".to_owned()));
}

/// OCI image-spec, layer.md, "Opaque Whiteout": what a layer makes opaque is its own folder; a link of that name in a lower
/// layer leads nowhere any more, and its target keeps what it has.
#[test]
fn an_opaque_folder_is_no_link_of_a_lower_layer() {
    let below = || vec![folder("usr"), file("usr/kept"), link("lib", "usr")];
    let want = [
        "lib/new: f 1.1",
        "lib: d 755",
        "usr/kept: f 0.1",
        "usr: d 700",
    ];
    let mark = || file("lib/.wh..wh..opq");
    assert_eq!(merged(vec![below(), vec![mark(), file("lib/new")]]), want);
    let got = merged(vec![below(), vec![file("lib/new"), mark()]]);
    assert_eq!(got[0], "lib/new: f 1.0");
    assert_eq!(got[1..], want[1..]);
    // Its own entry, last of all.
    let got = merged(vec![below(), vec![file("lib/new"), mark(), folder("lib")]]);
    assert_eq!(got[1], "lib: d 700");
    assert_eq!(got[2..], want[2..]);
    // Without either it is no folder of the layer's, and the link is followed.
    let got = merged(vec![below(), vec![file("lib/new")]]);
    assert_eq!(
        got,
        [
            "lib: l usr",
            "usr/kept: f 0.1",
            "usr/new: f 1.0",
            "usr: d 700"
        ]
    );
    // A whiteout in a folder that replaces a link hides nothing behind the link.
    let got = merged(vec![below(), vec![file("lib/.wh.kept"), folder("lib")]]);
    assert_eq!(got, ["lib: d 700", "usr/kept: f 0.1", "usr: d 700"]);
    let got = merged(vec![below(), vec![file("lib/.wh.kept")]]);
    assert_eq!(got, ["lib: l usr", "usr: d 700"]);
}

#[test]
fn a_plain_tar_has_no_whiteouts() {
    let mut merge = Merge::new(false);
    for item in [file("a"), file(".wh.a")] {
        merge.add(item).expect("taken");
    }
    assert_eq!(
        lines(&merge.plan()),
        [".wh.a: f 0.1", ": d 755", "a: f 0.0"]
    );
}

#[test]
fn a_hard_link_keeps_its_file_whatever_becomes_of_the_other_name() {
    let layers = |above: Item| vec![vec![file("a"), hard("b", "a")], vec![above]];
    assert_eq!(
        merged(layers(file("c"))),
        ["a: f 0.0", "b: h a", "c: f 1.0"]
    );
    assert_eq!(merged(layers(file("a"))), ["a: f 1.0", "b: f 0.0"]);
    assert_eq!(merged(layers(file(".wh.a"))), ["b: f 0.0"]);
    assert_eq!(
        merged(layers(hard("c", "./b"))),
        ["a: f 0.0", "b: h a", "c: h a"]
    );
    let links = vec![vec![link("l", "x"), hard("m", "l")]];
    assert_eq!(merged(links), ["l: l x", "m: h l"]);
}

#[test]
fn a_path_through_a_link_stays_inside() {
    let usr = || {
        vec![
            link("lib", "usr/lib"),
            link("up", "../../.."),
            link("abs", "/usr"),
        ]
    };
    assert_eq!(
        merged(vec![
            usr(),
            vec![file("lib/x"), file("up/y"), file("abs/z")]
        ]),
        [
            "abs: l /usr",
            "lib: l usr/lib",
            "up: l ../../..",
            "usr/lib/x: f 1.0",
            "usr/lib: d 755",
            "usr/z: f 1.2",
            "usr: d 755",
            "y: f 1.1",
        ]
    );
    let removed = merged(vec![
        vec![file("usr/x"), link("u", "usr")],
        vec![file("u/.wh.x")],
    ]);
    assert_eq!(removed, ["u: l usr", "usr: d 755"]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let deep = format!("{}x", "d/".repeat(MAX_DEPTH));
    let mut large = file("x");
    large
        .meta
        .xattrs
        .insert(b"user.x".to_vec(), vec![0; MAX_XATTR_BYTES + 1]);
    for (layer, want) in [
        (
            vec![file("../x")],
            "\"../x\" cannot be taken: it has .. in it",
        ),
        (vec![file("a/../../x")], "it has .. in it"),
        (vec![file("")], "it is empty"),
        (vec![file("a\0b")], "it has a NUL byte in it"),
        (vec![file(&deep)], "more than 256 parts"),
        (
            vec![file("a"), file("a/b")],
            "\"a/b\" is below \"a\", which is not a folder",
        ),
        (
            vec![link("a", "a"), file("a/b")],
            "more than 40 symbolic links",
        ),
        (
            vec![link("a", "b/x"), link("b", "a/x"), file("a/b")],
            "more than 40 symbolic links",
        ),
        (
            vec![hard("a", "b")],
            "\"a\" is a hard link to \"b\", which is not there",
        ),
        (vec![folder("b"), hard("a", "b")], "which is a folder"),
        (vec![file("a"), hard("a", "a")], "which is itself"),
        (vec![hard("a", "../b")], "no file can be called"),
        (vec![hard("a", "/")], "which is the root"),
        (
            vec![file("/")],
            "\"/\" would be the root, and is not a folder",
        ),
        (vec![file("x/.wh...")], "it has .. in it"),
        (
            vec![item("x", Kind::File { size: u64::MAX }), file("y")],
            "no machine holds that in its RAM",
        ),
        (vec![large], "an extended attribute of 65537 bytes"),
    ] {
        let refused = merge(vec![layer]).expect_err(want).to_string();
        assert!(refused.contains(want), "{refused}");
    }
    let bomb = vec![link("a", &"a/".repeat(2000)), file("a/x")];
    merge(vec![bomb]).expect_err("too long");
}

/// What stands at a path in the simple model: `None` a folder nobody described, or an entry's place.
type Model = BTreeMap<String, (Option<Place>, bool)>;

/// The rules as the specification tells them: take the state below, remove what whiteouts name, lay the rest over it.
fn model(layers: &[Vec<(String, u8)>]) -> Model {
    let mut state = Model::new();
    for (layer, entries) in layers.iter().enumerate() {
        // A folder of the layer's own, opaque or not, stands where a lower layer has a file.
        let mut own: BTreeSet<&str> = BTreeSet::new();
        for (path, _) in entries.iter().filter(|(_, kind)| matches!(kind, 1 | 2)) {
            if state.get(path).is_some_and(|(_, folder)| !folder) {
                state.insert(path.clone(), (None, true));
                // With the folders it is in.
                own.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
                own.insert(path);
            }
        }
        for (path, kind) in entries {
            let inside = format!("{path}/");
            match kind {
                0 => state.retain(|other, _| {
                    own.contains(other.as_str()) || other != path && !other.starts_with(&inside)
                }),
                1 => state
                    .retain(|other, _| own.contains(other.as_str()) || !other.starts_with(&inside)),
                _ => {}
            }
        }
        for (ordinal, (path, kind)) in entries
            .iter()
            .enumerate()
            .filter(|(_, (_, kind))| *kind > 1)
        {
            for (at, _) in path.match_indices('/') {
                state.entry(path[..at].to_owned()).or_insert((None, true));
            }
            let is_folder = *kind == 2;
            if !is_folder || state.get(path).is_some_and(|(_, folder)| !folder) {
                let inside = format!("{path}/");
                state.retain(|other, _| other != path && !other.starts_with(&inside));
            }
            let place = (
                u32::try_from(layer).unwrap(),
                u32::try_from(ordinal).unwrap(),
            );
            state.insert(path.clone(), (Some(place), is_folder));
        }
    }
    state
}

/// Whether a name goes through a file, which is refused; such layers are left to the test above.
fn through_a_file(layers: &[Vec<(String, u8)>]) -> bool {
    (1..=layers.len()).any(|upto| {
        let state = model(&layers[..upto]);
        state.keys().any(|path| {
            let mut parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            parents.any(|parent| state.get(parent).is_some_and(|(_, folder)| !folder))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Any stack of layers comes to what the simple model says, in whatever order a layer has its whiteouts.
    #[test]
    fn agrees_with_the_simple_model(
        layers in proptest::collection::vec(
            proptest::collection::vec(("[ab](/[ab]){0,2}", 0_u8..4), 0..6), 1..4),
    ) {
        let entries = |layer: &Vec<(String, u8)>| -> Vec<Item> {
            layer.iter().map(|(path, kind)| match kind {
                0 => {
                    let (parent, name) = path.rsplit_once('/').map_or(("", &path[..]), |(a, b)| (a, b));
                    file(format!("{parent}/.wh.{name}").trim_start_matches('/'))
                }
                1 => file(&format!("{path}/.wh..wh..opq")),
                2 => folder(path),
                _ => file(path),
            }).collect()
        };
        let merged = merge(layers.iter().map(entries).collect());
        // The model lays nothing over a file's inside; the first layer that would is refused.
        prop_assume!(merged.is_ok() && !through_a_file(&layers));
        let plan = merged.expect("taken");
        let mut got = Model::new();
        for (place, path) in &plan.files {
            got.insert(path.display().to_string(), (Some(*place), false));
        }
        for folder in plan.folders.iter().skip(1) {
            got.insert(folder.path.display().to_string(), (None, true));
        }
        let mut want = model(&layers);
        for (place, folder) in want.values_mut() {
            if *folder { *place = None; }
        }
        prop_assert_eq!(got, want);
    }

    /// A layer's whiteouts, folders and files come to the same in any order, also where the layer below has links.
    #[test]
    fn the_order_in_a_layer_does_not_matter(
        (layer, shuffled) in proptest::sample::subsequence(
            vec!["l/", "l/.wh..wh..opq", "l/x", ".wh.l", "l/.wh.x", "u/", "u/l/", "u/l/.wh..wh..opq", "u/l/y", "u/.wh.x", "m/",
                "m/x", ".wh.m"], 0..13)
            .prop_flat_map(|names| (Just(names.clone()), Just(names).prop_shuffle())),
    ) {
        let below = || vec![folder("u"), file("u/x"), link("l", "u"), link("u/l", "../v"), file("v/y"), link("m", "v")];
        let come_to = |names: &[&str]| {
            let items = names.iter().map(|name| if name.ends_with('/') { folder(name) } else { file(name) });
            let merged = merged(vec![below(), items.collect()]);
            // Which place a file of the layer has is not asked.
            merged.into_iter().map(|line| match line.split_once(": f 1.") {
                Some((path, _)) => format!("{path}: f new"),
                None => line,
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(come_to(&layer), come_to(&shuffled));
    }

    /// Names as hostile as they come: refused or inside.
    #[test]
    fn nothing_leads_out(
        items in proptest::collection::vec(("[a./]{0,8}", 0_u8..4, "[ab./]{0,6}"), 0..12),
    ) {
        let mut merge = Merge::new(true);
        for (name, kind, to) in items {
            let taken = merge.add(match kind {
                0 => file(&name),
                1 => folder(&name),
                2 => link(&name, &to),
                _ => hard(&name, &to),
            });
            if taken.is_err() { break; }
        }
        let _ = merge.end_layer();
        let plan = merge.plan();
        let paths: Vec<PathBuf> = plan.folders.iter().chain(&plan.others)
            .map(|entry| entry.path.clone()).chain(plan.files.values().cloned()).collect();
        for path in &paths {
            let parts = names::parts(names::bytes(path));
            prop_assert!(path.as_os_str().is_empty() || parts.is_ok(), "{path:?}");
            prop_assert!(path.is_relative());
            // Whatever is packed has its folder before it.
            if let Some(parent) = path.parent() {
                prop_assert!(plan.folders.iter().any(|folder| folder.path == parent), "{path:?}");
            }
        }
    }
}
