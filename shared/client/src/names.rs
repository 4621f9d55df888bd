//! Which one is meant: things are named by their id, their name, or any part that only one has.

use crate::moments;
use jiff::ZonedDateTime;
pub use portcullis_domain::short;
use portcullis_program::Failure;
use portcullis_wire::{GrantView, NameView, RequestView};
use std::collections::{BTreeMap, BTreeSet};

/// How many names a failure lists.
const CANDIDATES_MAX: usize = 10;
/// How many letters may be wrong in a name that is suggested.
const TYPOS_MAX: usize = 2;

/// Something that people name on a command line.
pub trait Named {
    /// What it is, in a word.
    const WHAT: &'static str;
    /// The same of several.
    const SEVERAL: &'static str;
    /// The command that lists all.
    const LIST: &'static str;
    /// What it is called in full.
    fn id(&self) -> &str;
    /// What people call it.
    fn name(&self) -> String;
    /// Other names by which it may be meant.
    fn aliases(&self) -> Vec<String> {
        vec![]
    }
    /// It among several that may be meant, in a line.
    fn line(&self) -> String {
        let name = self.name();
        if name == self.id() { name } else { format!("{name}  {}", self.id()) }
    }
}

impl Named for NameView {
    const WHAT: &'static str = "target";
    const SEVERAL: &'static str = "targets";
    const LIST: &'static str = "portcullis targets";
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Named for GrantView {
    const WHAT: &'static str = "grant";
    const SEVERAL: &'static str = "grants";
    const LIST: &'static str = "portcullis grants";
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> String {
        format!("{}:{}/{}", short(&self.target), self.port, self.protocol)
    }
    /// A lease of every protocol is one of each.
    fn aliases(&self) -> Vec<String> {
        let each = self.protocol.transports().iter().filter(|it| **it != self.protocol);
        each.map(|it| format!("{}:{}/{it}", short(&self.target), self.port)).collect()
    }
    fn line(&self) -> String {
        let until = moments::until(self.end, &ZonedDateTime::now());
        format!("{}  {} of {}, {until}", self.id, self.name(), self.by)
    }
}

impl Named for RequestView {
    const WHAT: &'static str = "request";
    const SEVERAL: &'static str = "requests";
    const LIST: &'static str = "portcullis requests";
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> String {
        self.id.clone()
    }
}

/// The one that is meant: the exact id, the exact name, else a part of a name, else of an id.
pub fn find<'a, T: Named>(things: &'a [T], text: &str) -> Result<&'a T, Failure> {
    let lower = text.to_lowercase();
    let tries: [&dyn Fn(&T) -> bool; 5] = [
        &|it| it.id() == text,
        &|it| it.name() == text,
        &|it| it.name().to_lowercase().contains(&lower),
        &|it| it.aliases().iter().any(|it| it.to_lowercase().contains(&lower)),
        &|it| it.id().to_lowercase().contains(&lower),
    ];
    for fits in tries.iter().filter(|_| !text.is_empty()) {
        let found: Vec<&T> = things.iter().filter(|it| fits(it)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one),
            several => return Err(ambiguous(several, text)),
        }
    }
    Err(none(things, text))
}

/// The one with exactly this id or name.
pub fn exact<'a, T: Named>(things: &'a [T], text: &str) -> Option<&'a T> {
    things.iter().find(|it| it.id() == text || it.name() == text)
}

/// How much of the derived part of a request's id or a grant's is shown where lines have to fit a terminal, in characters.
const ENOUGH: usize = 5;

/// The end of a request's id or a grant's, such as `4f3kq-1`, which is part enough to name one of them on a command line.
pub fn end_of(id: &str) -> &str {
    let derived = id.rfind('-').unwrap_or(id.len());
    let from = id[..derived].char_indices().rev().nth(ENOUGH - 1).map_or(0, |(at, _)| at);
    &id[from..]
}

/// Each id by its end, which is what people recognise: its name, or where several have that name as much more of it as only one
/// has. Any of it names the thing on a command line.
pub fn shortest<'a>(ids: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let ids: BTreeSet<&str> = ids.into_iter().collect();
    let mut shortest = BTreeMap::new();
    let start_of = |before: &str| before.trim_end_matches('/').rfind('/').map_or(0, |it| it + 1);
    let mut left: Vec<(&str, usize)> = ids.iter().map(|it| (*it, start_of(it))).collect();
    while !left.is_empty() {
        let mut ends: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        for (id, start) in left.drain(..) {
            ends.entry(&id[start..]).or_default().push((id, start));
        }
        for (end, found) in ends {
            let is_alone = found.len() == 1;
            for (id, start) in found {
                // What has no more to it is whole.
                if is_alone || start == 0 {
                    shortest.insert(id.to_owned(), end.to_owned());
                } else {
                    left.push((id, start_of(&id[..start])));
                }
            }
        }
    }
    shortest
}

fn ambiguous<T: Named>(found: &[&T], text: &str) -> Failure {
    let mut lines: Vec<String> = found.iter().take(CANDIDATES_MAX).map(|it| it.line()).collect();
    if CANDIDATES_MAX < found.len() {
        lines.push(format!("and {} more", found.len() - CANDIDATES_MAX));
    }
    Failure::usage(format!("`{text}` may be any of {} {}:", found.len(), T::SEVERAL))
        .because(lines)
        .next("give more of its name, or its whole id")
}

fn none<T: Named>(things: &[T], text: &str) -> Failure {
    let near = nearest(things.iter().map(Named::name).collect(), text);
    let near = near.into_iter().take(CANDIDATES_MAX).map(|it| format!("did you mean `{it}`?"));
    Failure::not_found(format!("there is no {} `{text}`", T::WHAT))
        .because(near)
        .next(format!("`{}` lists what there is", T::LIST))
}

/// The names that need the fewest letters changed, if those are few.
fn nearest(mut names: Vec<String>, text: &str) -> Vec<String> {
    let far = |name: &String| typos(&name.to_lowercase(), &text.to_lowercase());
    let least = names.iter().map(far).min().unwrap_or(usize::MAX);
    names.retain(|it| far(it) == least && least <= TYPOS_MAX.min(text.chars().count() / 2));
    names
}

/// How many letters have to be changed, put in or left out (Levenshtein).
fn typos(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, a) in one.chars().enumerate() {
        let mut diagonal = n;
        let mut left = n + 1;
        row[0] = left;
        for (at, b) in other.iter().enumerate() {
            let up = row[at + 1];
            left = (diagonal + usize::from(a != *b)).min(left + 1).min(up + 1);
            diagonal = up;
            row[at + 1] = left;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_program::Exit;

    #[test]
    fn lease_of_every_protocol_is_found_by_each_of_them() {
        let grant = |id: &str, port: u16, protocol: &str| -> GrantView {
            let view = serde_json::json!({
                "id": id, "request": "r", "target": "/vm/web-1", "port": port, "protocol": protocol, "state": "open", "by": "ann",
                "sources": ["203.0.113.9"], "start": "2026-05-01T08:00:00Z", "end": "2026-05-01T09:00:00Z",
            });
            serde_json::from_value(view).expect("a grant")
        };
        let known = [grant("a-1", 3389, "*"), grant("b-1", 22, "TCP")];
        let found = |text| find(&known, text).map(|it| it.id.as_str()).map_err(|it| it.exit());
        assert_eq!([found("web-1:3389/tcp"), found("web-1:3389/udp")], [Ok("a-1"), Ok("a-1")]);
        assert_eq!((found("web-1:3389"), found("web-1:22/tcp")), (Ok("a-1"), Ok("b-1")));
        assert_eq!(found("web-1:22/udp"), Err(Exit::NotFound));
    }

    #[derive(Debug, PartialEq)]
    struct Thing(&'static str, &'static str);

    impl Named for Thing {
        const WHAT: &'static str = "target";
        const SEVERAL: &'static str = "targets";
        const LIST: &'static str = "portcullis targets";
        fn id(&self) -> &str {
            self.0
        }
        fn name(&self) -> String {
            self.1.to_owned()
        }
    }

    const THINGS: [Thing; 4] = [
        Thing("/rg-a/vm/web-1", "web-1"),
        Thing("/rg-a/vm/web-10", "web-10"),
        Thing("/rg-b/vm/db-1", "db-1"),
        Thing("/rg-c/vm/db-1", "DB-2"),
    ];

    fn id(text: &str) -> Result<&'static str, Exit> {
        find(&THINGS, text).map(|it| it.0).map_err(|it| it.exit())
    }

    #[test]
    fn the_exact_name_wins_over_a_part_of_another() {
        assert_eq!(id("web-1"), Ok("/rg-a/vm/web-1"));
        assert_eq!(id("/rg-a/vm/web-1"), Ok("/rg-a/vm/web-1"));
    }

    #[test]
    fn a_part_is_enough_where_only_one_has_it() {
        assert_eq!(id("-10"), Ok("/rg-a/vm/web-10"));
        assert_eq!(id("db-2"), Ok("/rg-c/vm/db-1"), "whatever the case");
        assert_eq!(id("rg-b"), Ok("/rg-b/vm/db-1"), "or a part of the id");
    }

    #[test]
    fn an_ambiguous_or_unknown_name_is_not_guessed() {
        assert_eq!(id("web"), Err(Exit::Usage));
        assert_eq!(id("db"), Err(Exit::Usage));
        assert_eq!(id("wbe-1"), Err(Exit::NotFound));
        assert_eq!(id(""), Err(Exit::NotFound));
        let failure = format!("{:?}", find(&THINGS, "wbe-1").expect_err("none"));
        assert!(failure.contains("did you mean `web-1`?"), "{failure}");
    }

    #[test]
    fn only_the_nearest_names_are_suggested() {
        let names = || ["db-1", "hub-1", "web-1"].map(str::to_owned).to_vec();
        assert_eq!(nearest(names(), "dbb-1"), ["db-1"]);
        assert_eq!(nearest(names(), "mainframe"), [""; 0]);
        assert_eq!(nearest(names(), "x"), [""; 0]);
    }

    #[test]
    fn typos_are_counted() {
        assert_eq!(typos("web-1", "web-1"), 0);
        assert_eq!(typos("web-1", "wbe-1"), 2);
        assert_eq!(typos("web-1", "web"), 2);
        assert_eq!(typos("", "abc"), 3);
    }

    #[test]
    fn ids_of_one_name_are_shown_as_far_as_they_differ() {
        let ids =
            ["/s/1/rg/a/vm/web-1", "/s/1/rg/b/vm/web-1", "/s/2/rg/b/vm/web-1", "/s/1/rg/a/vm/db-1", "web-1"];
        let shown = shortest(ids);
        let shown: Vec<&str> = ids.iter().map(|it| shown[*it].as_str()).collect();
        assert_eq!(shown, ["a/vm/web-1", "1/rg/b/vm/web-1", "2/rg/b/vm/web-1", "db-1", "web-1"]);
        assert_eq!(shortest(["", "/", "é/"]).len(), 3);
    }

    #[test]
    fn a_short_name_is_the_end_of_the_id() {
        assert_eq!(short("/subscriptions/a/virtualMachines/web-1"), "web-1");
        assert_eq!(short("host:web-1"), "host:web-1");
    }
}
