//! Tables: a mark, then columns of words.

use comfy_table::{Table as Grid, presets::NOTHING};
use portcullis_program::output::{Paint, printable};

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
    rows: Vec<(Mark, Vec<String>)>,
}

impl Table {
    /// An empty one with these columns.
    pub fn of(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: vec![] }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, mark: Mark, cells: [String; N]) {
        self.rows.push((mark, cells.into()));
    }

    /// The rows under their header, a line each.
    pub fn lines(&self, paint: Paint) -> String {
        const BETWEEN: u16 = 2;
        let mut grid = Grid::new();
        grid.load_style(NOTHING);
        grid.set_header(std::iter::once(&"").chain(&self.header).copied());
        for (mark, cells) in &self.rows {
            // Every row is one line: tools like `grep` and `awk` rely on it.
            let cells = cells.iter().map(|it| printable(it).replace('\n', " "));
            grid.add_row(std::iter::once(mark.sign().to_owned()).chain(cells));
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, if column.index == 0 { 1 } else { BETWEEN }));
        }
        // The mark is the first character of its line, so it can be painted after the layout.
        let signs = std::iter::once(None).chain(self.rows.iter().map(|(mark, _)| Some(*mark)));
        let paint_line = |(line, mark): (&str, Option<Mark>)| match mark {
            None => paint.dim(line),
            Some(mark) => line.replacen(mark.sign(), &mark.painted(paint), 1),
        };
        let text = grid.trim_fmt();
        text.lines().zip(signs).map(paint_line).map(|it| it + "\n").collect()
    }
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
        match self {
            Self::Good => paint.green(self.sign()),
            Self::Plain => paint.dim(self.sign()),
            Self::Look => paint.yellow(self.sign()),
            Self::Bad => paint.red(self.sign()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_line() {
        let mut table = Table::of(&["NAME", "NOTE"]);
        table.row(Mark::Good, ["db-1".to_owned(), "two\nlines".to_owned()]);
        table.row(Mark::Look, ["web-12".to_owned(), String::new()]);
        assert_eq!(table.lines(Paint::NONE), "  NAME    NOTE\n● db-1    two lines\n▲ web-12\n");
    }
}
