use proptest::prelude::*;

use super::index::Texts;
use super::*;

const DEP: &str = "\
kernel/drivers/net/ethernet/realtek/r8169.ko.xz: kernel/drivers/net/phy/libphy.ko.xz
kernel/drivers/net/phy/libphy.ko.xz:
kernel/drivers/net/phy/realtek.ko.xz: kernel/drivers/net/phy/libphy.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/net_failover.ko.xz
kernel/net/core/net_failover.ko.xz:
kernel/drivers/net/usb/qmi_wwan.ko.xz:
kernel/drivers/net/wireless/ath/ath9k.ko.xz:
kernel/drivers/gpu/drm/i915.ko.xz:
kernel/fs/squashfs/squashfs.ko.xz:
kernel/fs/overlayfs/overlay.ko.xz:
kernel/lib/crc32c-intel.ko.xz:
kernel/lib/libcrc32c.ko.xz:
updates/dkms/nvidia.ko:
updates/dkms/r8125.ko: kernel/lib/libcrc32c.ko.xz
";

const TEXTS: Texts<'_> = Texts {
    dep: DEP,
    builtin: "kernel/drivers/block/loop.ko\n",
    softdep: "# Soft dependencies\nsoftdep r8169 pre: realtek post: ath9k\nsoftdep libcrc32c pre: crc32c nowhere\nsoftdep libphy pre: r8169\nsoftdep\n",
    alias: "# Aliases\nalias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nalias pci:v0000168Cd* ath9k\nalias crc32c crc32c_intel\nalias virtio:d00000001v* virtio_net\nalias fs-squashfs squashfs\nalias acpi*:A B:* virtio-net\n",
};

fn plan_of(texts: &Texts<'_>) -> Result<Plan, KmodError> {
    plan(&Index::parse(texts)?, Policy::All)
}

#[test]
fn wired_cards_and_what_they_need_in_order() {
    let plan = plan_of(&TEXTS).expect("planned");
    assert_eq!(
        plan.table.to_string(),
        "\
ramboot-modules 1
m kernel/drivers/net/phy/libphy.ko
m kernel/drivers/net/phy/realtek.ko 0
m kernel/drivers/net/ethernet/realtek/r8169.ko 0 1
m kernel/net/core/net_failover.ko
m kernel/drivers/net/virtio_net.ko 3
m kernel/fs/overlayfs/overlay.ko
m kernel/fs/squashfs/squashfs.ko
m kernel/lib/crc32c-intel.ko
m kernel/lib/libcrc32c.ko 7
m updates/dkms/r8125.ko 8
l 6
l 5
a pci:v000010ECd00008168sv*sd*bc*sc*i* 2
a virtio:d00000001v* 4
a acpi*:A B:* 4
"
    );
    assert_eq!(plan.files[0], "kernel/drivers/net/phy/libphy.ko.xz");
    assert_eq!(plan.files.len(), plan.table.modules.len());
    assert_eq!(
        ModuleTable::parse(&plan.table.to_string()).expect("/init reads it"),
        plan.table
    );
}

#[test]
fn a_pi_gets_what_a_pi_has_and_what_that_needs() {
    let dep = "\
kernel/drivers/net/ethernet/broadcom/genet/genet.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/ethernet/realtek/r8169.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/mdio/mdio-bcm-unimac.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/phy/broadcom.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/phy/libphy.ko:
kernel/drivers/net/phy/realtek.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/misc/rp1/rp1-pci.ko:
kernel/drivers/usb/dwc2/dwc2.ko: kernel/drivers/usb/core/usbcore.ko
kernel/drivers/usb/core/usbcore.ko:
kernel/fs/squashfs/squashfs.ko:
updates/dkms/r8125.ko:
";
    let texts = Texts {
        dep,
        builtin: "kernel/drivers/block/loop.ko\nkernel/fs/overlay.ko\nkernel/drivers/net/macb.ko\n",
        softdep: "softdep genet pre: mdio-bcm-unimac\n",
        alias: "",
    };
    let index = Index::parse(&texts).expect("sound");
    let plan = plan(&index, Policy::Pi).expect("planned");
    let names = plan.files.iter().map(|path| index::module_name(path));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "rp1_pci",
            "libphy",
            "mdio_bcm_unimac",
            "broadcom",
            "genet",
            "usbcore",
            "dwc2",
            "squashfs",
        ]
    );
    assert!(
        plan.table.to_string().contains("genet/genet.ko 1 2 3\n"),
        "{}",
        plan.table
    );
    for (driver, there) in [
        ("genet", true),
        ("rp1_pci", true),
        ("rp1-pci", true),
        ("macb", true),
        ("r8169", false),
        ("smsc95xx", false),
    ] {
        assert_eq!(plan.has(&index, driver), there, "{driver}");
    }
}

#[test]
fn fuse_is_loaded_where_it_is_a_module_and_missed_nowhere() {
    let module = format!("{DEP}kernel/fs/fuse/fuse.ko.xz:\n");
    let inside = format!("{}kernel/fs/fuse/fuse.ko\n", TEXTS.builtin);
    for (dep, builtin, loaded, can_stream) in [
        (DEP, TEXTS.builtin, false, false),
        (DEP, &inside, false, true),
        (&module, TEXTS.builtin, true, true),
    ] {
        let texts = Texts {
            dep,
            builtin,
            ..TEXTS
        };
        let index = Index::parse(&texts).expect("sound");
        assert_eq!(super::can_stream(&index), can_stream);
        for policy in [Policy::All, Policy::Pi] {
            let plan = plan(&index, policy).expect("planned");
            let always = plan
                .table
                .always
                .iter()
                .map(|&n| &plan.table.modules[n].path);
            let fuse = always.filter(|path| path.ends_with("/fuse.ko"));
            assert_eq!(fuse.count(), usize::from(loaded), "{policy:?}");
        }
    }
}

#[test]
fn a_kernel_that_cannot_mount_a_root_is_refused() {
    for (builtin, dep) in [
        ("", DEP.to_owned()),
        (
            TEXTS.builtin,
            DEP.replace("kernel/fs/squashfs/squashfs.ko.xz:\n", ""),
        ),
    ] {
        let dep = dep.as_str();
        let error = plan_of(&Texts {
            dep,
            builtin,
            ..TEXTS
        })
        .expect_err("refused");
        assert!(matches!(error, KmodError::RootNeeds(_)), "{error}");
    }
}

#[test]
fn lying_lines_are_named() {
    for (dep, want) in [
        (
            "/etc/passwd.ko:\n",
            "modules.dep line 1: \"/etc/passwd.ko\" is no module in this folder",
        ),
        (
            "a.ko:\nkernel/../../b.ko:\n",
            "modules.dep line 2: \"kernel/../../b.ko\" is no module in this folder",
        ),
        (
            "a.ko: ../b.ko\n",
            "modules.dep line 1: \"../b.ko\" is no module in this folder",
        ),
        (
            "a.ko: b.ko\n",
            "modules.dep line 1: a.ko needs b.ko, which is not there",
        ),
        (
            "a.ko:\na.ko:\n",
            "modules.dep line 2: a.ko stands here a second time",
        ),
        (
            "a.ko",
            "modules.dep line 1: a module, a colon and its needs are wanted",
        ),
        (
            "a.txt:\n",
            "modules.dep line 1: \"a.txt\" is no module in this folder",
        ),
    ] {
        let error = plan_of(&Texts { dep, ..TEXTS }).expect_err(dep);
        assert_eq!(error.to_string(), want);
    }
    let error = plan_of(&Texts {
        alias: "alias x\n",
        ..TEXTS
    })
    .expect_err("cut");
    assert_eq!(
        error.to_string(),
        "modules.alias line 1: \"alias\", a pattern and a module are wanted"
    );
}

#[test]
fn a_loop_is_named() {
    let dep = format!(
        "{DEP}kernel/drivers/net/phy/a.ko: kernel/x/b.ko\nkernel/x/b.ko: kernel/x/c.ko\nkernel/x/c.ko: kernel/drivers/net/phy/a.ko\n"
    );
    let error = plan_of(&Texts { dep: &dep, ..TEXTS }).expect_err("a loop");
    assert_eq!(
        error.to_string(),
        "modules.dep: kernel/drivers/net/phy/a.ko needs itself, by way of kernel/x/c.ko"
    );
}

#[test]
fn a_long_chain_needs_no_stack() {
    let mut dep = DEP.to_owned();
    for i in 0..10_000 {
        dep.push_str(&format!(
            "kernel/drivers/net/phy/m{i}.ko: kernel/drivers/net/phy/m{}.ko\n",
            i + 1
        ));
    }
    dep.push_str("kernel/drivers/net/phy/m10000.ko:\n");
    let plan = plan_of(&Texts { dep: &dep, ..TEXTS }).expect("planned");
    assert!(plan.files.len() > 10_000);
}

proptest! {
    #[test]
    fn never_panics(dep in "([a-c/.]{1,6}\\.ko: ?([a-c]\\.ko ?){0,3}\n){0,5}\\PC{0,20}", other in "(softdep |alias )?\\PC{0,60}") {
        let texts = Texts { dep: &dep, builtin: "loop.ko\nsquashfs.ko\noverlay.ko", softdep: &other, alias: &other };
        let _ = plan_of(&texts);
    }

    #[test]
    fn every_module_stands_after_its_needs(edges in proptest::collection::vec((0_usize..12, 0_usize..12), 0..30)) {
        let mut needs = vec![BTreeSet::new(); 12];
        for (a, b) in edges {
            needs[a.max(b)].insert(a.min(b));
        }
        let path = |i: usize| format!("kernel/drivers/net/phy/m{i}.ko");
        let mut dep = String::new();
        for (i, needs) in needs.iter().enumerate() {
            let needs: Vec<_> = needs.iter().filter(|&&need| need != i).map(|&need| path(need)).collect();
            dep.push_str(&format!("{}: {}\n", path(i), needs.join(" ")));
        }
        let builtin = "loop.ko\nsquashfs.ko\noverlay.ko";
        let plan = plan_of(&Texts { dep: &dep, builtin, ..Texts::default() }).expect("no loop");
        prop_assert_eq!(plan.files.len(), 12);
        for (i, module) in plan.table.modules.iter().enumerate() {
            prop_assert!(module.needs.iter().all(|&need| need < i));
        }
    }
}
