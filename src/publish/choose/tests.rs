use proptest::prelude::*;

use super::*;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Kernels by path and what they say ("" is nothing), and versions that have modules.
fn facts(kernels: &[(&str, &str)], modules: &[&str]) -> Facts {
    let kernel = |&(path, says): &(&str, &str)| Candidate {
        path: path.to_owned(),
        says: Some(says.to_owned()).filter(|says| !says.is_empty()),
    };
    Facts {
        kernels: kernels.iter().map(kernel).collect(),
        base: "/lib/modules".to_owned(),
        modules: strings(modules),
        ..Facts::default()
    }
}

fn chosen(facts: &Facts) -> (String, String) {
    let choice = choose(facts).expect("a kernel");
    (choice.path, choice.version)
}

#[test]
fn the_newest_kernel_with_modules_whatever_its_name() {
    for (kernels, modules, path, version) in [
        (
            &[
                ("/boot/vmlinuz-6.9", "6.9"),
                ("/boot/vmlinuz-6.10", "6.10"),
                ("/boot/vmlinuz-6.11", "6.11"),
            ][..],
            &["6.9", "6.10", "6.12"][..],
            "/boot/vmlinuz-6.10",
            "6.10",
        ),
        // Alpine.
        (
            &[("/boot/vmlinuz-lts", "6.6.58-0-lts")],
            &["6.6.58-0-lts"],
            "/boot/vmlinuz-lts",
            "6.6.58-0-lts",
        ),
        // Gentoo, Yocto.
        (
            &[("/boot/kernel-6.6.47-gentoo", "6.6.47-gentoo")],
            &["6.6.47-gentoo"],
            "/boot/kernel-6.6.47-gentoo",
            "6.6.47-gentoo",
        ),
        (
            &[("/boot/bzImage-6.6.21-yocto-standard", "")],
            &["6.6.21-yocto-standard"],
            "/boot/bzImage-6.6.21-yocto-standard",
            "6.6.21-yocto-standard",
        ),
        (&[("/boot/Image", "")], &["6.6.21"], "/boot/Image", "6.6.21"),
        (
            &[("/boot/vmlinuz", "6.10.2")],
            &["6.9.1", "6.10.2"],
            "/boot/vmlinuz",
            "6.10.2",
        ),
        // Fedora, Arch: the file beside its modules, and a link to it or a copy of it in /boot.
        (
            &[(
                "/usr/lib/modules/6.9.5-200.fc40.x86_64/vmlinuz",
                "6.9.5-200.fc40.x86_64",
            )],
            &["6.9.5-200.fc40.x86_64"],
            "/usr/lib/modules/6.9.5-200.fc40.x86_64/vmlinuz",
            "6.9.5-200.fc40.x86_64",
        ),
        (
            &[
                ("/usr/lib/modules/6.9/vmlinuz", "6.9"),
                ("/boot/vmlinuz.old", "6.9"),
                ("/boot/vmlinuz-6.9", "6.9"),
            ],
            &["6.9"],
            "/boot/vmlinuz-6.9",
            "6.9",
        ),
        // memtest86+: the header of a kernel, and no version.
        (
            &[
                ("/boot/memtest86+x64.bin", ""),
                ("/usr/lib/modules/6.9/vmlinuz", "6.9"),
            ],
            &["6.9"],
            "/usr/lib/modules/6.9/vmlinuz",
            "6.9",
        ),
        // Its file counts and not its name, if there are modules for both.
        (
            &[("/boot/vmlinuz-6.9", "6.8")],
            &["6.8", "6.9"],
            "/boot/vmlinuz-6.9",
            "6.8",
        ),
        // There are none for what it says: a check refuses it with both.
        (
            &[("/boot/vmlinuz-6.9", "6.8")],
            &["6.9"],
            "/boot/vmlinuz-6.9",
            "6.9",
        ),
    ] {
        let want = (path.to_owned(), version.to_owned());
        assert_eq!(chosen(&facts(kernels, modules)), want, "{kernels:?}");
    }
}

#[test]
fn of_one_release_the_one_that_the_image_names() {
    let versions = [
        "6.1.0-56-amd64",
        "6.1.0-56-cloud-amd64",
        "6.1.0-56-rt-amd64",
        "6.1.0-9-amd64",
    ];
    let paths = versions.map(|version| format!("/boot/vmlinuz-{version}"));
    let kernels: Vec<_> = paths.iter().map(String::as_str).zip(versions).collect();
    let all = facts(&kernels, &versions);
    let plainest = choose(&all).expect("a kernel");
    assert_eq!(plainest.version, versions[0]);
    let others = (strings(&versions[1..3]), Why::Plainest);
    assert_eq!(plainest.instead_of, Some(others));
    for (index, why, facts) in [
        (
            2,
            Why::Linked,
            Facts {
                linked: Some(paths[2].clone()),
                ..all.clone()
            },
        ),
        (
            1,
            Why::Package,
            Facts {
                packages: strings(&versions[1..2]),
                ..all.clone()
            },
        ),
        // A package of an older release does not hold it back.
        (
            0,
            Why::Plainest,
            Facts {
                packages: strings(&versions[3..]),
                linked: Some(paths[3].clone()),
                ..all.clone()
            },
        ),
    ] {
        let choice = choose(&facts).expect("a kernel");
        assert_eq!(choice.version, versions[index]);
        assert_eq!(choice.instead_of.map(|(_, why)| why), Some(why));
    }
    let old = Facts {
        wanted: Some(versions[3].to_owned()),
        ..all.clone()
    };
    assert_eq!(chosen(&old).1, versions[3]);
    let absent = Facts {
        wanted: Some("7".to_owned()),
        ..all
    };
    let error = choose(&absent).expect_err("none").to_string();
    assert!(
        error.starts_with("no kernel 7 with modules in the image; it has 6.1.0-56-amd64, "),
        "{error}"
    );
    // Raspberry Pi OS: 2712 is for the Pi 5 only, v8 for all.
    let pi = ["6.6.31+rpt-rpi-2712", "6.6.31+rpt-rpi-v8"];
    let paths = pi.map(|version| format!("/boot/vmlinuz-{version}"));
    let kernels: Vec<_> = paths.iter().map(|path| (path.as_str(), "")).collect();
    let both = facts(&kernels, &pi);
    assert_eq!(chosen(&both).1, pi[1]);
    let last_configured = Facts {
        linked: Some(paths[0].clone()),
        packages: strings(&pi),
        ..both
    };
    assert_eq!(chosen(&last_configured).1, pi[1]);
}

#[test]
fn a_release_ends_where_words_begin() {
    for (version, want) in [
        ("6.1.0-56-rt-amd64", "6.1.0-56"),
        ("6.6.31+rpt-rpi-v8", "6.6.31"),
        ("6.12-rc3-amd64", "6.12-rc3"),
        ("6.9.5-200.fc40.x86_64+debug", "6.9.5-200.fc40.x86_64"),
        ("6.6.58-0-lts", "6.6.58-0"),
        ("6.8", "6.8"),
        ("-", "-"),
    ] {
        assert_eq!(release(version), want);
    }
}

#[test]
fn packages_that_follow_the_newest_kernel_name_it() {
    let status = "Package: linux-image-6.1.0-9-amd64\nStatus: install ok installed\nDepends: kmod, linux-base\n\n\
        Package: linux-image-amd64\nStatus: install ok installed\nVersion: 6.1.170-1\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.170-1)\n\n\
        Package: linux-image-rt-amd64\nStatus: deinstall ok config-files\nDepends: linux-image-6.1.0-56-rt-amd64 (= 6.1.170-1)\n";
    assert_eq!(packages(status), ["6.1.0-56-amd64"]);
    assert!(packages("").is_empty());
}

#[test]
fn what_is_missing_is_said() {
    let said = |kernels, modules, unindexed| {
        let facts = Facts {
            unindexed: strings(unindexed),
            ..facts(kernels, modules)
        };
        choose(&facts).expect_err("none").to_string()
    };
    let error = said(&[], &[], &[]);
    assert!(
        error.starts_with("no kernel in the image: expected one in /boot"),
        "{error}"
    );
    let kernels = &[("/boot/vmlinuz-6.1", "6.1"), ("/boot/vmlinuz-6.2", "6.2")][..];
    let error = said(kernels, &["6.3"], &["6.4"]);
    assert!(
        error.contains("there are 6.1, 6.2, but modules 6.3; install"),
        "{error}"
    );
    let error = said(kernels, &[], &[]);
    assert!(
        error.contains("there are 6.1, 6.2, but modules none"),
        "{error}"
    );
    let kernels = &[("/boot/vmlinuz-6.9", "6.9"), ("/boot/vmlinuz-6.10", "6.10")][..];
    let error = said(kernels, &[], &["6.9", "6.10"]);
    assert!(
        error.contains("/lib/modules/6.10 has no modules.dep; run depmod -b ROOT 6.10"),
        "{error}"
    );
}

proptest! {
    /// Whatever there is: a kernel that is chosen has modules, and none of them is newer.
    #[test]
    fn what_is_chosen_has_modules_and_is_the_newest(
        kernels in prop::collection::vec(("[a-z]{1,3}", "[5-6]\\.[0-9](-(rt|amd64|rc1))?"), 0..5),
        modules in prop::collection::vec("[5-6]\\.[0-9](-(rt|amd64|rc1))?", 0..5),
        status in "\\PC{0,60}",
    ) {
        let paths: Vec<String> = kernels.iter().map(|(name, _)| format!("/boot/{name}")).collect();
        let kernels: Vec<(&str, &str)> = paths.iter().map(String::as_str).zip(kernels.iter().map(|(_, says)| says.as_str())).collect();
        let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
        let facts = Facts { packages: packages(&status), ..facts(&kernels, &modules) };
        let fit: Vec<&str> = kernels.iter().map(|(_, says)| *says).filter(|says| modules.contains(says)).collect();
        match choose(&facts) {
            Ok(choice) => {
                prop_assert!(fit.contains(&choice.version.as_str()));
                prop_assert!(fit.iter().all(|other| compare(release(&choice.version), release(other)).is_ge()));
            }
            Err(_) => prop_assert!(fit.is_empty()),
        }
    }
}
