//! Archives made for tests, entry by entry: as the programs that write them do, and as none of them would.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ramboot::build::tar_read::Reader;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

const TIME: u64 = 1_700_000_000;

/// A tar in the making.
pub(crate) struct File {
    builder: Builder<Vec<u8>>,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// A whole tar.
pub(crate) fn tar(make: impl FnOnce(&mut File)) -> Vec<u8> {
    let mut file = File {
        builder: Builder::new(Vec::new()),
        xattrs: Vec::new(),
    };
    make(&mut file);
    file.builder.into_inner().expect("written")
}

impl File {
    pub(crate) fn folder(&mut self, path: &str, mode: u32, owner: (u64, u64)) {
        self.entry(EntryType::Directory, path, mode, owner, None, b"");
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) {
        self.entry(EntryType::Regular, path, mode, owner, None, content);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(EntryType::Symlink, path, 0o777, (0, 0), Some(target), b"");
    }

    pub(crate) fn hard(&mut self, path: &str, to: &str) {
        self.entry(EntryType::Link, path, 0o755, (0, 0), Some(to), b"");
    }

    /// A record of the entry that comes.
    pub(crate) fn record(&mut self, key: &str, value: &[u8]) {
        self.xattrs.push((key.to_owned(), value.to_vec()));
    }

    pub(crate) fn fifo(&mut self, path: &str) {
        self.entry(EntryType::Fifo, path, 0o666, (0, 0), None, b"");
    }

    pub(crate) fn device(&mut self, path: &str, block: bool, (major, minor): (u32, u32)) {
        let mut header = header(
            if block {
                EntryType::Block
            } else {
                EntryType::Char
            },
            0o666,
            (0, 0),
        );
        header.set_device_major(major).expect("fits");
        header.set_device_minor(minor).expect("fits");
        self.builder
            .append_data(&mut header, path, &b""[..])
            .expect("written");
    }

    /// Of the entry that comes.
    pub(crate) fn xattr(&mut self, name: &str, value: &[u8]) {
        self.xattrs
            .push((format!("SCHILY.xattr.{name}"), value.to_vec()));
    }

    /// A name as it is, which no library would write.
    pub(crate) fn raw(&mut self, name: &str, content: &[u8]) {
        let mut header = header(EntryType::Regular, 0o644, (0, 0));
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.builder.append(&header, content).expect("written");
    }

    /// A header that promises more than comes.
    pub(crate) fn size_without_content(&mut self, name: &str, size: u64) {
        self.raw(name, b"");
        let mut header = header(EntryType::Regular, 0o644, (0, 0));
        header.set_path(name).expect("a name");
        header.set_size(size);
        header.set_cksum();
        self.builder.append(&header, &b""[..]).expect("written");
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        owner: (u64, u64),
        link: Option<&str>,
        content: &[u8],
    ) {
        let xattrs = std::mem::take(&mut self.xattrs);
        let pax = xattrs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(pax).expect("written");
        let mut header = header(kind, mode, owner);
        header.set_size(content.len() as u64);
        match link {
            Some(link) => self.builder.append_link(&mut header, path, link),
            None => self.builder.append_data(&mut header, path, content),
        }
        .expect("written");
    }
}

fn header(kind: EntryType, mode: u32, (uid, gid): (u64, u64)) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

type Xattrs = Vec<(String, Vec<u8>)>;

/// Paths of an image with their extended attributes.
pub(crate) fn entries(image: &Path) -> Vec<(String, Xattrs)> {
    let mut command = Command::new("sqfs2tar");
    let output = command
        .arg(image)
        .stderr(Stdio::inherit())
        .output()
        .expect("runs");
    let mut reader = Reader::new(&output.stdout[..]);
    let mut entries = Vec::new();
    while let Some(item) = reader.next_item().expect("read") {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let xattrs = item
            .meta
            .xattrs
            .into_iter()
            .map(|(key, value)| (text(key), value));
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).expect("read");
        entries.push((text(item.name), xattrs.collect()));
    }
    entries
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An OCI image layout.
#[derive(Default)]
pub(crate) struct Layout {
    files: BTreeMap<String, Vec<u8>>,
    manifests: Vec<String>,
}

impl Layout {
    pub(crate) fn image(&mut self, arch: &str, layers: &[Vec<u8>]) {
        let (manifest, _) = self.manifest(arch, layers);
        self.name(&manifest, "image", arch, "linux");
    }

    /// Leads to a manifest once more, as whoever tags an image twice does; `arch` with its variant.
    pub(crate) fn name(&mut self, manifest: &str, name: &str, arch: &str, os: &str) {
        let (arch, variant) = arch.split_once('/').unwrap_or((arch, ""));
        let variant = match variant {
            "" => String::new(),
            variant => format!(r#","variant":"{variant}""#),
        };
        self.manifests.push(format!(
            r#"{{{manifest},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}},"platform":{{"architecture":"{arch}"{variant},"os":"{os}"}}}}"#
        ));
    }

    /// How a manifest is led to, and itself.
    pub(crate) fn manifest(&mut self, arch: &str, layers: &[Vec<u8>]) -> (String, String) {
        let arch = arch.split('/').next().unwrap_or_default();
        let config = format!(r#"{{"architecture":"{arch}","os":"linux"}}"#);
        let config = self.blob(config.as_bytes());
        let layers: Vec<String> = layers.iter().map(|layer| self.blob(layer)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{}}}]}}"#,
            layers.join("},{")
        );
        (self.blob(manifest.as_bytes()), manifest)
    }

    /// As `skopeo copy … dir:` lays it: the manifest or the index, and all blobs beside it; manifests of an index under names
    /// of their own.
    pub(crate) fn skopeo_dir(
        &self,
        manifest: &str,
        manifests: &[String],
    ) -> Vec<(String, Vec<u8>)> {
        let blob = |(name, bytes): (&String, &Vec<u8>)| {
            let digits = name.strip_prefix("blobs/sha256/").unwrap_or(name);
            let is_manifest = manifests
                .iter()
                .any(|manifest| manifest.as_bytes() == bytes);
            let ending = if is_manifest { ".manifest.json" } else { "" };
            (format!("{digits}{ending}"), bytes.clone())
        };
        let mut files: Vec<_> = self.files.iter().map(blob).collect();
        files.push(("manifest.json".to_owned(), manifest.as_bytes().to_vec()));
        let version = b"Directory Transport Version: 1.1\n".to_vec();
        files.push(("version".to_owned(), version));
        files
    }

    pub(crate) fn index(&self) -> String {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            self.manifests.join(",")
        )
    }

    pub(crate) fn extra(&mut self, name: &str, bytes: &[u8]) {
        self.files.insert(name.to_owned(), bytes.to_vec());
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        tar(|archive| {
            archive.folder("blobs", 0o755, (0, 0));
            for (name, bytes) in self.all() {
                archive.file(&name, 0o644, (0, 0), &bytes);
            }
        })
    }

    pub(crate) fn folder(&self, folder: &Path) -> PathBuf {
        for (name, bytes) in self.all() {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        folder.to_owned()
    }

    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files.clone();
        files.insert("index.json".to_owned(), self.index().into_bytes());
        files.insert(
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        );
        files
    }

    fn blob(&mut self, bytes: &[u8]) -> String {
        let sha256 = sha256(bytes);
        self.files
            .insert(format!("blobs/sha256/{sha256}"), bytes.to_vec());
        format!(r#""digest":"sha256:{sha256}","size":{}"#, bytes.len())
    }
}

/// As `docker save` wrote it before version 25: digests are those of the layers unpacked, whatever is stored; the second layer is
/// a link.
pub(crate) fn docker_save(unpacked: &[Vec<u8>; 2], stored: &[Vec<u8>; 2]) -> Vec<u8> {
    docker_save_with(unpacked, stored, &[])
}

/// The same after other files.
pub(crate) fn docker_save_with(
    unpacked: &[Vec<u8>; 2],
    stored: &[Vec<u8>; 2],
    others: &[&str],
) -> Vec<u8> {
    let ids: Vec<String> = unpacked
        .iter()
        .map(|layer| format!("\"sha256:{}\"", sha256(layer)))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let name = sha256(config.as_bytes());
    let folders = ["a".repeat(64), "b".repeat(64), "c".repeat(64)];
    let manifest = format!(
        r#"[{{"Config":"{name}.json","RepoTags":["worker:latest"],"Layers":["{}/layer.tar","{}/layer.tar"]}}]"#,
        folders[0], folders[1]
    );
    tar(|archive| {
        for other in others {
            archive.file(other, 0o644, (0, 0), b"of no meaning");
        }
        archive.folder(&folders[0], 0o755, (0, 0));
        archive.file(
            &format!("{}/layer.tar", folders[0]),
            0o644,
            (0, 0),
            &stored[0],
        );
        archive.file(
            &format!("{}/layer.tar", folders[2]),
            0o644,
            (0, 0),
            &stored[1],
        );
        archive.link(
            &format!("{}/layer.tar", folders[1]),
            &format!("../{}/layer.tar", folders[2]),
        );
        archive.file(&format!("{name}.json"), 0o644, (0, 0), config.as_bytes());
        archive.file("manifest.json", 0o644, (0, 0), manifest.as_bytes());
    })
}
