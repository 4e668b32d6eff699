//! Container images: which layers make one, in what order, and what each must hash to.
//!
//! Three forms. An OCI image layout (image-spec: image-layout.md, image-index.md, manifest.md) says `oci-layout`, and its
//! `index.json` leads by digests to manifests and layers. What `docker save` wrote before Docker 25 has a `manifest.json` with
//! paths, and digests of the unpacked layers in the config it names. Since then `docker save` writes both; then the first counts.
//! What `skopeo copy … dir:` and `podman save --format docker-dir` write has a `manifest.json` that is a manifest or an index
//! itself, with all blobs beside it. Whatever else is at the top of any of them says nothing.

mod platform;
mod saved;

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::layers::{Layer, Promise, Stored, sha256};
use super::unpack::Part;
use platform::{canonical, choose};
use saved::{Saved, saved};

/// Of any document: Docker's registries take 4 MiB for a manifest.
const MAX_JSON_BYTES: u64 = 4 << 20;
/// Indexes in indexes.
const MAX_DEPTH: usize = 4;
/// Docker itself allows 127.
const MAX_LAYERS: usize = 1000;

/// Finds what lies under a path of the layout or archive, such as `blobs/sha256/…`.
pub(super) trait Lookup {
    /// `None` if there is no such file.
    fn part(&self, path: &str) -> anyhow::Result<Option<Part>>;
}

/// A container image.
#[derive(Debug)]
pub(super) struct Image {
    /// Lowest first.
    pub(super) layers: Vec<Layer>,
    /// As OCI says it: `amd64`, `arm64`.
    pub(super) arch: Option<String>,
    /// Others that were there.
    pub(super) others: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, Default)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    os: String,
}

/// An index or a manifest: media types are optional in both, so what they have tells them apart.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: Platform,
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// What a `manifest.json` may be.
#[derive(Deserialize)]
#[serde(untagged)]
enum ManifestJson {
    Saved(Vec<Saved>),
    Dir(Document),
}

struct Candidate {
    arch: String,
    name: String,
    /// Of its manifest; empty if nothing says it.
    digest: String,
    layers: Vec<Descriptor>,
}

/// The container image that these files are, for `arch`, and what its form is called; `own` is this machine's architecture,
/// taken if there are several and none is asked for. `None`: they are none.
///
/// # Errors
/// A blob is missing or damaged, or it is not clear which image is meant.
pub(super) fn image(
    lookup: &dyn Lookup,
    arch: Option<&str>,
    own: &str,
) -> anyhow::Result<Option<(Image, &'static str)>> {
    let has = |path: &str| lookup.part(path).map(|part| part.is_some());
    if has("oci-layout")? && has("index.json")? {
        let index: Document = json(lookup, "index.json", None)?;
        return Ok(Some((
            layout(lookup, index, arch, own)?,
            "an OCI image layout",
        )));
    }
    if !has("manifest.json")? {
        return Ok(None);
    }
    // A web application has one, too.
    Ok(match json(lookup, "manifest.json", None) {
        Ok(ManifestJson::Saved(images)) if !images.is_empty() => {
            Some((saved(lookup, images, arch)?, "an archive of docker save"))
        }
        Ok(ManifestJson::Dir(document))
            if document.manifests.is_some() || document.layers.is_some() =>
        {
            let image = layout(&Beside(lookup), document, arch, own)?;
            Some((image, "an image of skopeo's dir: form"))
        }
        _ => None,
    })
}

/// Blobs beside the manifest, by the digits of their digests (containers/image: `directory/directory_transport.go`).
struct Beside<'a>(&'a dyn Lookup);

impl Lookup for Beside<'_> {
    fn part(&self, path: &str) -> anyhow::Result<Option<Part>> {
        let Some(digits) = path.strip_prefix(BLOBS) else {
            return self.0.part(path);
        };
        match self.0.part(digits)? {
            // Of an index, each manifest.
            None => self.0.part(&format!("{digits}.manifest.json")),
            found => Ok(found),
        }
    }
}

const BLOBS: &str = "blobs/sha256/";

/// The image for `arch` that an index or a manifest leads to.
fn layout(
    lookup: &dyn Lookup,
    top: Document,
    arch: Option<&str>,
    own: &str,
) -> anyhow::Result<Image> {
    let mut candidates = Vec::new();
    if let Some(manifests) = &top.manifests {
        for descriptor in manifests {
            gather(lookup, descriptor, "", 0, &mut candidates)?;
        }
    } else {
        let layers = top.layers.context("index.json has no manifests")?;
        let platform = platform(lookup, None, top.config.as_ref())?;
        candidates.extend(candidate(platform, String::new(), String::new(), layers));
    }
    let archs: Vec<String> = candidates.iter().map(|one| one.arch.clone()).collect();
    let chosen = choose(&archs, arch, own)?;
    let mut same: Vec<Candidate> = candidates
        .into_iter()
        .filter(|one| one.arch == chosen)
        .collect();
    let one = same.pop().context("index.json names no image")?;
    if !same.is_empty() {
        let names: Vec<&str> = same.iter().chain([&one]).map(|one| &one.name[..]).collect();
        bail!(
            "{} images are in it ({}); save one alone",
            names.len(),
            names.join(", ")
        );
    }
    let mut others: Vec<String> = archs.into_iter().filter(|arch| *arch != chosen).collect();
    others.sort_unstable();
    others.dedup();
    ensure!(
        one.layers.len() <= MAX_LAYERS,
        "more than {MAX_LAYERS} layers"
    );
    let layers = one.layers.iter().enumerate().map(|(number, descriptor)| {
        let sha256 = hex(&descriptor.digest)?;
        let part = blob(lookup, descriptor)?;
        Ok(Layer {
            name: format!("layer {} (sha256:{:.12})", number + 1, sha256),
            stored: Stored::Part(part),
            promise: Some(Promise {
                sha256: sha256.to_owned(),
                unpacked: false,
            }),
        })
    });
    Ok(Image {
        layers: layers.collect::<anyhow::Result<_>>()?,
        arch: Some(chosen).filter(|arch| !arch.is_empty()),
        others,
    })
}

/// Images below a descriptor, in order.
fn gather(
    lookup: &dyn Lookup,
    descriptor: &Descriptor,
    above: &str,
    depth: usize,
    candidates: &mut Vec<Candidate>,
) -> anyhow::Result<()> {
    ensure!(
        depth < MAX_DEPTH,
        "indexes lie {MAX_DEPTH} deep in each other"
    );
    let annotation = |key: &str| descriptor.annotations.get(key).cloned();
    // What BuildKit adds beside an image to tell how it was made.
    if annotation("vnd.docker.reference.type").as_deref() == Some("attestation-manifest") {
        return Ok(());
    }
    let name = annotation("io.containerd.image.name")
        .or_else(|| annotation("org.opencontainers.image.ref.name"))
        .unwrap_or_else(|| above.to_owned());
    let document: Document = json(lookup, "", Some(descriptor))?;
    if let Some(manifests) = &document.manifests {
        for inside in manifests {
            // An index names images that were not saved with it.
            if blob(lookup, inside).is_ok() {
                gather(lookup, inside, &name, depth + 1, candidates)?;
            }
        }
        return Ok(());
    }
    let layers = document.layers.context("a manifest has no layers")?;
    let known = descriptor.platform.as_ref();
    let platform = platform(lookup, known, document.config.as_ref())?;
    let Some(one) = candidate(platform, name, descriptor.digest.clone(), layers) else {
        return Ok(());
    };
    // The same manifest under two names is one image.
    let is_it = |other: &Candidate| other.digest == one.digest && other.arch == one.arch;
    if candidates.iter().any(is_it) {
        return Ok(());
    }
    ensure!(
        candidates.len() < MAX_LAYERS,
        "more than {MAX_LAYERS} images are in it"
    );
    candidates.push(one);
    Ok(())
}

/// For what an image is: its index says it, or its config.
fn platform(
    lookup: &dyn Lookup,
    known: Option<&Platform>,
    config: Option<&Descriptor>,
) -> anyhow::Result<Platform> {
    let known = known.cloned().unwrap_or_default();
    match config {
        Some(config) if known.architecture.is_empty() && known.os != "unknown" => {
            Ok(json::<Config>(lookup, "", Some(config))?.platform)
        }
        _ => Ok(known),
    }
}

/// `None` of what Linux does not run: Windows, and what is no image at all.
fn candidate(
    platform: Platform,
    name: String,
    digest: String,
    layers: Vec<Descriptor>,
) -> Option<Candidate> {
    let arch = canonical(&platform.architecture, &platform.variant);
    matches!(&platform.os[..], "" | "linux").then_some(Candidate {
        arch,
        name,
        digest,
        layers,
    })
}

/// A blob by its digest.
fn blob(lookup: &dyn Lookup, descriptor: &Descriptor) -> anyhow::Result<Part> {
    let path = format!("{BLOBS}{}", hex(&descriptor.digest)?);
    let part = lookup.part(&path)?;
    let part = part.with_context(|| format!("{path} is missing"))?;
    ensure!(
        part.length == descriptor.size || descriptor.size == 0,
        "{path} has {} bytes, and the manifest says {}",
        part.length,
        descriptor.size
    );
    Ok(part)
}

/// The digits of `sha256:…`, so that nothing else gets into a path.
fn hex(digest: &str) -> anyhow::Result<&str> {
    let digits = digest.strip_prefix("sha256:").filter(|digits| {
        digits.len() == 64
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    digits.with_context(|| {
        let digest: String = digest.chars().take(80).collect();
        format!("{digest:?} is not a digest of the form sha256:…, the only one that is known")
    })
}

/// A document under a path, or that of a descriptor, whose digest is checked.
fn json<T: DeserializeOwned>(
    lookup: &dyn Lookup,
    path: &str,
    descriptor: Option<&Descriptor>,
) -> anyhow::Result<T> {
    let (part, path) = match descriptor {
        Some(descriptor) => (blob(lookup, descriptor)?, descriptor.digest.as_str()),
        None => {
            let part = lookup.part(path)?;
            (part.with_context(|| format!("{path} is missing"))?, path)
        }
    };
    let reading = || format!("reading {path}");
    ensure!(
        part.length <= MAX_JSON_BYTES,
        "{path} has {} bytes; at most {MAX_JSON_BYTES} are read",
        part.length
    );
    let mut bytes = Vec::new();
    part.clone()
        .take(MAX_JSON_BYTES)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if let Some(descriptor) = descriptor {
        let sha256 = sha256(&mut &bytes[..]).with_context(reading)?;
        ensure!(
            hex(&descriptor.digest)? == sha256,
            "{path} is damaged: its SHA-256 is {sha256}"
        );
    }
    serde_json::from_slice(&bytes).with_context(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_gets_into_a_path() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(hex(&format!("sha256:{digits}")).ok(), Some(&digits[..]));
        for bad in ["", "sha256:", "sha256:../../etc", "sha512:00", &digits] {
            assert!(hex(bad).is_err(), "{bad}");
        }
    }
}
