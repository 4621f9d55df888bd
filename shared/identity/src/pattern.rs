//! Patterns of subjects.

use std::str::FromStr;

/// A pattern of the claim `sub`: `*` stands for any characters but a colon, and `**` for any characters.
///
/// Issuers make their subjects of parts with colons between them. A star that went over a colon would take what its author did not
/// think of: `repo:acme/web:*` every branch and every pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Within one part.
    Part,
    Anything,
}

/// How long a pattern may be, and a subject, in bytes.
pub const SUBJECT_MAX: usize = 1024;

impl Pattern {
    /// Is it the pattern of this subject? It takes at most as many steps as both are long, multiplied.
    pub fn fits(&self, subject: &str) -> bool {
        if SUBJECT_MAX < subject.len() {
            return false;
        }
        // The places up to which the pieces so far may reach.
        let mut reached = vec![false; subject.len() + 1];
        reached[0] = true;
        for piece in &self.0 {
            let mut next = vec![false; subject.len() + 1];
            match piece {
                Piece::Text(text) => {
                    for from in (0..=subject.len()).filter(|it| reached[*it]) {
                        if subject.as_bytes()[from..].starts_with(text.as_bytes()) {
                            next[from + text.len()] = true;
                        }
                    }
                }
                Piece::Part | Piece::Anything => {
                    let mut is_reached = false;
                    for at in 0..=subject.len() {
                        let is_colon = 0 < at && subject.as_bytes()[at - 1] == b':';
                        is_reached = reached[at] || is_reached && !(is_colon && *piece == Piece::Part);
                        next[at] = is_reached;
                    }
                }
            }
            reached = next;
        }
        reached[subject.len()]
    }
}

impl FromStr for Pattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "a pattern of subjects, such as `repo:acme/web:ref:refs/heads/*`, in which `*` stands for any characters but a \
            colon and `**` for any characters";
        if text.is_empty() || SUBJECT_MAX < text.len() || text.chars().any(char::is_control) {
            return Err(format!("it is not {wanted}"));
        }
        if text.chars().all(|it| matches!(it, '*' | ':')) {
            return Err(format!("`{text}` takes every subject: it has to be {wanted}"));
        }
        let mut pieces = vec![];
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, length) = match rest.find('*') {
                Some(0) if rest.starts_with("**") => (Piece::Anything, 2),
                Some(0) => (Piece::Part, 1),
                Some(at) => (Piece::Text(rest[..at].to_owned()), at),
                None => (Piece::Text(rest.to_owned()), rest.len()),
            };
            pieces.push(piece);
            rest = &rest[length..];
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stays_within_a_part_and_two_go_over_colons() {
        let main = "repo:acme/web:ref:refs/heads/main";
        for (pattern, subject, fits) in [
            (main, main, true),
            (main, "repo:acme/web:ref:refs/heads/main2", false),
            (main, "xrepo:acme/web:ref:refs/heads/main", false),
            ("repo:acme/*:ref:refs/heads/main", main, true),
            ("repo:acme/web:*", main, false),
            ("repo:acme/web:*", "repo:acme/web:pull_request", true),
            ("repo:acme/web:**", main, true),
            ("repo:acme/*", main, false),
            ("repo:*/web:ref:*", main, true),
            ("*:acme/web:ref:refs/heads/m*n", main, true),
            ("*:acme/web:ref:refs/heads/m*x", main, false),
            ("system:serviceaccount:ops:*", "system:serviceaccount:ops:deployer", true),
            ("system:serviceaccount:ops:*", "system:serviceaccount:ops2:deployer", false),
            ("system:serviceaccount:ops:*", "system:serviceaccount:ops:", true),
            ("a**", "a", true),
            ("a*", "", false),
            ("é*", "éa", true),
        ] {
            let read: Pattern = pattern.parse().expect(pattern);
            assert_eq!(read.fits(subject), fits, "{pattern} {subject}");
        }
    }

    #[test]
    fn pattern_of_every_subject_and_one_that_takes_long_are_no_way_in() {
        for text in ["", "*", "**", "*:*", "***", "a\nb", &"a".repeat(SUBJECT_MAX + 1)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        let slow: Pattern = "a*".repeat(500).parse().expect("a pattern");
        assert!(!slow.fits(&format!("{}b", "a".repeat(SUBJECT_MAX - 2) + ":")));
        assert!(!slow.fits(&"a".repeat(SUBJECT_MAX + 1)));
    }
}
