//! Container images in forms that are easily taken for something else, and what is no root file system at all.

use std::fs;
use std::path::Path;

use crate::archives::{self, Layout, docker_save_with, tar};
use crate::{Bench, content, paths, two_layers};

/// Of [`two_layers`].
fn is_the_image(bench: &Bench, source: &Path, more: &[&str]) {
    let (image, said) = bench.build(source, "image.sqfs", more);
    assert!(said.contains("2 layers for amd64"), "{said}");
    assert_eq!(content(&image, "etc/passwd"), "new");
    let got = paths(&image);
    assert!(got.contains(&"usr/lib/through".to_owned()), "{got:?}");
    assert!(!got.contains(&"manifest.json".to_owned()), "{got:?}");
}

fn unpacked(bench: &Bench, archive: &Path, folder: &str) -> std::path::PathBuf {
    let folder = bench.path(folder);
    fs::create_dir(&folder).expect("made");
    let mut command = std::process::Command::new("tar");
    command.arg("-xf").arg(archive).arg("-C").arg(&folder);
    assert!(command.status().expect("tar runs").success());
    folder
}

#[test]
fn other_names_at_the_top_do_not_hide_a_container_image() {
    let bench = Bench::new();
    let layers = two_layers();
    // Jib's config, a Mac's leavings, notes, and what looks like a root.
    let others = ["config.json", ".DS_Store", "README", "bin", "usr/x"];
    for many in [&others[..1], &others[1..2], &others[2..3], &others] {
        let saved = docker_save_with(&layers, &layers, many);
        is_the_image(&bench, &bench.write("saved.tar", saved), &[]);
        let mut layout = Layout::default();
        layout.image("amd64", &layers);
        for other in many {
            layout.extra(other, b"of no meaning");
        }
        is_the_image(&bench, &bench.write("oci.tar", layout.archive()), &[]);
    }
    // And unpacked by hand.
    let saved = bench.write(
        "saved.tar",
        docker_save_with(&layers, &layers, &others[..3]),
    );
    is_the_image(&bench, &unpacked(&bench, &saved, "saved"), &[]);
}

/// A web application's manifest (W3C "Web Application Manifest") is a file like any other.
#[test]
fn a_root_may_have_a_manifest_json_of_its_own() {
    let bench = Bench::new();
    for text in ["{\"name\":\"app\",\"icons\":[]}", "[]", "[1]", "not JSON"] {
        let source = tar(|archive| {
            archive.folder("usr", 0o755, (0, 0));
            archive.file("manifest.json", 0o644, (0, 0), text.as_bytes());
        });
        let (image, said) = bench.build(&bench.write("source", source), "image.sqfs", &[]);
        assert!(said.contains("made of a tar with"), "{said}");
        assert_eq!(content(&image, "manifest.json"), text);
    }
}

#[test]
fn what_skopeo_and_podman_lay_into_a_folder_is_read() {
    let bench = Bench::new();
    let layers = two_layers();
    let mut layout = Layout::default();
    let (descriptor, manifest) = layout.manifest("amd64", &layers);
    let files = layout.skopeo_dir(&manifest, &[]);
    for (name, bytes) in &files {
        bench.write(&format!("dir/{name}"), bytes);
    }
    is_the_image(&bench, &bench.path("dir"), &[]);
    let as_tar = tar(|archive| {
        for (name, bytes) in &files {
            archive.file(name, 0o644, (0, 0), bytes);
        }
    });
    is_the_image(&bench, &bench.write("dir.tar", as_tar), &[]);

    // `skopeo copy --all`: an index, and the manifests beside it.
    let other = vec![tar(|archive| archive.folder("usr", 0o755, (0, 0)))];
    let (arm, arm_manifest) = layout.manifest("arm64", &other);
    layout.name(&descriptor, "x", "amd64", "linux");
    layout.name(&arm, "x", "arm64", "linux");
    let manifests = [manifest, arm_manifest];
    for (name, bytes) in layout.skopeo_dir(&layout.index(), &manifests) {
        bench.write(&format!("all/{name}"), bytes);
    }
    is_the_image(&bench, &bench.path("all"), &["--arch", "amd64"]);

    let layer = archives::sha256(&layers[0]);
    bench.write(&format!("dir/{layer}"), "other");
    let said = bench.refused(&bench.path("dir"), &[]);
    assert!(
        said.contains("has 5 bytes, and the manifest says"),
        "{said}"
    );
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    let bench = Bench::new();
    let empty = bench.path("empty");
    fs::create_dir(&empty).expect("made");
    let said = bench.refused(&empty, &[]);
    assert!(said.contains("it is empty, so it is not a root"), "{said}");
    let said = bench.refused(&bench.write("empty.tar", [0; 10_240]), &[]);
    assert!(said.contains("it is empty, so it is not a root"), "{said}");

    bench.write("outer/rootfs/usr/bin/sh", "");
    let said = bench.refused(&bench.path("outer"), &[]);
    assert!(said.contains("only rootfs."), "{said}");
    assert!(
        said.contains("tar --xattrs -C rootfs -cf root.tar ."),
        "{said}"
    );

    // What containerd and ostree keep, a modules package, a Windows program.
    for names in [&["config", "objects", "refs"][..], &["a.exe", "b.dll"]] {
        let source = tar(|archive| {
            for name in names {
                archive.file(name, 0o644, (0, 0), b"x");
            }
        });
        let said = bench.refused(&bench.write("source", source), &[]);
        let want = format!("At its top are: {}.", names.join(", "));
        assert!(said.contains(&want), "{said}");
    }
    let appliance = tar(|archive| {
        archive.file("vm.ovf", 0o644, (0, 0), b"x");
        archive.file("vm-disk1.vmdk", 0o644, (0, 0), b"KDMV");
    });
    let said = bench.refused(&bench.write("vm.ova", appliance), &[]);
    assert!(said.contains("qemu-img convert -O raw"), "{said}");
}

#[test]
fn one_manifest_under_two_names_is_one_image() {
    let bench = Bench::new();
    let layers = two_layers();
    let mut layout = Layout::default();
    let (manifest, _) = layout.manifest("amd64", &layers);
    layout.name(&manifest, "worker:1", "amd64", "linux");
    layout.name(&manifest, "worker:latest", "amd64", "linux");
    // Neither Linux nor anything at all.
    let other = tar(|archive| archive.folder("Windows", 0o755, (0, 0)));
    let (windows, _) = layout.manifest("amd64", &[other]);
    layout.name(&windows, "worker:1", "amd64", "windows");
    layout.name(&windows, "worker:1", "unknown", "unknown");
    let source = layout.folder(&bench.path("oci"));
    is_the_image(&bench, &source, &[]);
    is_the_image(&bench, &source, &["--arch", "amd64"]);
}

/// image-spec, image-index.md: `variant`; the names are those of containerd's platforms.
#[test]
fn a_variant_is_asked_for_after_a_slash() {
    let bench = Bench::new();
    let mut layout = Layout::default();
    for arch in ["amd64", "amd64/v2", "arm/v7", "arm64/v8"] {
        let name = format!("usr/{}", arch.replace('/', "-"));
        let layer = tar(|archive| archive.file(&name, 0o644, (0, 0), b"x"));
        layout.image(arch, &[layer]);
    }
    let source = layout.folder(&bench.path("oci"));
    for (arch, file) in [
        ("amd64/v2", "usr/amd64-v2"),
        ("amd64", "usr/amd64"),
        ("arm/v7", "usr/arm-v7"),
        ("armhf", "usr/arm-v7"),
        ("arm64/v8", "usr/arm64-v8"),
        ("aarch64", "usr/arm64-v8"),
    ] {
        let (image, _) = bench.build(&source, "image.sqfs", &["--arch", arch]);
        assert_eq!(paths(&image), ["usr", file], "{arch}");
    }
    let said = bench.refused(&source, &["--arch", "amd64/v3"]);
    let want = "no image for amd64/v3 in it, only for amd64, amd64/v2, arm/v7, arm64";
    assert!(said.contains(want), "{said}");
}

#[test]
fn a_layer_may_stop_where_its_content_does_if_its_digest_holds() {
    let bench = Bench::new();
    let whole = tar(|archive| {
        archive.folder("usr", 0o755, (0, 0));
        archive.file("usr/last", 0o644, (0, 0), b"content");
    });
    let at = whole.windows(7).position(|bytes| bytes == b"content");
    let cut = whole[..at.expect("there") + 7].to_vec();
    let mut layout = Layout::default();
    layout.image("amd64", std::slice::from_ref(&cut));
    let (image, _) = bench.build(&layout.folder(&bench.path("oci")), "image.sqfs", &[]);
    assert_eq!(content(&image, "usr/last"), "content");
    // Nothing vouches for a tar of its own.
    let said = bench.refused(&bench.write("cut.tar", cut), &[]);
    assert!(said.contains("ends without the mark of its end"), "{said}");
}

#[test]
fn an_opaque_folder_does_not_empty_what_a_lower_link_leads_to() {
    let bench = Bench::new();
    let below = tar(|archive| {
        archive.file("usr/lib/kept", 0o644, (0, 0), b"x");
        archive.link("lib", "usr/lib");
    });
    let parts: [fn(&mut archives::File); 3] = [
        |archive| archive.folder("lib", 0o755, (0, 0)),
        |archive| archive.file("lib/.wh..wh..opq", 0o644, (0, 0), b""),
        |archive| archive.file("lib/new", 0o644, (0, 0), b"x"),
    ];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
        let above = tar(|archive| order.iter().for_each(|part| parts[*part](archive)));
        let mut layout = Layout::default();
        layout.image("amd64", &[below.clone(), above]);
        let folder = format!("oci-{}{}{}", order[0], order[1], order[2]);
        let (image, _) = bench.build(&layout.folder(&bench.path(&folder)), "image.sqfs", &[]);
        let mut got = paths(&image);
        got.sort();
        let want = ["lib", "lib/new", "usr", "usr/lib", "usr/lib/kept"];
        assert_eq!(got, want, "{order:?}");
    }
}
