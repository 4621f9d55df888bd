//! Bearer tokens in texts where they do not belong: a token pasted into a path, a reason or a name must be neither kept
//! nor logged.

use std::borrow::Cow;

/// The beginning of every token, for those who search for leaked secrets.
pub const TOKEN_PREFIX: &str = "pct_";
/// The prefix without its last sign, which may be encoded for a URL.
const WORD: &str = "pct";
/// The signs of a token that are no letters or digits, as they stand in a text and in a URL.
const SIGNS: [&str; 6] = ["_", "-", "%5F", "%5f", "%2D", "%2d"];
/// So many characters after the prefix are a token, or a part of one that is worth hiding: a token has 43. Shorter words
/// such as `pct_change` are words.
const TOKEN_MIN: usize = 20;
/// What stands in the place of a token.
const REDACTED: &str = "pct_[redacted]";

/// Callers are told so where a token stands in what they sent.
pub const TOKEN_IN_TEXT: &str = "the input contains a bearer token (`pct_…`), which is accepted in the \
    header `Authorization` alone: leave it out, and have a new token made, since other people may have seen this one";

/// Is a bearer token in this text?
pub fn holds_token(text: &str) -> bool {
    next_token(text).is_some()
}

/// The text without the bearer tokens in it.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut clean = String::new();
    while let Some((from, to)) = next_token(rest) {
        clean.push_str(&rest[..from]);
        clean.push_str(REDACTED);
        rest = &rest[to..];
    }
    if clean.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(clean + rest) }
}

/// Where the first token of a text begins and ends.
fn next_token(text: &str) -> Option<(usize, usize)> {
    text.match_indices(WORD).find_map(|(from, _)| {
        let after = &text[from + WORD.len()..];
        let secret = ["_", "%5F", "%5f"].iter().find_map(|it| after.strip_prefix(it))?;
        let (count, length) = run(secret);
        (TOKEN_MIN <= count).then(|| (from, text.len() - secret.len() + length))
    })
}

/// How many characters of a token a text begins with, and how many bytes they take.
fn run(text: &str) -> (usize, usize) {
    let (mut count, mut rest) = (0, text);
    loop {
        let plain = rest.strip_prefix(|c: char| c.is_ascii_alphanumeric());
        match plain.or_else(|| SIGNS.iter().find_map(|it| rest.strip_prefix(it))) {
            Some(after) => (count, rest) = (count + 1, after),
            None => return (count, text.len() - rest.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_it_stands_and_nothing_else_is() {
        let secret = "0aB9-_xyzXYZ".repeat(4);
        for (text, clean) in [
            (format!("pct_{secret}"), "pct_[redacted]".to_owned()),
            (format!("it is pct_{secret}, he said"), "it is pct_[redacted], he said".to_owned()),
            (format!("/v1/targets/pct%5F{secret}/x"), "/v1/targets/pct_[redacted]/x".to_owned()),
            (format!("pct_{secret}é pct_{secret}"), "pct_[redacted]é pct_[redacted]".to_owned()),
            (format!("pctpct_{secret}"), "pctpct_[redacted]".to_owned()),
        ] {
            assert!(holds_token(&text), "{text}");
            assert_eq!(redacted(&text), clean);
            assert!(!holds_token(&clean));
        }
        for text in
            ["", "pct", "pct_", "pct_change of cpu", "a_pct_of_all_that_is", "PCT_AAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(redacted(text), text);
        }
    }
}
