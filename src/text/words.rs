//! Texts and numbers as a person reads them. Pure.

use serde::Serialize;

use ramboot_wire::plain;

/// Text from outside: at most `max` characters, on one line, and nothing in it that is not seen or that turns text around.
pub(crate) fn shown(text: &str, max: usize) -> String {
    plain::line(text, max)
}

/// A piece of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Piece {
    /// To be typed as it stands.
    pub(crate) code: bool,
    pub(crate) text: String,
}

/// A sentence in which commands stand between backticks.
pub(crate) fn pieces(sentence: &str) -> Vec<Piece> {
    let even = sentence.matches('`').count().is_multiple_of(2);
    let parts = sentence.split(|c| even && c == '`').enumerate();
    parts
        .map(|(number, text)| Piece {
            code: number % 2 == 1,
            text: text.to_owned(),
        })
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

/// How long: `45 s`, `12 min`, `3 h 12 min`, `2 d 4 h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Milliseconds as seconds with one decimal: `12.4 s`.
pub(crate) fn seconds(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// Bytes: `139 MB`, `4.1 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| bytes.saturating_add(unit / 20) / (unit / 10);
    match bytes {
        0 => "0 MB".to_owned(),
        1..950_000 => format!("{} kB", bytes.div_ceil(1000)),
        950_000..999_500_000 => decimal(tenths(1_000_000), "MB"),
        999_500_000..999_500_000_000 => decimal(tenths(1_000_000_000), "GB"),
        _ => decimal(tenths(1_000_000_000_000), "TB"),
    }
}

/// Two digits at least.
fn decimal(tenths: u64, unit: &str) -> String {
    match tenths {
        0..100 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        _ => format!("{} {unit}", tenths.saturating_add(5) / 10),
    }
}

/// So many of something, with thousands apart by a narrow space: `12 345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 machine`, `2 machines`.
pub(crate) fn machines(number: usize) -> String {
    let noun = if number == 1 { "machine" } else { "machines" };
    format!("{} {noun}", count(number as u64))
}

/// What sorts `node-2` before `node-10`: each number after its length.
pub(crate) fn natural(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 4);
    for run in name
        .as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
    {
        let run = String::from_utf8_lossy(run);
        if run.starts_with(|c: char| c.is_ascii_digit()) {
            let number = run.trim_start_matches('0');
            key.push_str(&format!("{:03}", number.len()));
        }
        key.push_str(&run);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (seconds, want) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (3_599, "59 min"),
            (11_520, "3 h 12 min"),
            (86_399, "23 h 59 min"),
            (190_000, "2 d 4 h"),
            (u64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(span(seconds), want);
        }
        for (bytes, want) in [
            (0, "0 MB"),
            (1, "1 kB"),
            (949_999, "950 kB"),
            (950_000, "1.0 MB"),
            (9_949_999, "9.9 MB"),
            (9_950_000, "10 MB"),
            (139_123_456, "139 MB"),
            (999_449_999, "999 MB"),
            (999_500_000, "1.0 GB"),
            (4_096_000_000, "4.1 GB"),
            (128_000_000_000, "128 GB"),
            (1_000_000_000_000, "1.0 TB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        for (ms, want) in [
            (0, "0.0 s"),
            (12_449, "12.4 s"),
            (12_450, "12.5 s"),
            (u64::MAX, "18446744073709551.6 s"),
        ] {
            assert_eq!(seconds(ms), want);
        }
        for (number, want) in [(0, "0"), (999, "999"), (12_345, "12\u{202f}345")] {
            assert_eq!(count(number), want);
        }
        assert_eq!(
            (machines(1), machines(2)),
            ("1 machine".into(), "2 machines".into())
        );
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = [
            "node-10",
            "node-2",
            "pi",
            "node-2b",
            "node-010",
            "a",
            "node-",
            "",
            "übung-3",
            "99999999999999999999",
            "7",
        ];
        names.sort_by_cached_key(|name| natural(name));
        let want = [
            "",
            "7",
            "99999999999999999999",
            "a",
            "node-",
            "node-2",
            "node-2b",
            "node-010",
            "node-10",
            "pi",
            "übung-3",
        ];
        assert_eq!(names, want);
    }

    #[test]
    fn what_turns_text_around_is_seen() {
        for (text, max, want) in [
            ("worker-07", 64, "worker-07"),
            ("a\nb\tc\0", 64, "a b c "),
            ("a\u{202e}gnp.exe\u{200b}", 64, "a\u{fffd}gnp.exe\u{fffd}"),
            ("\u{2066}\u{feff}\u{e0041}", 64, "\u{fffd}\u{fffd}\u{fffd}"),
            ("Übung 😀", 64, "Übung 😀"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("", 6, ""),
        ] {
            assert_eq!(shown(text, max), want, "{text:?}");
        }
    }

    #[test]
    fn commands_stand_between_backticks() {
        let piece = |code, text: &str| Piece {
            code,
            text: text.to_owned(),
        };
        for (sentence, want) in [
            ("", vec![]),
            ("plain", vec![piece(false, "plain")]),
            ("one ` only", vec![piece(false, "one ` only")]),
            (
                "`ramboot doctor` shows who",
                vec![piece(true, "ramboot doctor"), piece(false, " shows who")],
            ),
            (
                "a `b` c",
                vec![piece(false, "a "), piece(true, "b"), piece(false, " c")],
            ),
        ] {
            assert_eq!(pieces(sentence), want);
        }
    }
}
