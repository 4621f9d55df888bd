//! One command about several things: each is tried, and what became of each is said.

use portcullis_program::{Exit, Failure};

/// What became of several things.
#[derive(Debug)]
pub struct Outcomes<T> {
    /// What was done.
    pub done: Vec<T>,
    /// What was not, by name.
    failed: Vec<(String, Failure)>,
    /// What was not tried any more.
    untried: Vec<String>,
    /// What they are, such as `machines`.
    what: &'static str,
}

impl<T> Outcomes<T> {
    /// Tries each. Where no answer comes the rest is not tried.
    pub fn of<I>(
        what: &'static str,
        items: &[I],
        name: impl Fn(&I) -> String,
        mut run: impl FnMut(&I) -> Result<T, Failure>,
    ) -> Self {
        let mut outcomes = Self { done: vec![], failed: vec![], untried: vec![], what };
        for item in items {
            let is_lost = outcomes.failed.last().is_some_and(|(_, it)| it.exit() == Exit::Unavailable);
            if is_lost {
                outcomes.untried.push(name(item));
            } else {
                outcomes.add(name(item), run(item));
            }
        }
        outcomes
    }

    /// What became of things that were all tried.
    pub fn gathered(
        what: &'static str,
        results: impl IntoIterator<Item = (String, Result<T, Failure>)>,
    ) -> Self {
        let mut outcomes = Self { done: vec![], failed: vec![], untried: vec![], what };
        for (name, result) in results {
            outcomes.add(name, result);
        }
        outcomes
    }

    fn add(&mut self, name: String, result: Result<T, Failure>) {
        match result {
            Ok(done) => self.done.push(done),
            Err(failure) => self.failed.push((name, failure)),
        }
    }

    /// One failure for all that failed; of a single thing, its own.
    pub fn ended(mut self) -> Result<(), Failure> {
        let (failed, untried) = (self.failed.len(), self.untried.len());
        let all = self.done.len() + failed + untried;
        let Some((_, first)) = self.failed.first() else { return Ok(()) };
        if all == 1 {
            return self.failed.pop().map_or(Ok(()), |(_, failure)| Err(failure));
        }
        let message = format!("the command failed for {} of {all} {}", failed + untried, self.what);
        let lines = self.failed.iter().flat_map(|(name, failure)| said(name, failure));
        let untried = self.untried.iter().map(|name| (format!("`{name}`: not tried"), String::new()));
        let (lines, codes): (Vec<_>, Vec<_>) = lines.chain(untried).unzip();
        let whole = first.clone().saying(message).because(lines).coded(codes);
        Err(whole)
    }
}

/// Why one of them failed: a line for each reason of a refusal, with its code.
fn said(name: &str, failure: &Failure) -> Vec<(String, String)> {
    if failure.exit() == Exit::Refused && !failure.reasons().is_empty() {
        let codes = failure.codes().iter().cloned().chain(std::iter::repeat(String::new()));
        let reasons = failure.reasons().iter().map(|it| format!("`{name}`: {it}"));
        return reasons.zip(codes).collect();
    }
    let why = failure.reasons().iter().fold(failure.message().to_owned(), |text, it| text + ": " + it);
    vec![(format!("`{name}`: {why}"), String::new())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(outcomes: &[(&str, Result<u8, Failure>)]) -> Outcomes<u8> {
        Outcomes::of("machines", outcomes, |it| it.0.to_owned(), |it| it.1.clone())
    }

    fn refused(why: &str) -> Failure {
        let refused = Failure::refused("the command was refused, and changed nothing");
        refused.because([why.to_owned()]).coded(["not-enabled".to_owned()]).next("guard it")
    }

    #[test]
    fn what_was_done_is_kept_and_each_failure_is_named_with_its_code() {
        let outcomes = tried(&[("web-1", Ok(1)), ("web-2", Err(refused("no"))), ("web-3", Ok(3))]);
        assert_eq!(outcomes.done, [1, 3]);
        let failure = outcomes.ended().expect_err("one failed");
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.body(), "the command failed for 1 of 3 machines\n  `web-2`: no\n  guard it");
        assert_eq!(failure.json()["reasons"][0]["code"], "not-enabled");
    }

    #[test]
    fn one_thing_fails_as_itself_and_none_is_success() {
        assert_eq!(tried(&[("web-1", Err(refused("no")))]).ended(), Err(refused("no")));
        assert_eq!(tried(&[("web-1", Ok(1))]).ended(), Ok(()));
        assert_eq!(tried(&[]).ended(), Ok(()));
    }

    #[test]
    fn after_an_answer_that_did_not_come_the_rest_is_not_tried() {
        let lost = Failure::unavailable("cannot reach it").because(["timeout".to_owned()]);
        let outcomes = tried(&[("web-1", Err(lost)), ("web-2", Ok(2))]);
        assert_eq!(outcomes.done, [0; 0]);
        let failure = outcomes.ended().expect_err("all failed");
        let wanted = "the command failed for 2 of 2 machines\n  `web-1`: cannot reach it: timeout\n  \
            `web-2`: not tried";
        assert_eq!((failure.body().as_str(), failure.exit()), (wanted, Exit::Unavailable));
    }
}
