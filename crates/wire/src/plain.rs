//! Text from outside, made safe to show: in a log, on a console, in a terminal, on a page, in an error.
//!
//! Names in packets, paths, headers, images and reports, and the sentences of another machine, may hold anything. After this
//! nothing in them moves a cursor, begins a line, hides, or turns the text around it. Both sides use it, so there is one list.

use std::fmt::{self, Display, Write as _};

/// One line of at most `max` characters; a text that is longer ends with `…`.
#[must_use]
pub fn line(text: &str, max: usize) -> String {
    let mut chars = text.chars();
    let mut line: String = chars.by_ref().take(max).map(seen).collect();
    if chars.next().is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// The same text with its line ends, for what a command prints: a report or a table, whose lines are its own.
#[must_use]
pub fn lines(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { c } else { seen(c) })
        .collect()
}

/// JSON that is safe to print: the same value, with all that is not [`seen`] as it is written as `\uXXXX` (RFC 8259 §7).
///
/// Such characters stand inside of strings only: everything else in JSON is ASCII.
#[must_use]
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || seen(c) == c {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// A key or a name that stands unquoted in a line: printable ASCII without blanks, `=` and quotes, at most [`MAX_WORD`]
/// characters, and never empty.
#[must_use]
pub fn word(text: &str) -> String {
    let safe = |c: char| match c {
        '=' | '"' => '_',
        c if c.is_ascii_graphic() => c,
        _ => '_',
    };
    let word: String = text.chars().take(MAX_WORD).map(safe).collect();
    if word.is_empty() {
        "_".to_owned()
    } else {
        word
    }
}

/// A value from outside in the middle of a text of ours, on one line of at most `max` characters.
#[derive(Debug, Clone, Copy)]
pub struct Plain<T>(pub T, pub usize);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line(&self.0.to_string(), self.1))
    }
}

/// The character itself, or what stands for one that nobody sees or that changes how others are shown.
///
/// Replaced are control characters (Unicode category Cc: C0, DEL, C1), line and paragraph separators, interlinear
/// annotations, and the code points of `Default_Ignorable_Code_Point` (Unicode 16, DerivedCoreProperties.txt): marks,
/// embeddings, overrides and isolates of direction, zero-width spaces and joiners, fillers, variation selectors, tags.
#[must_use]
pub const fn seen(c: char) -> char {
    match c {
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => ' ',
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            HIDDEN
        }
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => HIDDEN,
        '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => HIDDEN,
        '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' => HIDDEN,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => HIDDEN,
        c => c,
    }
}

/// REPLACEMENT CHARACTER.
const HIDDEN: char = '\u{fffd}';
/// Characters of a [`word`].
pub const MAX_WORD: usize = 32;
/// Characters of a sentence from outside, where nothing says less.
pub const MAX_SENTENCE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_acts_hides_or_turns_around() {
        for (text, max, want) in [
            ("worker-07", 64, "worker-07"),
            ("a\nb\tc\0\r", 64, "a b c  "),
            ("\x1b[2J\u{9b}2J\x7f", 64, " [2J 2J "),
            ("a\u{202e}gnp.exe\u{200b}", 64, "a\u{fffd}gnp.exe\u{fffd}"),
            (
                "\u{2066}\u{2069}\u{feff}\u{e0041}",
                64,
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("\u{2028}\u{2029}\u{61c}", 64, "\u{fffd}\u{fffd}\u{fffd}"),
            ("Übung 😀 日本", 64, "Übung 😀 日本"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("", 6, ""),
        ] {
            assert_eq!(line(text, max), want, "{text:?}");
            assert_eq!(Plain(text, max).to_string(), want, "{text:?}");
        }
        assert_eq!(lines("a\n\x1b[2J\r\nb"), "a\n [2J \nb");
    }

    #[test]
    fn a_word_stands_unquoted() {
        for (text, want) in [
            ("addr", "addr"),
            ("a b\n=\"c", "a_b___c"),
            ("\u{202e}x", "_x"),
            ("", "_"),
        ] {
            assert_eq!(word(text), want, "{text:?}");
        }
        assert_eq!(word(&"x".repeat(99)).len(), MAX_WORD);
    }

    /// Whether a terminal would act on it, or a reader not see it.
    fn is_harmless(c: char) -> bool {
        !c.is_control() && seen(c) == c
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_short_line(text in any::<String>(), max in 1..40_usize) {
            let line = line(&text, max);
            prop_assert!(line.chars().all(is_harmless), "{:?}", line);
            prop_assert!(line.chars().count() <= max);
            let word = word(&text);
            prop_assert!(word.bytes().all(|b| b.is_ascii_graphic() && b != b'='));
        }

        #[test]
        fn json_stays_the_same_value(text in any::<String>(), turned in "[\u{1b}\u{9b}\u{202e}\u{e0041}\u{2028}a]{0,8}") {
            let value = [text, turned];
            let safe = json(&serde_json::to_string(&value).expect("JSON"));
            prop_assert!(safe.chars().all(is_harmless), "{:?}", safe);
            prop_assert_eq!(serde_json::from_str::<[String; 2]>(&safe).expect("JSON"), value);
        }
    }
}
