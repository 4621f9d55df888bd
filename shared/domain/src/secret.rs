//! Bearer tokens in texts where they do not belong: a token pasted into a path, a reason or a name must be neither kept
//! nor logged.

use std::borrow::Cow;

/// The beginning of every token of the token book, for those who search for leaked secrets.
pub const TOKEN_PREFIX: &str = "pct_";
/// The prefix without its last sign, which may be encoded for a URL.
const WORD: &str = "pct";
/// The signs of a token that are no letters or digits, as they stand in a text and in a URL.
const SIGNS: [&str; 6] = ["_", "-", "%5F", "%5f", "%2D", "%2d"];
/// So many characters after the prefix are a token, or a part of one that is worth hiding: a token has 43. Shorter words
/// such as `pct_change` are words.
const TOKEN_MIN: usize = 20;
/// The beginnings of a JSON object in base64: `{"`, `{` and a space, `{` and a new line.
const OBJECTS: [&str; 4] = ["eyJ", "eyA", "ewo", "ew0"];
/// The dot between the parts of a JSON Web Token, as it stands in a text and in a URL.
const DOTS: [&str; 3] = [".", "%2E", "%2e"];
/// So many characters at least has a part of a JSON Web Token: `{"alg":"x"}` has 15.
const PART_MIN: usize = 12;
/// What stands in the place of a token.
const REDACTED: &str = "pct_[redacted]";
/// The same for a JSON Web Token.
const REDACTED_JWT: &str = "eyJ[redacted]";

/// Callers are told so where a token stands in what they sent.
pub const TOKEN_IN_TEXT: &str = "the input contains a bearer token (`pct_…` or a JSON Web Token, `eyJ…`), which is accepted \
    in the header `Authorization` alone: leave it out, and have a new token made, since other people may have seen this one";

/// A token in a text: its place in bytes, and what stands there instead.
struct Found {
    from: usize,
    to: usize,
    instead: &'static str,
}

/// Is a bearer token in this text?
pub fn holds_token(text: &str) -> bool {
    next_token(text).is_some()
}

/// The text without the bearer tokens in it.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut clean = String::new();
    while let Some(Found { from, to, instead }) = next_token(rest) {
        clean.push_str(&rest[..from]);
        clean.push_str(instead);
        rest = &rest[to..];
    }
    if clean.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(clean + rest) }
}

/// The first token of a text.
fn next_token(text: &str) -> Option<Found> {
    let first = [next_of_book(text), next_jwt(text)];
    first.into_iter().flatten().min_by_key(|it| it.from)
}

/// The first token as the token book makes them.
fn next_of_book(text: &str) -> Option<Found> {
    text.match_indices(WORD).find_map(|(from, _)| {
        let after = &text[from + WORD.len()..];
        let secret = ["_", "%5F", "%5f"].iter().find_map(|it| after.strip_prefix(it))?;
        let (count, length) = run(secret);
        let to = text.len() - secret.len() + length;
        (TOKEN_MIN <= count).then_some(Found { from, to, instead: REDACTED })
    })
}

/// The first JSON Web Token (RFC 7519): a header and claims, with a signature or with a part of it.
fn next_jwt(text: &str) -> Option<Found> {
    let is_object = |text: &str| OBJECTS.iter().any(|it| text.starts_with(it));
    let mut at = 0;
    while let Some(from) =
        text[at..].match_indices('e').map(|(it, _)| at + it).find(|it| is_object(&text[*it..]))
    {
        let (header, length) = run(&text[from..]);
        // Where it is none, neither is one that begins later in the same word: no word is read twice.
        at = from + length;
        let Some(claims) = dotted(&text[at..]) else { continue };
        let (count, length) = run(claims);
        if PART_MIN <= header && PART_MIN <= count && is_object(claims) {
            let rest = &claims[length..];
            let after = dotted(rest).map_or(rest, |signature| &signature[run(signature).1..]);
            return Some(Found { from, to: text.len() - after.len(), instead: REDACTED_JWT });
        }
    }
    None
}

/// The text after the dot that it begins with.
fn dotted(text: &str) -> Option<&str> {
    DOTS.iter().find_map(|it| text.strip_prefix(it))
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

    /// `{"alg":"none"}`, `{"sub":"ann","x":1}`.
    const HEADER: &str = "eyJhbGciOiJub25lIn0";
    const CLAIMS: &str = "eyJzdWIiOiJhbm4iLCJ4IjoxfQ";

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

    #[test]
    fn json_web_token_is_found_wherever_it_stands_also_without_its_signature() {
        let signature = "0aB9-_xyzXYZ".repeat(7);
        let whole = format!("{HEADER}.{CLAIMS}.{signature}");
        for (text, clean) in [
            (whole.clone(), "eyJ[redacted]".to_owned()),
            (format!("Bearer {whole}, he said"), "Bearer eyJ[redacted], he said".to_owned()),
            (
                format!("/v1/targets/{}/x", whole.replace('.', "%2E")),
                "/v1/targets/eyJ[redacted]/x".to_owned(),
            ),
            (format!("é{HEADER}.{CLAIMS}."), "éeyJ[redacted]".to_owned()),
            (format!("{HEADER}.{CLAIMS} {whole}"), "eyJ[redacted] eyJ[redacted]".to_owned()),
            (format!("pct_{signature} {whole}"), "pct_[redacted] eyJ[redacted]".to_owned()),
        ] {
            assert!(holds_token(&text), "{text}");
            assert_eq!(redacted(&text), clean);
            assert!(!holds_token(&clean));
        }
        for text in [
            "eyJ",
            "eyJhbGciOiJub25lIn0",
            "eyJhbGciOiJub25lIn0.com",
            "they.eyes.ewo",
            "eye.eye.eye",
            &format!("{HEADER}.{HEADER}x.")[..30],
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
