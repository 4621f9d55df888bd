//! Comma-separated values, as RFC 4180 has them but for the end of a line, for spreadsheets that must not run what is in them.

use jiff::Timestamp;

/// The first characters of a formula, also in the width of East Asian characters, and the mark of a cell that was made text.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
const GUARDED: [char; 12] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n', '\''];

/// A line of cells, with its end.
pub fn csv_line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|it| cell(it.as_ref())).collect();
    format!("{}\n", cells.join(","))
}

/// A time in UTC as a cell: the number of its digits is fixed, and no greater than what any reader takes.
pub fn csv_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Quoted where it must be. What a spreadsheet would take for a formula is made text.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(GUARDED) { "'" } else { "" };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{guard}{text}")
    }
}

/// The cells of a line without its end, as they were before they were written; `None` if it is not one.
pub(crate) fn csv_cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut rest) = (vec![], line);
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => {
                let (mut text, mut quoted) = (String::new(), quoted);
                loop {
                    let (before, after) = quoted.split_once('"')?;
                    text.push_str(before);
                    match after.strip_prefix('"') {
                        Some(after) => {
                            text.push('"');
                            quoted = after;
                        }
                        None => break (text, after),
                    }
                }
            }
        };
        cells.push(match cell.strip_prefix('\'') {
            Some(text) => text.to_owned(),
            None => cell,
        });
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return after.is_empty().then_some(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_runs_nothing() {
        let cells = ["=cmd()", "+1", "-1", "@a", "\tb", "'c", "", "a,b", "say \"no\"", "\"", "plain"];
        let line = csv_line(cells);
        assert!(line.starts_with("'=cmd(),'+1,'-1,'@a,'\tb,''c,,\"a,b\",\"say \"\"no\"\"\","), "{line}");
        assert_eq!(csv_cells(line.trim_end()), Some(cells.map(str::to_owned).to_vec()));
    }

    #[test]
    fn cell_that_begins_with_a_line_feed_or_a_full_width_sign_is_made_text() {
        let cells = ["＝cmd()", "＋1", "－1", "＠a", "\n=b"];
        let line = csv_line(cells);
        assert_eq!(line, "'＝cmd(),'＋1,'－1,'＠a,\"'\n=b\"\n");
        assert_eq!(
            csv_cells(line.strip_suffix('\n').expect("a line")),
            Some(cells.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn time_has_six_digits_whether_or_not_it_is_a_whole_second() {
        let at = |nanosecond| Timestamp::new(1_800_000_000, nanosecond).expect("in range");
        assert_eq!(csv_time(at(0)), "2027-01-15T08:00:00.000000Z");
        assert_eq!(csv_time(at(123_456_789)), "2027-01-15T08:00:00.123456Z");
    }

    #[test]
    fn an_invalid_line_is_reported() {
        for bad in ["\"open", "\"a\"b,c"] {
            assert_eq!(csv_cells(bad), None, "{bad}");
        }
    }
}
