//! What a SOURCE is, told by its content and never by its name.

use std::fs::{self, File};
use std::io::{Read, stdin};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::entry::Sink;
use super::layers::{Layer, Layers, Stored};
use super::lookup::{InFolder, InTar};
use super::oci::{self, Image};
use super::outline::Outline;
use super::tar_read::is_tar;
use super::unpack::{Packing, Part, to_file};
use super::{disk, folder, foreign, iso};

/// Where entries come from.
#[derive(Debug)]
pub(super) struct Source {
    what: What,
    /// For the summary: `a folder`, `a tar (xz)`.
    pub(super) kind: String,
    /// Of a container image.
    pub(super) arch: Option<String>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
enum What {
    Folder(PathBuf),
    Layers(Layers),
    Disk(Disk),
}

#[derive(Debug)]
struct Disk {
    /// Of an image that was packed, one without a name.
    file: Arc<File>,
    partition: Option<u32>,
    /// Where temporary files go.
    folder: PathBuf,
    /// What it is called, once it is unpacked.
    name: PathBuf,
}

impl Disk {
    fn read(&self, sink: &mut dyn Sink) -> anyhow::Result<Vec<String>> {
        let file = self.file.try_clone().context("opening the disk image")?;
        let options = disk::Options {
            partition: self.partition,
            folder: Some(&self.folder),
        };
        disk::read(file, &self.name, options, sink, &mut |_| {})
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// As the user wrote it; `-` is the standard input.
    pub(super) source: &'a Path,
    /// For which machine, if a container image is for several.
    pub(super) arch: Option<&'a str>,
    /// The root's partition on a disk, if it is not clear.
    pub(super) partition: Option<u32>,
    /// Where temporary files go.
    pub(super) folder: &'a Path,
}

impl Source {
    /// Opens it and, of an archive, reads all that is not content.
    ///
    /// # Errors
    /// It is none of the known kinds, damaged, or hostile.
    pub(super) fn open(wish: Wish<'_>) -> anyhow::Result<Self> {
        let path = wish.source;
        let shown = path.display();
        if path == Path::new("-") {
            // Read twice, which a pipe cannot be.
            let file = to_file(&mut stdin().lock(), wish.folder)?;
            return Self::file(Part::whole(file)?, wish)
                .with_context(|| "reading the standard input");
        }
        let about = fs::metadata(path).with_context(|| format!("opening {shown}"))?;
        if about.is_dir() {
            return Self::folder(wish).with_context(|| format!("reading {shown}"));
        }
        ensure!(
            about.is_file(),
            "{shown} is neither a file nor a folder: {KNOWN}"
        );
        let file = File::open(path).with_context(|| format!("opening {shown}"))?;
        Self::file(Part::whole(file)?, wish).with_context(|| format!("reading {shown}"))
    }

    fn folder(wish: Wish<'_>) -> anyhow::Result<Self> {
        let path = wish.source;
        if let Some((image, form)) = oci::image(&InFolder(path), wish.arch, std::env::consts::ARCH)?
        {
            return Self::image(image, form);
        }
        // The image would grow by itself.
        let inside = fs::canonicalize(wish.folder)?.starts_with(fs::canonicalize(path)?);
        ensure!(
            !inside,
            "the image would lie in the folder it is made of: give another one with -o"
        );
        Ok(Self {
            what: What::Folder(path.to_owned()),
            kind: "a folder".to_owned(),
            arch: None,
            notes: Vec::new(),
        })
    }

    fn file(part: Part, wish: Wish<'_>) -> anyhow::Result<Self> {
        let outside = part.begin()?;
        let packing = part.packing()?;
        let begin = match packing {
            None => outside,
            Some(_) => {
                let mut begin = Vec::new();
                part.unpacked()?.take(1 << 16).read_to_end(&mut begin)?;
                begin
            }
        };
        let packed = packing.map_or(String::new(), |packing| format!(" ({})", packing.name()));
        let plain = || match packing {
            None => Ok(part.clone()),
            Some(_) => {
                Ok::<_, anyhow::Error>(Part::whole(to_file(&mut part.unpacked()?, wish.folder)?)?)
            }
        };
        if is_tar(&begin) || is_empty_tar(&begin) {
            let layers = Layers::new(vec![Layer::alone(wish.source, part.clone())], false)?;
            if layers.may_be_image() {
                let archive = InTar::read(plain()?)?;
                if let Some((image, form)) =
                    oci::image(&archive, wish.arch, std::env::consts::ARCH)?
                {
                    return Self::image(image, &format!("{form} in a tar{packed}"));
                }
            }
            return Ok(Self::layers(layers.whole()?, format!("a tar{packed}")));
        }
        if begin.starts_with(b"hsqs") {
            return Self::squashfs(wish, packing);
        }
        let (source, unpacked) = match (wish.source == Path::new("-"), packing) {
            (true, _) => (Path::new("FILE"), PathBuf::from("FILE")),
            (false, None) => (wish.source, wish.source.to_owned()),
            (false, Some(_)) => (wish.source, wish.source.with_extension("")),
        };
        if let Some(what) = foreign::name(&begin, &quoted(source), packing.map(Packing::name)) {
            bail!("{what}");
        }
        // A live system's has the mark of a disk, too, so that it starts from a stick.
        if begin
            .get(0x8001..)
            .is_some_and(|rest| rest.starts_with(b"CD001"))
        {
            bail!("{}", cd(&plain()?, &unpacked));
        }
        let probe = || match packing {
            None => part.file.try_clone().context("opening it"),
            Some(_) => to_file(&mut part.unpacked()?.take(PROBED), wish.folder),
        };
        if is_disk(&begin) || disk::is_known(probe()?) {
            let disk = Disk {
                file: plain()?.file,
                partition: wish.partition,
                folder: wish.folder.to_owned(),
                name: unpacked,
            };
            return Ok(Self {
                what: What::Disk(disk),
                kind: format!("a disk image{packed}"),
                arch: None,
                notes: Vec::new(),
            });
        }
        let what = match begin[..] {
            [] => "it is empty",
            _ => "it is of no kind that is known",
        };
        bail!("{what}: {KNOWN}")
    }

    fn layers(layers: Layers, kind: String) -> Self {
        Self {
            what: What::Layers(layers),
            kind,
            arch: None,
            notes: Vec::new(),
        }
    }

    fn squashfs(wish: Wish<'_>, packing: Option<Packing>) -> anyhow::Result<Self> {
        let shown = wish.source.display();
        if let Some(packing) = packing {
            bail!(
                "it is a squashfs packed with {}, which makes it no smaller: unpack it first",
                packing.name()
            );
        }
        ensure!(
            wish.source != Path::new("-"),
            "a squashfs cannot be read from a pipe: give its file"
        );
        let layer = Layer {
            name: shown.to_string(),
            stored: Stored::Squashfs(wish.source.to_owned()),
            promise: None,
        };
        let layers = Layers::new(vec![layer], false)?.whole()?;
        Ok(Self::layers(layers, "a squashfs".to_owned()))
    }

    fn image(image: Image, kind: &str) -> anyhow::Result<Self> {
        let Image {
            layers,
            arch,
            others,
        } = image;
        let count = layers.len();
        let plural = if count == 1 { "" } else { "s" };
        let mut notes = Vec::new();
        if let (Some(arch), false) = (&arch, others.is_empty()) {
            notes.push(format!(
                "the image for {arch} is taken; --arch takes another: {}",
                others.join(", ")
            ));
        }
        Ok(Self {
            what: What::Layers(Layers::new(layers, true)?),
            kind: format!("{kind}, {count} layer{plural}"),
            arch,
            notes,
        })
    }

    /// What is known before it is read as a whole.
    ///
    /// # Errors
    /// A folder in it cannot be read.
    pub(super) fn outline(&mut self) -> anyhow::Result<Outline> {
        match &self.what {
            What::Folder(path) => folder::outline(path),
            What::Layers(layers) => Ok(layers.outline()),
            What::Disk(disk) => {
                let mut outline = Outline::default();
                self.notes.extend(disk.read(&mut outline)?);
                Ok(outline)
            }
        }
    }

    /// Gives all of it to a sink.
    ///
    /// # Errors
    /// The source's or the sink's.
    pub(super) fn read(&self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        match &self.what {
            What::Folder(path) => folder::read(path, sink),
            What::Layers(layers) => layers.read(sink),
            What::Disk(disk) => disk.read(sink).map(drop),
        }
    }
}

/// For refusals.
const KNOWN: &str = "known are a folder, a tar (.gz, .xz, .zst), an OCI image layout, an archive of docker save, a folder of skopeo's dir: form, a disk image (.gz, .xz, .zst), and a squashfs";

/// Bytes in which every file system says what it is.
const PROBED: u64 = 1 << 20;

/// A boot sector's mark, which the table of a GPT disk has too, or the superblock of ext2, ext3 and ext4.
fn is_disk(begin: &[u8]) -> bool {
    begin.get(510..512) == Some(b"\x55\xaa") || begin.get(1080..1082) == Some(b"\x53\xef")
}

/// A path for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// A CD, and where in it a root file system is.
fn cd(part: &Part, path: &Path) -> String {
    let found = iso::squashfs(&|at, into| part.file.read_exact_at(into, at).is_ok());
    let iso = quoted(path);
    let Some(((largest, _), others)) = found.split_first() else {
        return format!(
            "it is a CD (ISO 9660) without a squashfs in it, so it is no live system. If it is an installer, install it to a disk \
             and build from an image of that; if it holds a root file system itself: `sudo mount -o ro,loop {iso} /mnt && sudo \
             ramboot build /mnt -o worker.sqfs`"
        );
    };
    let shown = |path: &str| path.escape_debug().to_string();
    let others: Vec<String> = others.iter().take(4).map(|(path, _)| shown(path)).collect();
    let more = match &others[..] {
        [] => String::new(),
        others => format!("; it also has {}", others.join(", ")),
    };
    let inside = shown(largest);
    format!(
        "it is a CD of a live system (ISO 9660), whose root is the squashfs {inside} in it{more}. Build from that: `sudo mount \
         -o ro,loop {iso} /mnt && ramboot build /mnt{} -o worker.sqfs`",
        inside.replace(' ', "\\ ")
    )
}

/// A tar of nothing: two blocks of zeros.
fn is_empty_tar(begin: &[u8]) -> bool {
    begin.len() >= 1024 && begin.len() <= 10_240 && begin.iter().all(|byte| *byte == 0)
}
