//! The page at `/`: a [`Snapshot`] for people, as one HTML document that needs no script to be read. Pure.
//!
//! Whatever a machine says of itself reaches the page through one template, which escapes it, and through [`crate::text::words::shown`],
//! which takes from it what could turn text around. Nothing is inline, so the policy that it is sent with
//! ([`crate::http::answer::Answer::unframed`]) forbids all that is. The page only shows; `page.js` fetches it again when
//! `/events` says so, and moves over what differs.

mod model;
mod trouble;
mod waterfall;

use anyhow::Context;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use crate::fleet::snapshot::Snapshot;

/// The document, made at `now` (seconds since 1970). At most [`model::MAX_ROWS`] machines are on it.
///
/// # Errors
/// The template is wrong: a fault of this program.
pub fn html(snapshot: &Snapshot, now: u64) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.context("reading the page's template")?);
    environment
        .template_from_named_str("page.html", include_str!("page/page.html"))
        .and_then(|template| template.render(Serde(model::Page::of(snapshot, now))))
        .context("making the page")
}

/// A file that the page needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its path.
    pub path: &'static str,
    /// Its bytes.
    pub text: &'static str,
    /// Its media type.
    pub media_type: &'static str,
}

impl Asset {
    /// All there are.
    pub const ALL: [Self; 2] = [
        Self {
            path: "/page.css",
            text: include_str!("page/page.css"),
            media_type: "text/css; charset=utf-8",
        },
        Self {
            path: "/page.js",
            text: include_str!("page/page.js"),
            media_type: "text/javascript; charset=utf-8",
        },
    ];

    /// What changes when its bytes do. The page asks for `/page.css?DIGEST`, so a cache may keep it for ever.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = blake3::hash(self.text.as_bytes()).to_hex();
        digest.chars().take(16).collect()
    }
}

#[cfg(test)]
mod tests;
