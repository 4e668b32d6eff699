//! What `docker save` wrote before Docker 25, and Jib, Kaniko, crane and podman write.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::platform::{canonical, choose};
use super::{Config, Image, Lookup, MAX_LAYERS, hex, json};
use crate::build::layers::{Layer, Promise, Stored};

/// An image of `manifest.json`: its config, its names and the paths of its layers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The image in an archive of `docker save`, as it was before Docker 25.
pub(super) fn saved(
    lookup: &dyn Lookup,
    mut images: Vec<Saved>,
    asked: Option<&str>,
) -> anyhow::Result<Image> {
    images.dedup_by(|one, other| one.config == other.config && one.layers == other.layers);
    let [image] = &images[..] else {
        let names = images.iter().filter_map(|image| image.repo_tags.clone());
        let names: Vec<String> = names.flatten().collect();
        bail!(
            "{} images are in it ({}); save one alone",
            images.len(),
            names.join(", ")
        );
    };
    let config: Config = json(lookup, &image.config, None)?;
    let arch = canonical(&config.platform.architecture, &config.platform.variant);
    if let Some(asked) = asked {
        choose(std::slice::from_ref(&arch), Some(asked), "")?;
    }
    let diff_ids = config.rootfs.map_or(Vec::new(), |rootfs| rootfs.diff_ids);
    ensure!(
        diff_ids.len() == image.layers.len() && diff_ids.len() <= MAX_LAYERS,
        "{} has digests of {} layers, manifest.json has {} layers",
        image.config,
        diff_ids.len(),
        image.layers.len()
    );
    let layers = image.layers.iter().zip(&diff_ids).map(|(path, diff_id)| {
        let part = lookup.part(path)?;
        Ok(Layer {
            name: format!("layer {path}"),
            stored: Stored::Part(part.with_context(|| format!("the layer {path} is missing"))?),
            promise: Some(Promise {
                sha256: hex(diff_id)?.to_owned(),
                unpacked: true,
            }),
        })
    });
    Ok(Image {
        layers: layers.collect::<anyhow::Result<_>>()?,
        arch: Some(arch).filter(|arch| !arch.is_empty()),
        others: Vec::new(),
    })
}
