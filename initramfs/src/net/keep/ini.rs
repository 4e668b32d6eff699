//! Files of `[Section]` and `Key=value`, as systemd and GLib write them: entries in order, comments left out. Nothing is
//! refused; a line that is neither is none.

/// One `Key=value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Without the brackets; empty before the first.
    pub(super) section: &'a str,
    /// As it is written.
    pub(super) key: &'a str,
    /// Without the spaces around it.
    pub(super) value: &'a str,
}

/// All entries.
pub(super) fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
            return None;
        }
        let (key, value) = line.split_once('=')?;
        Some(Entry {
            section,
            key: key.trim_end(),
            value: value.trim_start(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_nothing_else() {
        let text = "x=0\n[A]\n# c=1\n; d=2\n b = 3 = 4 \nno entry\n[B]\r\ne=\r\n[C\nf=5";
        let found: Vec<_> = entries(text).map(|e| (e.section, e.key, e.value)).collect();
        assert_eq!(
            found,
            [
                ("", "x", "0"),
                ("A", "b", "3 = 4"),
                ("B", "e", ""),
                ("B", "f", "5")
            ]
        );
    }
}
