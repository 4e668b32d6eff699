//! What becomes of images once they are published: `ramboot images`, `profile`, `rollback`,
//! `unpublish` and `gc`.
//!
//! [`rollback_target`], [`gc_plan`], [`crate::text::table`] and [`crate::text::time`] decide and word, values in and values out; the others read the store, call
//! them, and change it through [`crate::store::commit`] and [`crate::store::remove`].

pub mod args;
pub mod gc;
pub mod gc_plan;
pub mod list;
pub mod profile;
pub mod rollback;
pub mod rollback_target;
pub mod unpublish;

use serde::Serialize;

use crate::host::terminal;

/// Prints a result for a program, or for a person.
pub(crate) fn say(
    result: &impl Serialize,
    json: bool,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if json {
        terminal::print_json(result)
    } else {
        terminal::print(&text())
    }
}
