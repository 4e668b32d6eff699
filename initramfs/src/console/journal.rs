//! What was said so far: one line for each stage, kept for whoever looks later, and told to the manager once there is
//! a network.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ramboot_fetch::event::{Event, Next, Wait, What};
use ramboot_wire::stage::Bar;
use ramboot_wire::{BootArgs, Mac, Report, Stage, StageLine};

use crate::background::Background;
use crate::clock::{self, Watch};
use crate::console;
use crate::console::record::{Outcome, Record};
use crate::console::report::Reporter;
use crate::net::links::{Link, has_carrier};

/// What a stage line says, in the order it is printed.
pub type Facts = Vec<(String, String)>;

/// What was said so far, and to whom it is told.
#[derive(Debug)]
pub struct Journal {
    watch: Watch,
    /// With the time since the kernel's start.
    lines: Vec<(StageLine, Duration)>,
    /// When all that has ended was done, stages and what went on beside them.
    waterfall: Vec<Bar>,
    /// The link that carries the boot, once one does.
    link: Option<String>,
    manager: Option<Manager>,
}

#[derive(Debug)]
struct Manager {
    reporter: Reporter,
    mac: Mac,
    args: BootArgs,
}

impl Journal {
    /// Nothing was said yet; all times count from `watch`.
    #[must_use]
    pub const fn new(watch: Watch) -> Self {
        Self {
            watch,
            lines: Vec::new(),
            waterfall: Vec::new(),
            link: None,
            manager: None,
        }
    }

    /// Waits for what went on beside the stages.
    pub fn join<T: Send + 'static>(&mut self, background: Option<Background<T>>) -> Option<T> {
        let (value, bar) = background?.end()?;
        self.waterfall.push(bar);
        Some(value)
    }

    /// Runs a stage and says how it ended.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn stage<T>(
        &mut self,
        stage: Stage,
        run: impl FnOnce(&mut Self) -> anyhow::Result<(T, Facts)>,
    ) -> anyhow::Result<T> {
        console::begin(stage);
        let (start, begin) = (clock::now(), self.watch.ms());
        let result = run(self);
        // Not the difference of two rounded numbers, which may be one more than it took.
        let ms = clock::now().duration_since(start).as_millis();
        let bar = self.watch.bar(stage.name(), begin);
        let (value, error, facts) = match result {
            Ok((value, facts)) => (Ok(value), None, facts),
            Err(error) => {
                let text = format!("{error:#}");
                (
                    Err(error.context(format!("stage {stage}"))),
                    Some(text),
                    Facts::new(),
                )
            }
        };
        let line = StageLine {
            stage,
            error,
            facts,
            ms: u64::try_from(ms).unwrap_or(u64::MAX),
        };
        self.waterfall.push(bar);
        console::end(&line);
        self.report(&line);
        self.lines.push((line, clock::since_kernel()));
        value
    }

    /// There is a network: the manager hears of every stage so far.
    pub fn connect(&mut self, args: &BootArgs, link: &Link) {
        self.link = Some(link.name.clone());
        let mac = link.mac;
        self.manager = Reporter::start(args.bases.clone()).map(|reporter| Manager {
            reporter,
            mac,
            args: args.clone(),
        });
        self.lines.iter().for_each(|(line, _)| self.report(line));
    }

    fn report(&self, line: &StageLine) {
        if let Some(manager) = &self.manager {
            let is_last = line.stage == Stage::Handover || line.error.is_some();
            let waterfall = if is_last { self.sorted() } else { Vec::new() };
            manager.reporter.send(&Report {
                mac: manager.mac,
                image: manager.args.image,
                line: line.clone(),
                waterfall,
            });
        }
    }

    /// The waterfall by beginning, as it is drawn.
    fn sorted(&self) -> Vec<Bar> {
        let mut bars = self.waterfall.clone();
        bars.sort_by_key(|bar| bar.begin_ms);
        bars
    }

    /// Says what happens in the middle of a stage.
    pub fn event(&self, event: &Event, stage: Stage) {
        match event {
            Event::Wait(wait) => console::wait(self.explain(wait)),
            event => console::event(event),
        }
        let Event::Bad(bad) = event else { return };
        // Not a stage line on the console: the stage goes on.
        self.report(&StageLine {
            stage,
            error: Some(bad.to_string()),
            facts: vec![fact("again", "yes")],
            ms: 0,
        });
    }

    /// A pulled cable looks like a dead manager to a socket; whoever stands before the machine should hear which it is.
    fn explain(&self, wait: &Wait) -> Wait {
        match &self.link {
            Some(name) if !has_carrier(Path::new("/sys/class/net"), name) => Wait {
                what: What::Carrier(vec![name.clone()]),
                why: None,
                next: Next::Again,
                ..wait.clone()
            },
            _ => wait.clone(),
        }
    }

    /// For whoever looks later: all stage lines as text, and the [`Record`]. A worker boots without them, too.
    pub fn keep(&self, args: &BootArgs, outcome: Outcome<'_>) {
        let lines = self.lines.iter();
        let text: String = lines.map(|(line, _)| format!("{line}\n")).collect();
        let record = Record::new(args, outcome, &self.lines, self.sorted());
        let kept = serde_json::to_string_pretty(&record)
            .map_err(io::Error::from)
            .and_then(|json| {
                fs::create_dir_all("/run/ramboot")?;
                fs::write("/run/ramboot/boot", text)?;
                fs::write("/run/ramboot/boot.json", format!("{json}\n"))
            });
        if let Err(error) = kept {
            console::say(&format!("ramboot: writing /run/ramboot: {error}"));
        }
    }

    /// Lets the last reports go out.
    pub fn linger(&self) {
        if let Some(manager) = &self.manager {
            manager.reporter.linger();
        }
    }
}

/// One fact of a stage line.
#[must_use]
pub fn fact(key: &str, value: impl Display) -> (String, String) {
    (key.to_owned(), value.to_string())
}
