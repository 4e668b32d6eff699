//! Which of an image's kernels its workers boot. Pure: what was found in the image, and a choice.
//!
//! A kernel is known by what its file says of itself, whatever its name: `vmlinuz-lts` (Alpine), `kernel-V` and `bzImage-V`
//! (Gentoo, Yocto), `vmlinuz`, `Image`. Its name counts where the file does not say, as packed arm64 kernels do not in a few bytes.

use super::kernel::{NoKernel, compare};

/// A file that a boot loader starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is: `/boot/vmlinuz-6.1.0-56-amd64`.
    pub path: String,
    /// Its version, as `uname -r` prints it, if it says one.
    pub says: Option<String>,
}

impl Candidate {
    /// The version that its name ends in, of these.
    fn named<'a>(&self, versions: &'a [String]) -> Option<&'a String> {
        let (folder, name) = self.path.rsplit_once('/')?;
        let in_name = |version: &&String| {
            let before = name.strip_suffix(version.as_str());
            before.is_some_and(|before| before.ends_with('-'))
                || folder.ends_with(&format!("/{version}"))
        };
        versions
            .iter()
            .filter(in_name)
            .max_by_key(|version| version.len())
    }

    /// Whose modules it would load, of these.
    fn version<'a>(&self, versions: &'a [String]) -> Option<&'a String> {
        let said = self.says.as_ref();
        let said = said.and_then(|says| versions.iter().find(|version| *version == says));
        said.or_else(|| self.named(versions))
            .or(match (versions, &self.says) {
                // It does not say, and there is one that it can be.
                ([only], None) => Some(only),
                _ => None,
            })
    }

    fn shown(&self) -> &str {
        self.says.as_deref().unwrap_or(&self.path)
    }
}

/// What is known of an image's kernels.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// All of them.
    pub kernels: Vec<Candidate>,
    /// The folder of all modules.
    pub base: String,
    /// Versions in it that have modules.dep.
    pub modules: Vec<String>,
    /// Those that have none.
    pub unindexed: Vec<String>,
    /// Where /vmlinuz or /boot/vmlinuz leads, if it is a link.
    pub linked: Option<String>,
    /// Versions that packages without a version of their own depend on (Debian's linux-image-amd64).
    pub packages: Vec<String>,
    /// `--kernel-version`
    pub wanted: Option<String>,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it is.
    pub path: String,
    /// `6.1.0-56-amd64`
    pub version: String,
    /// Other kernels of the same release that it was taken instead of, and why.
    pub instead_of: Option<(Vec<String>, Why)>,
}

/// Why one of several kernels of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `--kernel-version` says so.
    Wanted,
    /// /vmlinuz leads to it.
    Linked,
    /// A package names it.
    Package,
    /// Nothing says which; it has the plainest name.
    Plainest,
}

/// The newest kernel that has modules, and of several of one release the one that the image names.
///
/// # Errors
/// There is none.
pub fn choose(facts: &Facts) -> Result<Choice, NoKernel> {
    let found: Vec<(&Candidate, &String)> = facts
        .kernels
        .iter()
        .filter_map(|kernel| Some((kernel, kernel.version(&facts.modules)?)))
        .collect();
    // What says no version, under no name that has one (memtest86+ looks like a kernel), is one where nothing else is.
    let is_sure = |(kernel, version): &(&Candidate, &String)| {
        kernel.says.is_some() || kernel.named(std::slice::from_ref(version)).is_some()
    };
    let found: Vec<_> = match found.iter().any(is_sure) {
        true => found.into_iter().filter(is_sure).collect(),
        false => found,
    };
    if let Some(wanted) = &facts.wanted {
        let kernel = best(
            found
                .iter()
                .copied()
                .filter(|(_, version)| *version == wanted),
        );
        let kernel = kernel.ok_or_else(|| NoKernel::NotThis {
            wanted: wanted.clone(),
            kernels: list(found.iter().map(|(_, version)| version.as_str())),
        })?;
        return Ok(choice(kernel, &[], Why::Wanted));
    }
    let versions = found.iter().map(|(_, version)| *version);
    let Some(newest) = versions.max_by(|a, b| compare(release(a), release(b))) else {
        return Err(none(facts));
    };
    let same: Vec<_> = found
        .into_iter()
        .filter(|(_, version)| release(version) == release(newest))
        .collect();
    // Raspberry Pi OS: 2712 is for the Pi 5 alone, v8 for all, and /vmlinuz leads to what was configured last.
    let for_all = |(_, version): &(&Candidate, &String)| version.ends_with("-rpi-v8");
    let for_one = |(_, version): &(&Candidate, &String)| version.ends_with("-rpi-2712");
    let mut fits = same.clone();
    if fits.iter().any(for_all) {
        fits.retain(|kernel| !for_one(kernel));
    }
    let linked = |(kernel, _): &(&Candidate, &String)| Some(&kernel.path) == facts.linked.as_ref();
    let packaged = |(_, version): &(&Candidate, &String)| facts.packages.contains(version);
    let (kernel, why) = [
        (best(fits.iter().copied().filter(linked)), Why::Linked),
        (best(fits.iter().copied().filter(packaged)), Why::Package),
        (best(fits.iter().copied()), Why::Plainest),
    ]
    .into_iter()
    .find_map(|(kernel, why)| Some((kernel?, why)))
    .ok_or(NoKernel::Missing)?;
    Ok(choice(kernel, &same, why))
}

/// Of several, the one of the plainest version, in /boot before others, under its full name before others.
fn best<'a>(
    kernels: impl Iterator<Item = (&'a Candidate, &'a String)>,
) -> Option<(&'a Candidate, &'a String)> {
    let words = |version: &str| version.split(['-', '+']).count();
    kernels.max_by(|(one, a), (two, b)| {
        let place = |path: &str, version: &str| {
            (
                path == format!("/boot/vmlinuz-{version}"),
                path.starts_with("/boot/"),
            )
        };
        words(b)
            .cmp(&words(a))
            .then_with(|| compare(a, b))
            .then_with(|| place(&one.path, a).cmp(&place(&two.path, b)))
            .then_with(|| two.path.cmp(&one.path))
    })
}

fn choice(
    (kernel, version): (&Candidate, &String),
    same: &[(&Candidate, &String)],
    why: Why,
) -> Choice {
    let mut others: Vec<String> = same.iter().map(|(_, other)| (*other).clone()).collect();
    others.retain(|other| other != version);
    others.sort_by(|a, b| compare(a, b));
    others.dedup();
    Choice {
        path: kernel.path.clone(),
        version: version.clone(),
        instead_of: (!others.is_empty()).then_some((others, why)),
    }
}

/// What kernels of one release have in common: `6.1.0-56` of 6.1.0-56-rt-amd64, 6.6.31 of 6.6.31+rpt-rpi-v8.
fn release(version: &str) -> &str {
    let bytes = version.as_bytes();
    let flavour = bytes.iter().enumerate().position(|(at, byte)| {
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        let rest = version.get(at + 1..).unwrap_or_default();
        let is_candidate = rest
            .strip_prefix("rc")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        matches!(byte, b'-' | b'+') && next.is_ascii_alphabetic() && !is_candidate
    });
    flavour.map_or(version, |at| &version[..at])
}

fn none(facts: &Facts) -> NoKernel {
    let unindexed = facts
        .kernels
        .iter()
        .filter_map(|kernel| kernel.version(&facts.unindexed));
    if let Some(version) = unindexed.max_by(|a, b| compare(a, b)) {
        return NoKernel::NoIndex {
            base: facts.base.clone(),
            version: version.clone(),
        };
    }
    if facts.kernels.is_empty() && facts.modules.is_empty() {
        return NoKernel::Missing;
    }
    NoKernel::Mismatch {
        kernels: list(facts.kernels.iter().map(Candidate::shown)),
        modules: list(facts.modules.iter().map(String::as_str)),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.dedup();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// Versions of kernels that packages without a version of their own depend on, of dpkg's list of what is installed:
/// linux-image-amd64 depends on linux-image-6.1.0-56-amd64.
#[must_use]
pub fn packages(status: &str) -> Vec<String> {
    const IMAGE: &str = "linux-image-";
    let is_version = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    let stanzas = status.split("\n\n").filter(|stanza| {
        let name = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Package: "));
        let flavour = name.and_then(|name| name.strip_prefix(IMAGE));
        flavour.is_some_and(|flavour| !is_version(flavour))
            && stanza
                .lines()
                .any(|line| line == "Status: install ok installed")
    });
    let depends = stanzas.filter_map(|stanza| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
    });
    let names = depends.flat_map(|depends| depends.split([',', '|', ' ']));
    let versions = names.filter_map(|name| name.trim().strip_prefix(IMAGE));
    versions
        .filter(|version| is_version(version))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
