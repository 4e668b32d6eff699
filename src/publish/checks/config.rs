//! What a kernel was built with, as its .config says, and whether a worker can run on it.

use std::collections::BTreeMap;

use super::{Check, Finding, error};

/// Debian's has 260 KB.
pub const MAX_CONFIG_BYTES: u64 = 2 * 1024 * 1024;

/// How an option is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Inside the kernel.
    Yes,
    /// A module.
    Module,
    /// Not at all.
    No,
}

/// A .config: options by name, without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    options: BTreeMap<String, Value>,
    origin: String,
}

impl Config {
    /// Reads the text; `origin` says in messages where it was found. `None` if it is no .config.
    #[must_use]
    pub fn parse(text: &[u8], origin: &str) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let options: BTreeMap<String, Value> = text.lines().filter_map(option).collect();
        (!options.is_empty()).then(|| Self {
            options,
            origin: origin.to_owned(),
        })
    }

    /// Where it was found.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// An option as it is written; `None` if it is not.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        self.options.get(name).copied()
    }

    /// Whether the kernel has it, built in or as a module.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Yes | Value::Module))
    }

    /// Whether the kernel does not have `name`: it says so, or says nothing of it though it has what that belongs to.
    #[must_use]
    pub fn lacks(&self, name: &str, part_of: &str) -> bool {
        match self.get(name) {
            Some(value) => value == Value::No,
            None => self.has(part_of),
        }
    }
}

/// `CONFIG_X=y`, `CONFIG_X=m`, `# CONFIG_X is not set`; numbers and strings are of no interest.
fn option(line: &str) -> Option<(String, Value)> {
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        let name = rest.strip_suffix(" is not set")?;
        return Some((name.to_owned(), Value::No));
    }
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    let value = match value.trim_end() {
        "y" => Value::Yes,
        "m" => Value::Module,
        "n" => Value::No,
        _ => return None,
    };
    Some((name.to_owned(), value))
}

/// Options that must be built in, what says that they are not, and what a worker does with them.
const WANTED: [(&str, &str, &str); 6] = [
    (
        "BLK_DEV_INITRD",
        "",
        "it cannot unpack an initramfs, which is how a worker starts",
    ),
    (
        "RD_ZSTD",
        "BLK_DEV_INITRD",
        "it cannot unpack the initramfs that is made here, which is under zstd",
    ),
    ("DEVTMPFS", "", "there would be no devices in /dev"),
    ("TMPFS", "", "the image could not be held in RAM"),
    ("PROC_FS", "", "/init reads /proc"),
    ("INET", "", "the image comes over IP"),
];

/// What the kernel of this version lacks that nothing can replace. `script` says that init is one.
#[must_use]
pub fn check(version: &str, config: &Config, script: bool) -> Vec<Finding> {
    let shell = [(
        "BINFMT_SCRIPT",
        "",
        "it cannot start the image's init, which is a script",
    )];
    let wanted = WANTED.iter().chain(shell.iter().filter(|_| script));
    let lacking = wanted.filter(|(name, part_of, _)| config.lacks(name, part_of));
    let findings = lacking.map(|(name, _, why)| {
        let origin = &config.origin;
        let sentence = format!(
            "the kernel {version} was built without CONFIG_{name} ({origin}): {why}; take a kernel that has it"
        );
        error(Check::Config, &sentence)
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_not_there_if_its_parent_is() {
        let text = b"#\n# Linux/x86 6.1\n#\nCONFIG_SQUASHFS=m\n# CONFIG_SQUASHFS_LZ4 is not set\nCONFIG_HZ=250\nCONFIG_A=\"y\"\n";
        let config = Config::parse(text, "/boot/config").expect("a config");
        assert_eq!(config.get("SQUASHFS"), Some(Value::Module));
        assert_eq!(config.get("HZ"), None);
        assert_eq!(config.get("A"), None);
        for (name, part_of, lacks) in [
            ("SQUASHFS", "", false),
            ("SQUASHFS_LZ4", "SQUASHFS", true),
            ("SQUASHFS_ZSTD", "SQUASHFS", true),
            ("SQUASHFS_ZSTD", "", false),
            ("RD_ZSTD", "BLK_DEV_INITRD", false),
        ] {
            assert_eq!(config.lacks(name, part_of), lacks, "{name}");
        }
        assert_eq!(Config::parse(b"\x7fELF\0\xff\n", ""), None);
    }

    #[test]
    fn each_lack_is_a_sentence() {
        let text = b"CONFIG_BLK_DEV_INITRD=y\n# CONFIG_DEVTMPFS is not set\nCONFIG_TMPFS=y\n";
        let config = Config::parse(text, "/boot/config-6.1").expect("a config");
        let found = check("6.1", &config, true);
        let said: Vec<&str> = found.iter().map(|f| f.sentence.as_str()).collect();
        assert_eq!(
            said,
            [
                "the kernel 6.1 was built without CONFIG_RD_ZSTD (/boot/config-6.1): it cannot unpack the initramfs that is made \
                 here, which is under zstd; take a kernel that has it",
                "the kernel 6.1 was built without CONFIG_DEVTMPFS (/boot/config-6.1): there would be no devices in /dev; take a \
                 kernel that has it",
            ]
        );
    }
}
