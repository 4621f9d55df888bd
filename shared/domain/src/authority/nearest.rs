//! The nearest ask that would pass, where one does not.

use super::{Circumstances, Decide, Question, Right};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// Longest first: the steps in which a shorter length is looked for, in minutes.
const LENGTHS: [i64; 9] = [1_440, 720, 480, 240, 120, 60, 30, 15, 1];
/// How far ahead another hour is looked for.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Between two hours that are tried.
const STEP: SignedDuration = SignedDuration::from_mins(15);

/// One thing that would have to be another one for a question to be answered with an approval. As text `for 4h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nearest {
    /// Not longer than this, in minutes.
    Shorter(i64),
    /// From this network.
    Narrower(IpNet),
    /// With the approval of another person.
    Approved,
    /// At this time, the first quarter of an hour that would do.
    Later(Timestamp),
}

/// What would turn a refusal into an approval if it alone were changed: shorter, narrower, approved by another person, or another hour. Empty
/// where the question passes as it is, and where no such change helps. Every answer was asked of `decide`.
pub fn nearest(decide: &dyn Decide, question: &Question) -> Vec<Nearest> {
    if decide.decide(question).is_permitted {
        return vec![];
    }
    let passes = |circumstances: Circumstances| {
        decide.decide(&Question { circumstances, ..question.clone() }).is_permitted
    };
    let of = &question.circumstances;
    let shorter = of.minutes.and_then(|asked| {
        let is_enough = |minutes| passes(Circumstances { minutes: Some(minutes), ..of.clone() });
        longest(asked, &is_enough).map(Nearest::Shorter)
    });
    let narrower = of.source.and_then(|asked| {
        let prefixes = asked.prefix_len() + 1..=asked.max_prefix_len();
        let mut networks = prefixes.filter_map(|it| IpNet::new(asked.network(), it).ok());
        let network = networks.find(|it| passes(Circumstances { source: Some(*it), ..of.clone() }));
        network.map(Nearest::Narrower)
    });
    let approved = is_approved(decide, question).then_some(Nearest::Approved);
    let later = hours(of.now).find(|it| passes(Circumstances { now: *it, ..of.clone() })).map(Nearest::Later);
    [shorter, narrower, approved, later].into_iter().flatten().collect()
}

/// The longest length below this one that passes, where longer never passes better.
fn longest(asked: i64, passes: &dyn Fn(i64) -> bool) -> Option<i64> {
    let mut too_long = asked;
    for minutes in LENGTHS.into_iter().filter(|it| *it < asked) {
        if passes(minutes) {
            let mut fits = minutes;
            while fits + 1 < too_long {
                let middle = i64::midpoint(fits, too_long);
                if passes(middle) { fits = middle } else { too_long = middle }
            }
            return Some(fits);
        }
        too_long = minutes;
    }
    None
}

/// Would the same be permitted as a request that waits for an approval?
fn is_approved(decide: &dyn Decide, question: &Question) -> bool {
    let circumstances = Circumstances { break_glass: false, ..question.circumstances.clone() };
    let as_request = Question { right: Right::Request, circumstances, ..question.clone() };
    match question.right {
        Right::OpenWithoutApproval | Right::BreakGlass => decide.decide(&as_request).is_permitted,
        Right::Read
        | Right::Request
        | Right::Approve
        | Right::Close
        | Right::Extend
        | Right::Configure
        | Right::Export
        | Right::Administer => false,
    }
}

/// The quarters of hours after this time.
fn hours(now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let into = now.as_second().rem_euclid(STEP.as_secs());
    let first = Timestamp::from_second(now.as_second() - into);
    let steps = 1..=AHEAD_MAX.as_secs() / STEP.as_secs();
    steps.filter_map(move |it| {
        let ahead = SignedDuration::from_secs(it * STEP.as_secs());
        first.as_ref().ok()?.checked_add(ahead).ok()
    })
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shorter(minutes) => {
                let (hours, rest) = (minutes / 60, minutes % 60);
                match (hours, rest) {
                    (0, rest) => write!(f, "for {rest}m"),
                    (hours, 0) => write!(f, "for {hours}h"),
                    (hours, rest) => write!(f, "for {hours}h {rest}m"),
                }
            }
            Self::Narrower(network) => write!(f, "from {network}"),
            Self::Approved => f.write_str("with the approval of another person"),
            Self::Later(at) => write!(f, "at {at}"),
        }
    }
}
