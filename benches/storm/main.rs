//! Boot storms against the built manager, in network namespaces of their own: what is wanted of it, and whether it holds.
//!
//! `cargo bench --bench storm` runs all, `… -- gigabit order` some; `… -- small` a tenth of each, to see that they
//! work; `… -- storm machines=1000 mb=20` other numbers. Needs root. Timelines go to `target/storm/`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod boots;
mod checks;
mod rude;
mod stream;

use std::process::ExitCode;

use checks::Checks;

/// How much of it.
#[derive(Debug, Clone, Copy)]
struct Scale {
    small: bool,
    machines: Option<u32>,
    megabytes: Option<usize>,
}

impl Scale {
    fn of<T>(self, full: T, small: T) -> T {
        if self.small { small } else { full }
    }

    fn machines(self, full: u32, small: u32) -> u32 {
        self.machines.unwrap_or_else(|| self.of(full, small))
    }

    /// Bytes of an image.
    fn image(self, full: usize, small: usize) -> usize {
        self.megabytes.unwrap_or_else(|| self.of(full, small)) * 1_000_000
    }
}

type Scenario = fn(Scale, &mut Checks) -> anyhow::Result<()>;

const SCENARIOS: [(&str, Scenario); 6] = [
    ("storm", boots::storm),
    ("gigabit", boots::gigabit),
    ("order", boots::order),
    ("stream", stream::stream),
    ("slow", rude::slow),
    ("idle", rude::idle),
];

fn main() -> ExitCode {
    // Cargo says --bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all that is wanted holds.
fn run(words: &[String]) -> anyhow::Result<bool> {
    if !rustix::process::geteuid().is_root() {
        println!("storms: not measured: network namespaces need root");
        return Ok(true);
    }
    let number = |key: &str| {
        words
            .iter()
            .find_map(|word| word.strip_prefix(key)?.parse().ok())
    };
    let scale = Scale {
        small: words.iter().any(|word| word == "small"),
        machines: number("machines="),
        megabytes: number("mb=").and_then(|mb| usize::try_from(mb).ok()),
    };
    let wanted = |name: &str| words.iter().any(|word| word == name);
    let all = !SCENARIOS.iter().any(|(name, _)| wanted(name));
    let mut checks = Checks::default();
    for (name, scenario) in SCENARIOS {
        if all || wanted(name) {
            scenario(scale, &mut checks)?;
        }
    }
    print!("\n{checks}");
    Ok(checks.all_hold())
}
