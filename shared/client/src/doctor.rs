//! A checkup.

use crate::{
    client::Client,
    output::Output,
    table::{Mark, Table},
};
use portcullis_domain::Verdict;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::DoctorView;

/// Is all as it should be, and what is to be done where it is not?
pub fn run(client: &Client) -> Result<Exit, Failure> {
    let seen: DoctorView = client.http.get("/v1/doctor")?;
    client.out.show(&seen, || words(&client.out, &seen))?;
    Ok(if seen.healthy { Exit::Done } else { Exit::Broken })
}

/// A checkup in words.
pub fn words(out: &Output, seen: &DoctorView) -> String {
    let mut table = Table::prose(&["CHECK", "FOUND"]);
    for it in &seen.findings {
        table.row(mark(it.verdict), [it.check.clone(), it.found.clone()]);
    }
    let mut text = out.table(&table);
    let advised = seen.findings.iter().filter_map(|it| Some((&it.check, it.advice.as_ref()?)));
    let mut said: Vec<String> = vec![];
    for line in advised.map(|(check, advice)| format!("  {check}: {advice}")) {
        if !said.contains(&line) {
            said.push(line);
        }
    }
    text.push_str(match (seen.healthy, said.is_empty()) {
        (true, true) => "\nAll checks passed.",
        (true, false) => "\nNo check failed. To do:\n",
        (false, _) => "\nA check failed. To do:\n",
    });
    text.push_str(&output::printable(&said.join("\n")));
    text
}

fn mark(verdict: Verdict) -> Mark {
    match verdict {
        Verdict::Ok => Mark::Good,
        Verdict::Warning => Mark::Look,
        Verdict::Failed => Mark::Bad,
    }
}
