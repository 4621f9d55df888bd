//! Tables: a mark, then columns of words, as wide as the terminal at most.

use console::measure_text_width;
use portcullis_program::output::{Paint, cut, printable};
use std::iter;

/// What a row is about, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be, or open.
    Good,
    /// Nothing to say.
    Plain,
    /// Wants a look.
    Look,
    /// Wrong.
    Bad,
}

/// A table with a mark before each row.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Row>,
    left_out_first: Vec<&'static str>,
    kept: Vec<&'static str>,
    is_prose: bool,
}

#[derive(Debug)]
struct Row {
    mark: Mark,
    cells: Vec<String>,
    /// Is all of it to be read, also where it takes further lines?
    is_alarm: bool,
}

/// Columns of room before the first cell: the mark and a space.
const MARK: usize = 2;
/// Columns of room between two cells.
const BETWEEN: usize = 2;
/// A table's column of this width, in columns of a terminal, is never cut.
const WHOLE_MAX: usize = 16;
/// To how few columns of a terminal a wider one is cut before another one is left out.
const CUT_MIN: usize = 12;
impl Table {
    /// An empty one with these columns. A row is one line: tools like `grep` and `awk` rely on it.
    pub fn of(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: vec![], left_out_first: vec![], kept: vec![], is_prose: false }
    }

    /// An empty one whose cells are all to be read: where a terminal is too narrow they go on in further lines.
    pub fn prose(header: &[&'static str]) -> Self {
        Self { is_prose: true, ..Self::of(header) }
    }

    /// The same, which does without these columns where a terminal is too narrow; the first of them goes first.
    #[must_use]
    pub fn leaving_out(self, columns: &[&'static str]) -> Self {
        Self { left_out_first: columns.to_vec(), ..self }
    }

    /// The same with these columns whole wherever the terminal has room for them, before all others.
    #[must_use]
    pub fn keeping(self, columns: &[&'static str]) -> Self {
        Self { kept: columns.to_vec(), ..self }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, mark: Mark, cells: [String; N]) {
        self.push(mark, cells, false);
    }

    /// One more row, of which nothing is cut: on a narrow terminal it goes on in further lines.
    pub fn alarm<const N: usize>(&mut self, mark: Mark, cells: [String; N]) {
        self.push(mark, cells, true);
    }

    fn push<const N: usize>(&mut self, mark: Mark, cells: [String; N], is_alarm: bool) {
        // A line of text is one line of the table.
        let cells = cells.map(|it| printable(&it).replace('\n', " "));
        self.rows.push(Row { mark, cells: cells.into(), is_alarm });
    }

    /// The rows under their header. Without a width, in columns of a terminal, every value is whole.
    pub fn lines(&self, paint: Paint, width: Option<usize>) -> String {
        let columns = self.columns(width);
        let header: Vec<String> = self.header.iter().map(|it| (*it).to_owned()).collect();
        let mut text = String::new();
        for line in self.laid_out(&header, &columns, self.is_prose) {
            text.push_str(&paint.dim(format!("  {line}").trim_end()));
            text.push('\n');
        }
        for Row { mark, cells, is_alarm } in &self.rows {
            let signs = iter::once(mark.painted(paint)).chain(iter::repeat(" ".to_owned()));
            for (line, sign) in
                self.laid_out(cells, &columns, self.is_prose || *is_alarm).into_iter().zip(signs)
            {
                text.push_str(format!("{sign} {line}").trim_end());
                text.push('\n');
            }
        }
        let is_shown = |name: &&&str| columns.iter().any(|(column, _)| self.header[*column] == **name);
        let hidden: Vec<&str> = self.header.iter().filter(|it| !is_shown(it)).copied().collect();
        if !hidden.is_empty() {
            let said = format!("  --wide also shows {}", hidden.join(", "));
            text.push_str(&paint.dim(&said));
            text.push('\n');
        }
        text
    }

    /// The columns that are shown, each with its width.
    fn columns(&self, width: Option<usize>) -> Vec<(usize, usize)> {
        let natural: Vec<usize> = (0..self.header.len()).map(|it| self.natural(it)).collect();
        let mut shown: Vec<usize> = (0..natural.len()).collect();
        let sized = |shown: &[usize], most: &dyn Fn(usize) -> usize| -> Vec<(usize, usize)> {
            shown.iter().map(|it| (*it, natural[*it].min(most(*it)))).collect()
        };
        let taken = |columns: &[(usize, usize)]| {
            let cells: usize = columns.iter().map(|(_, width)| width).sum();
            MARK + cells + BETWEEN * columns.len().saturating_sub(1)
        };
        let is_kept = |column: usize| self.kept.contains(&self.header[column]);
        let least = |column: usize| {
            let natural = natural[column];
            if natural <= WHOLE_MAX || is_kept(column) { natural } else { CUT_MIN }
        };
        let Some(width) = width else { return sized(&shown, &|_| usize::MAX) };
        for name in &self.left_out_first {
            if taken(&sized(&shown, &least)) <= width {
                break;
            }
            shown.retain(|it| self.header[*it] != *name);
        }
        // Wider columns share alike in the room that the others leave.
        let caps = (1..=natural.iter().copied().max().unwrap_or_default()).rev();
        let mut fits = caps.clone().map(|cap| sized(&shown, &|it| cap.max(least(it))));
        let squeezed = || caps.clone().map(|cap| sized(&shown, &|_| cap)).find(|it| taken(it) <= width);
        fits.find(|it| taken(it) <= width).or_else(squeezed).unwrap_or_else(|| sized(&shown, &|_| usize::MAX))
    }

    fn natural(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|it| it.cells[column].as_str());
        cells.chain(iter::once(self.header[column])).map(measure_text_width).max().unwrap_or_default()
    }

    /// The lines of a row, with room between its cells.
    fn laid_out(&self, cells: &[String], columns: &[(usize, usize)], is_whole: bool) -> Vec<String> {
        let parts: Vec<(Vec<String>, usize)> = columns
            .iter()
            .map(|(column, width)| {
                let cell = &cells[*column];
                let lines = match (is_whole, self.is_prose) {
                    (false, _) => vec![cut(cell, *width)],
                    (true, true) => wrapped(cell, *width),
                    // Only a word that has no room in a line is cut.
                    (true, false) => wrapped(cell, *width).iter().map(|it| cut(it, *width)).collect(),
                };
                (lines, *width)
            })
            .collect();
        let height = parts.iter().map(|(lines, _)| lines.len()).max().unwrap_or_default();
        let line = |n: usize| {
            let mut line = String::new();
            for (lines, width) in &parts {
                let cell = lines.get(n).map_or("", String::as_str);
                line.push_str(cell);
                let room = width.saturating_sub(measure_text_width(cell)) + BETWEEN;
                line.extend(iter::repeat_n(' ', room));
            }
            line
        };
        (0..height).map(line).collect()
    }
}

/// The text in lines of whole words. A word that is wider than a line has one of its own, as it is.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Self::Good => "●",
            Self::Plain => "○",
            Self::Look => "▲",
            Self::Bad => "✕",
        }
    }

    /// The sign in its colour.
    pub fn painted(self, paint: Paint) -> String {
        self.colour(paint, self.sign())
    }

    /// A text in its colour.
    pub fn colour(self, paint: Paint, text: &str) -> String {
        match self {
            Self::Good => paint.green(text),
            Self::Plain => paint.dim(text),
            Self::Look => paint.yellow(text),
            Self::Bad => paint.red(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "22/tcp, from 10.0.0.0/8, at most 3h, with an approval";

    fn machines() -> Table {
        let mut table = Table::of(&["NAME", "PLACE", "NOTE"]).leaving_out(&["PLACE"]);
        table.row(Mark::Good, ["db-1", "westeurope", LONG].map(str::to_owned));
        table
    }

    fn widest(text: &str) -> usize {
        text.lines().map(measure_text_width).max().unwrap_or_default()
    }

    #[test]
    fn every_row_is_a_line() {
        let mut table = Table::of(&["NAME", "NOTE"]);
        table.row(Mark::Good, ["db-1".to_owned(), "two\nlines".to_owned()]);
        table.row(Mark::Look, ["web-12".to_owned(), String::new()]);
        assert_eq!(table.lines(Paint::NONE, None), "  NAME    NOTE\n● db-1    two lines\n▲ web-12\n");
    }

    #[test]
    fn row_without_a_width_has_whole_values() {
        let text = machines().lines(Paint::NONE, None);
        assert!(text.contains(LONG) && text.contains("westeurope"), "{text}");
    }

    #[test]
    fn row_that_is_wider_than_the_terminal_has_its_longest_value_cut() {
        let text = machines().lines(Paint::NONE, Some(50));
        let wanted = "  NAME  PLACE       NOTE\n● db-1  westeurope  22/tcp, from 10.0.0.0/8, at m…\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn column_without_room_is_left_out_and_named() {
        let text = machines().lines(Paint::NONE, Some(28));
        let wanted = "  NAME  NOTE\n● db-1  22/tcp, from 10.0.0…\n  --wide also shows PLACE\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn kept_column_is_whole_and_an_alarm_goes_on_in_further_lines() {
        let mut table = Table::of(&["NAME", "NOTE", "UNTIL"]).keeping(&["UNTIL"]);
        let (name, until) = ("a-machine-of-a-long-name", "until 14:05:30, 59 min left");
        table.row(Mark::Good, [name, LONG, until].map(str::to_owned));
        table.alarm(
            Mark::Look,
            ["web-1", "the lock of `22/tcp` is defeated by SSH", until].map(str::to_owned),
        );
        let text = table.lines(Paint::NONE, Some(60));
        assert!(widest(&text) <= 60 && text.matches(until).count() == 2, "{text}");
        let alarm: Vec<&str> = text.lines().skip(2).map(|it| it.trim_start_matches(['▲', ' '])).collect();
        assert!(alarm.len() > 1 && alarm.concat().contains("defeated"), "{text}");
        assert_eq!(text.matches('…').count(), 2, "the name and the note of the other one: {text}");
    }

    #[test]
    fn no_row_is_wider_than_any_terminal_that_has_room_for_its_columns() {
        for width in 8..120 {
            let text = machines().lines(Paint::NONE, Some(width));
            let rows = text.lines().filter(|it| !it.contains("--wide")).collect::<Vec<_>>().join("\n");
            assert!(widest(&rows) <= width, "{width}: {text}");
        }
        let mut table = Table::of(&["NAME", "NOTE"]);
        table.row(Mark::Plain, ["機械".to_owned(), "機".repeat(40)]);
        let text = table.lines(Paint::NONE, Some(30));
        assert!(widest(&text) <= 30 && text.contains('…'), "a sign may take two columns: {text}");
    }

    #[test]
    fn prose_goes_on_in_further_lines_between_its_words() {
        let mut table = Table::prose(&["CHECK", "FOUND"]);
        let found = "the token is refused by /subscriptions/a-very-long-name-of-a-thing altogether";
        table.row(Mark::Bad, ["cloud".to_owned(), found.to_owned()]);
        let wanted = "  CHECK  FOUND\n✕ cloud  the token is\n         refused by\n         /subscriptions/a-very-long-name-of-a-thing\n         altogether\n";
        assert_eq!(table.lines(Paint::NONE, Some(23)), wanted);
    }
}
