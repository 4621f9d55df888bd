//! Comma-separated values, as RFC 4180 has them, for spreadsheets that must not run what is in them.

/// What a spreadsheet may take for a formula, and what marks that it was made text.
const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// A line of cells, with its end.
pub fn csv_line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|it| cell(it.as_ref())).collect();
    format!("{}\r\n", cells.join(","))
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
    fn what_is_no_line_is_told() {
        for bad in ["\"open", "\"a\"b,c"] {
            assert_eq!(csv_cells(bad), None, "{bad}");
        }
    }
}
