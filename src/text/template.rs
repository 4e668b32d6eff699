//! Templates (Jinja, by minijinja) over what is known of one worker: text and words in, text out. Pure.
//!
//! A word that is not known is an error, never an empty string: `{% if serial is defined %}` asks whether it is. Blocks on
//! lines of their own leave no lines behind (`trim_blocks`, `lstrip_blocks`), and the last line's end stays.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

/// Text of a template, and of what it becomes.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Steps of minijinja's machine: a loop that has no end takes a tenth of a second.
const FUEL: u64 = 1_000_000;

/// What stands for the words of a template.
#[derive(Debug, Clone, Default)]
pub struct Words(BTreeMap<&'static str, String>);

/// What a template can call: `secret("label")`, the same for all workers, and `worker_secret("label")`.
pub trait Secrets: Send + Sync + 'static {
    /// For every worker.
    fn shared(&self, label: &str) -> String;
    /// For this one.
    fn own(&self, label: &str) -> String;
}

/// Why a template gives no text: what is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl Words {
    /// Adds a word, if it is known.
    #[must_use]
    pub fn with(mut self, word: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (word, value.to_string())));
        self
    }
}

/// Whether `source`, which is called `name` in errors, can be read at all.
///
/// # Errors
/// It is no template.
pub fn check(name: &str, source: &str) -> Result<(), TemplateError> {
    environment()?
        .template_from_named_str(name, source)
        .map(drop)
        .map_err(TemplateError::of)
}

/// Fills in the template `source`, which is called `name` in errors.
///
/// # Errors
/// It is no template, uses a word that is not known, or would become more than [`MAX_TEXT_BYTES`].
pub fn render(
    name: &str,
    source: &str,
    words: &Words,
    secrets: &Arc<impl Secrets>,
) -> Result<String, TemplateError> {
    let mut environment = environment()?;
    let (shared, own) = (Arc::clone(secrets), Arc::clone(secrets));
    environment.add_function("secret", move |label: String| shared.shared(&label));
    environment.add_function("worker_secret", move |label: String| own.own(&label));
    let mut text = Bounded(Vec::new());
    environment
        .template_from_named_str(name, source)
        .and_then(|template| {
            let words = words.0.iter();
            let words = Value::from_pairs(words.map(|(word, value)| (*word, value.as_str())));
            template.render_captured_to(words, &mut text).map(drop)
        })
        .map_err(TemplateError::of)?;
    String::from_utf8(text.0).map_err(|error| TemplateError(error.to_string()))
}

fn environment() -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // By default it goes by the name's ending: a worker's index.html is no answer to a browser.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(TemplateError::of)?;
    environment.set_syntax(syntax);
    Ok(environment)
}

impl TemplateError {
    fn of(error: minijinja::Error) -> Self {
        let inner = std::error::Error::source(&error);
        Self(inner.map_or_else(|| error.to_string(), |inner| format!("{error}: {inner}")))
    }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(io::Error::other(format!(
                "it becomes more than {MAX_TEXT_BYTES} bytes"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fake;

    impl Secrets for Fake {
        fn shared(&self, label: &str) -> String {
            format!("<{label}>")
        }

        fn own(&self, label: &str) -> String {
            format!("<own {label}>")
        }
    }

    fn filled(source: &str) -> Result<String, String> {
        let words = Words::default()
            .with("mac", Some("52:54:00:12:34:56"))
            .with("serial", None::<String>);
        render("etc/x", source, &words, &Arc::new(Fake)).map_err(|error| error.to_string())
    }

    #[test]
    fn one_row_per_rule() {
        for (source, want) in [
            ("a\n", Ok("a\n")),
            ("a", Ok("a")),
            ("{{ mac }}\n", Ok("52:54:00:12:34:56\n")),
            ("{{ mac | replace(\":\", \"\") }}", Ok("525400123456")),
            (
                "{% if serial is defined %}\npi\n{% else %}\npc\n{% endif %}\nend\n",
                Ok("pc\nend\n"),
            ),
            (
                "{{ secret(\"munge\") }} {{ worker_secret('x') }}",
                Ok("<munge> <own x>"),
            ),
            ("<&>\"{{ mac[:2] ~ '<' }}", Ok("<&>\"52<")),
            ("a\n{{ serial }}", Err("undefined value")),
            ("a\n{{ serial }}", Err("(in etc/x:2)")),
            ("{% if mca %}{% endif %}", Err("undefined value")),
            ("{{ mac", Err("(in etc/x:1)")),
            ("{% include \"/etc/shadow\" %}", Err("include")),
            (
                "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
                Err("fuel"),
            ),
            (
                "{% for a in range(9000) %}{{ mac }}{{ mac }}{{ mac }}{{ mac }}{{ mac }}{{ mac }}{{ mac }}{{ mac }}{% endfor %}",
                Err("more than 1048576 bytes"),
            ),
        ] {
            match (filled(source), want) {
                (Ok(text), Ok(want)) => assert_eq!(text, want, "{source}"),
                (Err(error), Err(want)) => assert!(error.contains(want), "{source}: {error}"),
                (got, want) => panic!("{source}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn a_check_needs_no_words() {
        assert_eq!(check("x", "{{ nobody }}"), Ok(()));
        let error = check("etc/x", "a\n{% endif %}").expect_err("no template");
        assert!(error.to_string().contains("(in etc/x:2)"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|if|for|mac|[ -~\n]){0,30}") {
            let _ = filled(&source);
        }
    }
}
