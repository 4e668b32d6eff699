//! A page of docs/ as steps to be followed: what is typed, and what one sees.
//!
//! A heading begins a step. A block marked `sh` is typed, and a block marked `text` after it is what one sees: each of its
//! lines is in what the commands printed, in this order; … stands for anything.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What stands below one heading.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) heading: String,
    pub(crate) blocks: Vec<Block>,
}

/// What is typed at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) commands: String,
    pub(crate) seen: Vec<String>,
}

/// The steps of docs/`name`.
pub(crate) fn read(name: &str) -> Result<Vec<Step>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let steps = parse(&text);
    ensure!(
        steps.iter().any(|step| !step.blocks.is_empty()),
        "{} has no block of commands",
        path.display()
    );
    Ok(steps)
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut within = None;
    for line in text.lines() {
        match (within, line.strip_prefix("```")) {
            (None, Some(word)) => {
                within = Some(word);
                if let ("sh", Some(step)) = (word, steps.last_mut()) {
                    step.blocks.push(Block::default());
                }
            }
            (Some(_), Some(_)) => within = None,
            (None, None) => {
                if let Some(heading) = line.strip_prefix('#') {
                    steps.push(Step {
                        heading: heading.trim_start_matches(['#', ' ']).to_owned(),
                        blocks: Vec::new(),
                    });
                }
            }
            (Some(word), None) => {
                let Some(block) = steps.last_mut().and_then(|step| step.blocks.last_mut()) else {
                    continue;
                };
                match word {
                    "sh" => block.commands += &format!("{line}\n"),
                    "text" if line.trim() != "…" => block.seen.push(line.trim().to_owned()),
                    _ => {}
                }
            }
        }
    }
    steps
}

impl Block {
    /// All that should be seen was.
    pub(crate) fn check(&self, printed: &str) -> Result<()> {
        let mut lines = printed.lines();
        for want in &self.seen {
            ensure!(
                lines.any(|line| fits(line, want)),
                "the page says that one sees {want:?} after {:?}; it printed: {printed}",
                self.commands.trim_end()
            );
        }
        Ok(())
    }
}

/// The pieces between … are in the line, in this order.
fn fits(line: &str, want: &str) -> bool {
    let mut rest = line;
    want.split('…').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}
