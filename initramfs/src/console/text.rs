//! Words and numbers for a screen. Pure.

use std::time::Duration;

/// At most `width` characters that every font has: what comes from a network draws nothing and moves no cursor.
pub(super) fn plain(text: &str, width: usize) -> String {
    text.chars()
        .take(width)
        .map(|c| match c {
            ' '..='~' => c,
            '\u{a0}' => ' ',
            _ => '?',
        })
        .collect()
}

/// Lines of at most `width` characters, broken at blanks where there are any, and never at a no-break
/// space.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_ascii_whitespace() {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            lines.push(String::new());
            used = 0;
        }
        for (at, c) in word.chars().enumerate() {
            if used >= width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if at == 0 && used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.push(c);
                used += 1;
            }
        }
    }
    lines
}

/// `0.4 s`, and from a minute on as [`whole_seconds`].
pub(super) fn seconds(time: Duration) -> String {
    if time.as_secs() < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        whole_seconds(time)
    }
}

/// `12 s`, `3 min 05 s`, `2 h 07 min`.
pub(super) fn whole_seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped() {
        for (text, width, want) in [
            ("a bc def", 4, vec!["a bc", "def"]),
            ("abcdefgh i", 3, vec!["abc", "def", "gh", "i"]),
            ("abcdefgh i", 4, vec!["abcd", "efgh", "i"]),
            ("", 4, vec![""]),
            ("ab", 0, vec!["a", "b"]),
        ] {
            assert_eq!(wrap(text, width), want, "{text:?} in {width}");
        }
    }

    #[test]
    fn times() {
        for (ms, want) in [
            (0, "0.0 s"),
            (59_940, "59.9 s"),
            (185_000, "3 min 05 s"),
            (7_620_000, "2 h 07 min"),
        ] {
            assert_eq!(seconds(Duration::from_millis(ms)), want);
        }
    }
}
