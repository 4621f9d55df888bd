//! What a command answers, for a person or for a script.

use crate::{globals::Globals, names, table::Table};
use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use portcullis_program::{
    Failure,
    output::{Paint, escaped, line, print, width},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
};

/// Standard output, for people or for scripts.
#[derive(Debug)]
pub struct Output {
    is_json: bool,
    /// Are ids and values whole, however wide the terminal is?
    is_wide: bool,
    paint: Paint,
    /// The columns of the terminal; none where there is no terminal, which has no edge.
    width: Option<usize>,
    zone: TimeZone,
}

/// Ids as a list shows them.
#[derive(Debug)]
pub struct Ids(BTreeMap<String, String>);

impl Ids {
    /// One of them.
    pub fn of(&self, id: &str) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

impl Output {
    /// For scripts with JSON; for people otherwise, with colours where a terminal shows them.
    pub fn of(globals: &Globals) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            is_json: globals.json,
            is_wide: globals.wide,
            paint: Paint::of(is_terminal),
            width: width().filter(|_| !globals.wide),
            zone: TimeZone::system(),
        }
    }

    /// For people, as if no terminal were there.
    #[cfg(test)]
    pub fn for_people(is_wide: bool) -> Self {
        Self { is_json: false, is_wide, paint: Paint::NONE, width: None, zone: TimeZone::UTC }
    }

    /// Are ids whole?
    pub fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Is it for scripts?
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Its colours.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// The columns of the terminal, where lines have to fit one.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// The time, where the person is.
    pub fn now(&self) -> ZonedDateTime {
        Timestamp::now().to_zoned_datetime(self.zone.clone())
    }

    /// How a list shows these ids: whole where that is wanted, else as far as they differ.
    pub fn ids<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Ids {
        Ids(if self.is_wide { BTreeMap::new() } else { names::shortest(ids) })
    }

    /// One thing: as it came for scripts, in words for people.
    pub fn show<T: Serialize>(&self, thing: &T, words: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_json { Self::json(thing) } else { line(&words()) }
    }

    /// A list: as it came for scripts; for people a table, or what to type when it is empty.
    pub fn list<T: Serialize>(
        &self,
        things: &[T],
        empty: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match (self.is_json, things.is_empty()) {
            (true, _) => Self::json(&things),
            (false, true) => line(empty),
            (false, false) => print(&self.table(&table())),
        }
    }

    /// A table in the middle of words.
    pub fn table(&self, table: &Table) -> String {
        table.lines(self.paint, self.width)
    }

    fn json(thing: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(thing);
        line(&escaped(&text.map_err(|error| not_json(&error))?))
    }

    /// One thing of many, a line each.
    pub fn json_line(thing: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(thing);
        line(&escaped(&text.map_err(|error| not_json(&error))?))
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::broken(format!("cannot write JSON: {error}"))
}
