//! `/etc/fstab` and `/etc/crypttab`: lines for devices that a machine without a disk does not have.
//!
//! systemd's generators make of each line a unit that waits 90 seconds for its device. Unless the line says `nofail` or
//! `noauto`, local-fs.target fails then, and the machine stops in emergency mode (systemd.mount(5), systemd-fstab-generator(8)).

use super::Finding;

/// What a rule makes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What was found, in the order of lines.
    pub findings: Vec<Finding>,
    /// The table with all of it switched off.
    pub content: Vec<u8>,
}

/// What is done with a line.
enum Remedy {
    /// It becomes a comment.
    Off,
    /// `nofail` is added to the field of this number.
    NoFail(usize),
}

/// Finds lines of `/etc/fstab` that would stop a boot or fail at each.
#[must_use]
pub fn fstab(content: &[u8], fix: bool) -> Mended {
    mend("fstab", "/etc/fstab", content, fix, fstab_line)
}

/// The same for `/etc/crypttab`.
#[must_use]
pub fn crypttab(content: &[u8], fix: bool) -> Mended {
    mend("crypttab", "/etc/crypttab", content, fix, crypttab_line)
}

fn fstab_line(fields: &[&str]) -> Option<(String, Remedy)> {
    let [what, place, kind, rest @ ..] = fields else {
        return None;
    };
    let options = rest.first().copied().unwrap_or("defaults");
    if has(options, "noauto") {
        return None;
    }
    if *kind == "swap" {
        let zram = what.starts_with("/dev/zram");
        let would = if is_device(what) {
            "the boot waits 90 seconds for it"
        } else {
            "swap files do not work in RAM, and this fails at every boot"
        };
        let quiet = zram || has(options, "nofail");
        return (!quiet).then(|| (format!("swap on {what}: {would}"), Remedy::Off));
    }
    if !is_device(what) {
        return None;
    }
    if *place == "/" {
        let would = "it is in RAM already, and systemd-remount-fs fails at every boot";
        return Some((format!("the root on {what}: {would}"), Remedy::Off));
    }
    // An automount waits only when somebody looks into it; nofail waits beside the boot.
    if has(options, "nofail") || has(options, "x-systemd.automount") {
        return None;
    }
    let would = "the boot waits 90 seconds for it and then stops in emergency mode";
    let finding = format!("{place} on {what}: {would}");
    // The image brings what is in these; any other may be a disk that some machines do have.
    let in_image = *place == "/boot" || place.starts_with("/boot/") || *place == "/usr";
    Some(match (in_image, rest.is_empty()) {
        (false, false) => (finding, Remedy::NoFail(3)),
        _ => (finding, Remedy::Off),
    })
}

fn crypttab_line(fields: &[&str]) -> Option<(String, Remedy)> {
    let [name, what, rest @ ..] = fields else {
        return None;
    };
    let options = rest.get(1).copied().unwrap_or("");
    let quiet = has(options, "nofail") || has(options, "noauto") || !is_device(what);
    let would = "the boot waits 90 seconds for it";
    (!quiet).then(|| (format!("{name} on {what}: {would}"), Remedy::Off))
}

/// By a name of udev's, or by its node.
fn is_device(what: &str) -> bool {
    let tags = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
    let node = what.starts_with("/dev/") && !what.starts_with("/dev/zram");
    node || tags.iter().any(|tag| what.starts_with(tag))
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

fn mend(
    rule: &'static str,
    path: &str,
    content: &[u8],
    fix: bool,
    judge: fn(&[&str]) -> Option<(String, Remedy)>,
) -> Mended {
    let mut mended = Mended {
        findings: Vec::new(),
        content: Vec::with_capacity(content.len()),
    };
    for (number, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // A line that is no text is no line of systemd's either.
        let text = std::str::from_utf8(line).unwrap_or_default();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let comment = fields.first().is_none_or(|first| first.starts_with('#'));
        let judged = if comment { None } else { judge(&fields) };
        let Some((would, remedy)) = judged else {
            mended.content.extend(line);
            continue;
        };
        let ((does, done), new) = apply(&remedy, text, &fields);
        let remedy = if fix { done } else { does };
        mended.findings.push(Finding {
            rule,
            place: format!("{path} line {}", number + 1),
            sentence: format!("{would}; {remedy}"),
            fixed: fix,
        });
        mended.content.extend(new.as_bytes());
    }
    mended
}

/// What is said of it, before and after, and the new line.
fn apply(remedy: &Remedy, line: &str, fields: &[&str]) -> ((&'static str, &'static str), String) {
    match remedy {
        Remedy::Off => (
            ("--fix makes it a comment", "it is a comment now"),
            format!("# ramboot build: {line}"),
        ),
        Remedy::NoFail(number) => {
            let fields = fields.iter().enumerate().map(|(at, field)| {
                if at == *number {
                    format!("{field},nofail")
                } else {
                    (*field).to_owned()
                }
            });
            let fields: Vec<String> = fields.collect();
            (
                ("--fix adds nofail to it", "it has nofail now"),
                fields.join(" ") + "\n",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(mended: &Mended) -> Vec<&str> {
        let findings = mended.findings.iter();
        findings.map(|finding| &finding.place[..]).collect()
    }

    #[test]
    fn raspberry_pi_os_has_two_lines_too_many() {
        let table = b"proc            /proc           proc    defaults          0       0\n\
            PARTUUID=4a5e1234-01  /boot/firmware  vfat    defaults          0       2\n\
            PARTUUID=4a5e1234-02  /               ext4    defaults,noatime  0       1\n\
            # a swapfile is not a swap partition, no line here\n";
        let mended = fstab(table, false);
        assert_eq!(places(&mended), ["/etc/fstab line 2", "/etc/fstab line 3"]);
        assert_eq!(
            mended.findings[0].sentence,
            "/boot/firmware on PARTUUID=4a5e1234-01: the boot waits 90 seconds for it and then stops in emergency mode; --fix \
             makes it a comment"
        );
        let again = fstab(&mended.content, true);
        assert_eq!(again.findings, []);
        assert_eq!(again.content, mended.content);
        let lines = String::from_utf8(mended.content).expect("text");
        assert_eq!(lines.matches("# ramboot build: PARTUUID").count(), 2);
        assert!(lines.starts_with("proc "));
    }

    #[test]
    fn each_kind_of_line_has_its_remedy() {
        for (line, want) in [
            (
                "UUID=1 none swap sw 0 0",
                Some("# ramboot build: UUID=1 none swap sw 0 0"),
            ),
            (
                "/swapfile none swap sw 0 0",
                Some("# ramboot build: /swapfile none swap sw 0 0"),
            ),
            ("/dev/zram0 none swap defaults 0 0", None),
            ("UUID=1 none swap nofail 0 0", None),
            (
                "LABEL=boot /boot/efi vfat umask=0077 0 1",
                Some("# ramboot build: LABEL=boot /boot/efi vfat umask=0077 0 1"),
            ),
            (
                "/dev/sda3 /srv ext4 noatime 0 2",
                Some("/dev/sda3 /srv ext4 noatime,nofail 0 2"),
            ),
            (
                "/dev/sda3 /srv ext4",
                Some("# ramboot build: /dev/sda3 /srv ext4"),
            ),
            ("/dev/sda3 /srv ext4 nofail 0 2", None),
            ("/dev/sda3 /srv ext4 noauto,user 0 2", None),
            ("/dev/sda3 /srv ext4 x-systemd.automount 0 2", None),
            (
                "UUID=1 / ext4 x-systemd.growfs 0 1",
                Some("# ramboot build: UUID=1 / ext4 x-systemd.growfs 0 1"),
            ),
            ("tmpfs /tmp tmpfs size=1G 0 0", None),
            ("overlay / overlay defaults 0 0", None),
            ("server:/home /home nfs defaults 0 0", None),
            ("/srv/a /srv/b none bind 0 0", None),
            ("#UUID=1 / ext4 defaults 0 1", None),
            ("UUID=1", None),
            ("", None),
        ] {
            let line = format!("{line}\n");
            let mended = fstab(line.as_bytes(), true);
            let want = want.map_or_else(|| line.clone(), |want| format!("{want}\n"));
            assert_eq!(String::from_utf8_lossy(&mended.content), want);
            assert_eq!(mended.findings.is_empty(), want == line, "{line}");
        }
        let mended = crypttab(b"data UUID=1 none luks\nok UUID=2 none luks,nofail\n", true);
        assert_eq!(places(&mended), ["/etc/crypttab line 1"]);
        assert!(mended.content.starts_with(b"# ramboot build: data UUID=1"));
    }

    proptest! {
        /// Whatever a table says: once mended, nothing is left to find.
        #[test]
        fn what_is_mended_stays_so(
            lines in proptest::collection::vec("(UUID=1|/dev/sda1|tmpfs|#|/f)[ \t](/|/boot|/x|none)[ \t](swap|ext4)( defaults| nofail| noauto)?( 0 1)?", 0..6),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let table = [lines.join("\n").into_bytes(), b"\n".to_vec(), bytes].concat();
            for rule in [fstab, crypttab] {
                let mended = rule(&table, true);
                prop_assert_eq!(rule(&mended.content, true).findings, vec![]);
            }
        }
    }
}
