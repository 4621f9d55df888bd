//! A line for a person at a terminal: when, what, about what. Scripts and log collectors get the whole line.

use crate::steady;
use jiff::tz::TimeZone;
use portcullis_program::output::{Paint, cut, printable};
use std::fmt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Fields whose values stand for themselves: the machine, and its grant.
const PLAIN: [&str; 3] = ["target", "target.id", "grant"];

/// Writes short lines.
#[derive(Debug)]
pub struct Short {
    /// Its colours.
    pub paint: Paint,
    /// The columns of the terminal, if they are known.
    pub width: Option<usize>,
}

impl<S, N> FormatEvent<S, N> for Short
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let at = steady::now().to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S").to_string();
        writeln!(to, "{}", self.line(&at, *event.metadata().level(), &said))
    }
}

impl Short {
    fn line(&self, at: &str, level: Level, said: &Said) -> String {
        let text = printable(&format!("{}{}", said.message, said.rest)).replace('\n', " ");
        let before = format!("{at}  ");
        match level {
            // A fault is told whole.
            Level::ERROR => format!("{before}{} {text}", self.paint.red("error:")),
            Level::WARN => format!("{before}{} {text}", self.paint.yellow("warning:")),
            _ => {
                let room = self.width.map(|it| it.saturating_sub(before.len()));
                let text = room.map_or_else(|| text.clone(), |room| cut(&text, room));
                format!("{}{text}", self.paint.dim(&before))
            }
        }
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    rest: String,
}

impl Said {
    fn add(&mut self, field: &Field, value: &str) {
        // Of a long id, the end is what people recognise.
        let value = value.rsplit('/').next().filter(|_| value.starts_with('/')).unwrap_or(value);
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name if PLAIN.contains(&name) => self.rest.extend(["  ", value]),
            name => self.rest.extend(["  ", name, "=", value]),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}
