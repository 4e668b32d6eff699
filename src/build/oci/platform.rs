//! For which machine a container image is, and which of several is meant.
//!
//! An architecture is written as OCI writes it, with its variant after a slash where it has one: `amd64`, `arm64`, `arm/v7`,
//! `amd64/v2` (image-spec: image-index.md, "platform"; the names are those of Go and containerd's `platforms`).

use anyhow::bail;

/// The one form of an architecture and its variant. The variant that everybody means without saying it is left out: `v1` of
/// amd64, `v8` of arm64; arm alone is `arm/v7`. The kernel's and Debian's names are taken, too.
pub(super) fn canonical(architecture: &str, variant: &str) -> String {
    let (architecture, implied) = match architecture {
        "x86_64" | "x86-64" => ("amd64", ""),
        "aarch64" => ("arm64", ""),
        "i386" | "i686" | "x86" => ("386", ""),
        "armhf" | "armv7l" => ("arm", "v7"),
        "armel" | "armv6l" => ("arm", "v6"),
        other => (other, ""),
    };
    let variant = if variant.is_empty() { implied } else { variant };
    let variant = match (architecture, variant) {
        ("amd64", "v1") | ("arm64", "8" | "v8") => "",
        ("arm", "" | "7") => "v7",
        ("arm", "5") => "v5",
        ("arm", "6") => "v6",
        ("arm", "8") => "v8",
        (_, other) => other,
    };
    if variant.is_empty() {
        architecture.to_owned()
    } else {
        format!("{architecture}/{variant}")
    }
}

/// Which of the architectures is meant, all in their [`canonical`] form but for `asked` and `own`, this machine's.
///
/// # Errors
/// There is none such, or it is not clear which.
pub(super) fn choose(archs: &[String], asked: Option<&str>, own: &str) -> anyhow::Result<String> {
    let mut there: Vec<&str> = archs.iter().map(String::as_str).collect();
    there.sort_unstable();
    there.dedup();
    let found = |wanted| matching(&there, wanted);
    match (asked, &there[..]) {
        (_, []) => bail!("there is no image in it"),
        (Some(asked), _) => match found(asked)[..] {
            [one] => Ok(one.to_owned()),
            [] => bail!(
                "there is no image for {asked} in it, only for {}",
                there.join(", ")
            ),
            ref several => bail!(
                "it has images for {}: say which with --arch",
                several.join(", ")
            ),
        },
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => match found(own)[..] {
            [one] => Ok(one.to_owned()),
            _ => bail!(
                "it has images for {}: say which with --arch",
                there.join(", ")
            ),
        },
    }
}

/// Those that `wanted` may mean: the very one; or, where it names no variant, all of its architecture.
fn matching<'a>(there: &[&'a str], wanted: &str) -> Vec<&'a str> {
    let wanted = wanted.strip_prefix("linux/").unwrap_or(wanted);
    let (architecture, variant) = wanted.split_once('/').unwrap_or((wanted, ""));
    let exact = canonical(architecture, variant);
    if let Some(one) = there.iter().find(|arch| **arch == exact) {
        return vec![one];
    }
    if !variant.is_empty() {
        return Vec::new();
    }
    let base = |arch: &str| arch.split('/').next().unwrap_or_default().to_owned();
    let same = there.iter().filter(|arch| base(arch) == base(&exact));
    same.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archs(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_architecture_has_one_form() {
        for (architecture, variant, want) in [
            ("amd64", "", "amd64"),
            ("amd64", "v1", "amd64"),
            ("x86_64", "v3", "amd64/v3"),
            ("arm64", "v8", "arm64"),
            ("aarch64", "", "arm64"),
            ("arm64", "v9", "arm64/v9"),
            ("arm", "", "arm/v7"),
            ("arm", "6", "arm/v6"),
            ("armhf", "", "arm/v7"),
            ("armel", "", "arm/v6"),
            ("riscv64", "", "riscv64"),
        ] {
            assert_eq!(canonical(architecture, variant), want);
            let again = want.split_once('/').unwrap_or((want, ""));
            assert_eq!(canonical(again.0, again.1), want);
        }
    }

    #[test]
    fn the_architecture_is_the_one_asked_for_the_only_one_or_ones_own() {
        let both = archs(&["amd64", "arm64"]);
        let levels = archs(&["amd64", "amd64/v2", "amd64/v3"]);
        let arms = archs(&["arm/v5", "arm/v7", "arm64"]);
        let old_arms = archs(&["arm/v5", "arm/v6"]);
        for (there, asked, own, want) in [
            (archs(&["arm64"]), None, "x86_64", Ok("arm64")),
            (both.clone(), None, "x86_64", Ok("amd64")),
            (both.clone(), Some("aarch64"), "x86_64", Ok("arm64")),
            (both.clone(), Some("arm64/v8"), "x86_64", Ok("arm64")),
            (both.clone(), Some("linux/arm64"), "x86_64", Ok("arm64")),
            (
                both.clone(),
                Some("riscv64"),
                "x86_64",
                Err("only for amd64, arm64"),
            ),
            (both, None, "riscv64", Err("say which with --arch")),
            (vec![], None, "x86_64", Err("there is no image in it")),
            (levels.clone(), Some("amd64/v2"), "x86_64", Ok("amd64/v2")),
            (levels.clone(), Some("amd64"), "x86_64", Ok("amd64")),
            (levels.clone(), Some("amd64/v1"), "x86_64", Ok("amd64")),
            (levels.clone(), None, "x86_64", Ok("amd64")),
            (
                levels,
                Some("amd64/v4"),
                "x86_64",
                Err("no image for amd64/v4 in it, only for amd64, amd64/v2, amd64/v3"),
            ),
            // Where there is one variant only, the architecture is enough.
            (
                archs(&["amd64/v2", "arm64"]),
                Some("amd64"),
                "aarch64",
                Ok("amd64/v2"),
            ),
            (arms.clone(), Some("arm"), "x86_64", Ok("arm/v7")),
            (arms.clone(), Some("arm/v5"), "x86_64", Ok("arm/v5")),
            (arms, None, "arm", Ok("arm/v7")),
            (
                old_arms,
                Some("arm"),
                "x86_64",
                Err("it has images for arm/v5, arm/v6: say which"),
            ),
        ] {
            match (choose(&there, asked, own), want) {
                (Ok(chosen), Ok(want)) => assert_eq!(chosen, want),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (other, want) => panic!("{other:?}, not {want:?}"),
            }
        }
    }
}
