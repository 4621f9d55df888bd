//! How policy files differ, line by line.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How many pairs of lines are compared to find those that stay, which takes as much memory. Longer files are shown as replaced.
const PAIRS_MAX: usize = 4_000_000;

/// A file that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// The name of the file.
    pub file: String,
    /// Is it in the old files, and in the new ones?
    pub change: Change,
    /// The lines that go, after `-`, and those that come, after `+`, in their order.
    pub lines: Vec<String>,
}

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// In the new files alone.
    Added,
    /// In both, with another text.
    Changed,
    /// In the old files alone.
    Removed,
}

/// The files that differ.
pub fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<FileDifference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of = |file: &String| {
        let change = match (old.get(file), new.get(file)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(_), Some(_)) => Change::Changed,
            (None, _) => Change::Added,
            (Some(_), None) => Change::Removed,
        };
        let lines = lines(&split(old.get(file)), &split(new.get(file)));
        Some(FileDifference { file: file.clone(), change, lines })
    };
    names.into_iter().filter_map(of).collect()
}

fn split(text: Option<&String>) -> Vec<&str> {
    text.map(|it| it.lines().collect()).unwrap_or_default()
}

/// The lines that go and come, by a longest common subsequence of both.
fn lines(old: &[&str], new: &[&str]) -> Vec<String> {
    let same =
        |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(old, new)| old == new).count();
    let first = same(&mut old.iter().zip(new));
    let (old, new) = (&old[first..], &new[first..]);
    let last = same(&mut old.iter().rev().zip(new.iter().rev()));
    let (old, new) = (&old[..old.len() - last], &new[..new.len() - last]);
    let width = new.len() + 1;
    // How many lines stay of those from here on, for each pair of a line of the old text and one of the new.
    let is_short = old.len().saturating_mul(new.len()) <= PAIRS_MAX;
    let mut stay = vec![0_u32; if is_short { (old.len() + 1) * width } else { 0 }];
    if is_short {
        for (i, was) in old.iter().enumerate().rev() {
            for (j, is) in new.iter().enumerate().rev() {
                let (here, down, right) = (i * width + j, (i + 1) * width + j, i * width + j + 1);
                stay[here] = if was == is { stay[down + 1] + 1 } else { stay[down].max(stay[right]) };
            }
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, vec![]);
    while i < old.len() || j < new.len() {
        let is_same = is_short && i < old.len() && j < new.len() && old[i] == new[j];
        let goes = j == new.len()
            || i < old.len() && (!is_short || stay[i * width + j + 1] <= stay[(i + 1) * width + j]);
        if is_same {
            (i, j) = (i + 1, j + 1);
        } else if goes {
            lines.push(format!("-{}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_stay_are_left_out_and_the_others_stand_in_their_order() {
        for (old, new, expected) in [
            ("a b c", "a b c", ""),
            ("a b c", "a x c", "-b +x"),
            ("a b c d", "a c d e", "-b +e"),
            ("", "a b", "+a +b"),
            ("a b", "", "-a -b"),
            ("a a b", "a b b", "-a +b"),
        ] {
            let split = |text: &'static str| text.split(' ').filter(|it| !it.is_empty()).collect::<Vec<_>>();
            assert_eq!(lines(&split(old), &split(new)).join(" "), expected, "{old} to {new}");
        }
    }

    #[test]
    fn texts_that_are_too_long_to_compare_are_shown_as_replaced() {
        let (old, new) = (vec!["a"; 3_000], vec!["b"; 3_000]);
        let lines = lines(&old, &new);
        assert_eq!((lines.len(), lines[0].as_str(), lines[3_000].as_str()), (6_000, "-a", "+b"));
    }

    #[test]
    fn each_file_that_differs_is_named_with_its_change() {
        let files = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let (old, new) =
            (files(&[("a", "1"), ("b", "1"), ("c", "1")]), files(&[("a", "1"), ("b", "2"), ("d", "")]));
        let found: Vec<_> = differences(&old, &new).into_iter().map(|it| (it.file, it.change)).collect();
        let expected = [("b", Change::Changed), ("c", Change::Removed), ("d", Change::Added)];
        assert_eq!(found, expected.map(|(file, change)| (file.to_owned(), change)));
    }
}
