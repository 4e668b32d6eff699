//! What a person reads when an image is built.

use super::Built;
use super::rules::Finding;
use crate::formats::squashfs::grouped;

/// The summary.
#[must_use]
pub fn text(built: &Built) -> String {
    let Built {
        image,
        source,
        arch,
        size,
        content,
        entries,
        left_out,
        notes,
        findings,
        seconds,
    } = built;
    let arch = arch
        .as_ref()
        .map_or(String::new(), |arch| format!(" for {arch}"));
    let image = image.display();
    let mut text = format!(
        "{image}: {}, made of {source}{arch} with {} entries and {} in {seconds:.1} s\n",
        megabytes(*size),
        grouped(*entries),
        megabytes(*content),
    );
    for note in notes {
        text += &format!("note: {note}\n");
    }
    for what in left_out {
        text += &format!("left out: {what}\n");
    }
    for Finding {
        place,
        sentence,
        fixed,
        ..
    } in findings
    {
        let word = if *fixed { "fixed" } else { "found" };
        text += &format!("{word}: {place}: {sentence}\n");
    }
    if findings.iter().all(|finding| finding.fixed) {
        text + &format!("next: ramboot publish {image}\n")
    } else {
        text + "nothing was changed: run again with --fix\n"
    }
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_summary_says_what_was_found_and_what_comes_next() {
        let mut built = Built {
            image: PathBuf::from("w.sqfs"),
            source: "an OCI image layout, 2 layers".to_owned(),
            arch: Some("arm64".to_owned()),
            size: 139_100_000,
            content: 412_000_000,
            entries: 12_345,
            left_out: vec!["/run/x: a socket".to_owned()],
            notes: vec![],
            findings: vec![Finding {
                rule: "fstab",
                place: "/etc/fstab line 2".to_owned(),
                sentence: "it waits; --fix makes it a comment".to_owned(),
                fixed: false,
            }],
            seconds: 12.34,
        };
        let said = text(&built);
        assert_eq!(
            said,
            "w.sqfs: 139.1 MB, made of an OCI image layout, 2 layers for arm64 with 12 345 entries and 412.0 MB in 12.3 s\n\
             left out: /run/x: a socket\n\
             found: /etc/fstab line 2: it waits; --fix makes it a comment\n\
             nothing was changed: run again with --fix\n"
        );
        built.findings[0].fixed = true;
        let said = text(&built);
        assert!(said.contains("\nfixed: /etc/fstab line 2: "), "{said}");
        assert!(said.ends_with("\nnext: ramboot publish w.sqfs\n"), "{said}");
    }
}
