//! One event as a line of the log. Whatever an event says passes through here, so nothing that comes from outside begins a
//! line, moves a cursor or turns the text around it; and whose lines are too many is asked for here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ramboot_wire::plain;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, callsite};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::budget::{Budget, LeftOut};

/// Lines that others can cause, and the time.
#[derive(Debug)]
pub(super) struct Ration {
    budget: Mutex<Budget<callsite::Identifier>>,
    now: fn() -> Duration,
}

impl Ration {
    /// All of it is left.
    pub(super) fn new(now: fn() -> Duration) -> Arc<Self> {
        Arc::new(Self {
            budget: Mutex::new(Budget::new()),
            now,
        })
    }

    /// What was left out, and is to be told now.
    pub(super) fn due(&self) -> Vec<LeftOut> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.due((self.now)())
    }

    fn has_room_for(&self, event: &Event<'_>) -> bool {
        // Whoever asks for more than that wants all of it.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut source = Source::default();
        event.record(&mut source);
        // What is of no source is not caused by others.
        let Some(source) = source.name() else {
            return true;
        };
        let kind = event.metadata().callsite();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(&kind, &source, (self.now)(), || text(event))
    }
}

/// An event that has room is formatted as `F` does it.
pub(super) struct Rationed<F>(pub(super) F, pub(super) Arc<Ration>);

impl<S, N, F> FormatEvent<S, N> for Rationed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.1.has_room_for(event) {
            self.0.format_event(context, writer, event)
        } else {
            Ok(())
        }
    }
}

/// The message and the other fields, each on one line.
#[derive(Debug)]
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut words = Words {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut words);
        words.result
    }
}

struct Words<W> {
    writer: W,
    is_first: bool,
    result: fmt::Result,
}

impl<W: fmt::Write> Visit for Words<W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // It stands in the message already.
        if field.name() == SOURCE {
            return;
        }
        let space = if self.is_first { "" } else { " " };
        self.is_first = false;
        let value = plain::line(&format!("{value:?}"), MAX_VALUE);
        let written = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{name}={value}"),
        };
        self.result = self.result.and(written);
    }
}

/// The start of an event's line.
fn text(event: &Event<'_>) -> String {
    let mut words = Words {
        writer: String::new(),
        is_first: true,
        result: Ok(()),
    };
    event.record(&mut words);
    plain::line(&words.writer, MAX_EXAMPLE)
}

/// Whom an event is about: the field that says it best.
#[derive(Default)]
struct Source(Option<(usize, String)>);

impl Source {
    /// Without a port, of which everybody has many.
    fn name(self) -> Option<String> {
        let (_, text) = self.0?;
        let address = text.parse::<SocketAddr>();
        let name = address.map_or(text, |address| address.ip().to_string());
        Some(plain::line(&name, MAX_SOURCE))
    }
}

impl Visit for Source {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Some(rank) = SOURCES.iter().position(|name| *name == field.name()) else {
            return;
        };
        if self.0.as_ref().is_none_or(|(best, _)| rank < *best) {
            self.0 = Some((rank, format!("{value:?}")));
        }
    }
}

/// A field that is not written: of a line that names its source in its message.
const SOURCE: &str = "source";
/// Fields that say who caused a line, the most certain first: an address is harder to make up than a MAC in a report.
const SOURCES: [&str; 4] = [SOURCE, "peer", "client", "worker"];
/// Characters of a field.
const MAX_VALUE: usize = 4_096;
/// Characters of a line that stands for those that are left out.
const MAX_EXAMPLE: usize = 160;
/// Characters.
const MAX_SOURCE: usize = 64;
