//! A container image in the OCI layout, as one tar: the whole tree in one layer, and one that takes away, replaces and adds.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::tree::{Attributes, Tree, put};
use crate::process::run;

/// Writes it; what is in a worker that is made of it.
pub(super) fn write(below: &Path, tree: &Tree, to: &Path) -> Result<Tree> {
    let mut tree = tree.clone();
    let above = to.with_extension("layer");
    write_layer(&mut tree, &above)?;
    run("gzip", &["--force", "--suffix=.gz", shown(&above)?])?;
    let above = above.with_extension("layer.gz");

    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let mut layout = Builder::new(File::create(to)?);
    add(
        &mut layout,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    let config = blob(&mut layout, CONFIG, config.to_string().as_bytes())?;
    let layers = [(below, "tar"), (&above, "tar+gzip")];
    let layers = layers.map(|(path, form)| layer(&mut layout, path, &format!("{LAYER}.{form}")));
    let [below, above] = layers;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [below?, above?],
    });
    let mut manifest = blob(&mut layout, MANIFEST, manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    add(&mut layout, "index.json", index.to_string().as_bytes())?;
    layout.into_inner()?.flush()?;
    Ok(tree)
}

/// The layer above: a file and all of a folder are gone, a file is another, one is new.
fn write_layer(tree: &mut Tree, to: &Path) -> Result<()> {
    let mut layer = Builder::new(File::create(to)?);
    let mut marks = Tree::default();
    let none = Attributes::new;
    for mark in ["opt/kept/.wh.pipe", "usr/share/doc/.wh..wh..opq"] {
        put(
            &mut layer,
            &mut marks,
            mark,
            header(EntryType::Regular, 0o644, 0),
            None,
            none(),
            b"",
        )?;
    }
    tree.0
        .retain(|path, _| path != "/opt/kept/pipe" && !path.starts_with("/usr/share/doc/"));
    let folder = header(EntryType::Directory, 0o755, 0);
    put(&mut layer, tree, "usr/share/doc", folder, None, none(), b"")?;
    for (path, content) in [
        ("usr/share/doc/new", "new"),
        ("opt/kept/large-owner", "another"),
    ] {
        let file = header(EntryType::Regular, 0o600, content.len());
        put(
            &mut layer,
            tree,
            path,
            file,
            None,
            none(),
            content.as_bytes(),
        )?;
    }
    layer.into_inner()?.flush()?;
    Ok(())
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size as u64);
    header
}

/// A layer from a file, and its descriptor.
fn layer(layout: &mut Builder<File>, path: &Path, media_type: &str) -> Result<Value> {
    let sum = run("sha256sum", &[shown(path)?])?;
    let digest = sum.split(' ').next().context("a digest")?;
    let size = fs::metadata(path)?.len();
    let mut file = File::open(path)?;
    layout.append_file(format!("blobs/sha256/{digest}"), &mut file)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size }))
}

/// A blob from memory, and its descriptor.
fn blob(layout: &mut Builder<File>, media_type: &str, content: &[u8]) -> Result<Value> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), content)?;
    layer(layout, file.path(), media_type)
}

fn add(layout: &mut Builder<File>, path: &str, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, 0o644, content.len());
    layout.append_data(&mut header, path, content)?;
    Ok(())
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1";
