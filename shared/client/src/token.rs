//! A token: the word by which a caller is known, and the places that it is read from.

use portcullis_domain::said::unmarked;
use portcullis_program::{Failure, output, private};
use std::{env, fmt, fs, io, path::Path};

/// The variable that holds a token.
pub const VARIABLE: &str = "PORTCULLIS_TOKEN";

/// A token, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token in a text that was found in some place.
    pub fn of(text: &str, place: &str) -> Result<Self, Failure> {
        let token = text.trim();
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
            let is = if token.is_empty() { "is empty" } else { "does not hold a token" };
            return Err(Failure::usage(format!(
                "`{place}` {is}: a token is one word of printable characters"
            )));
        }
        Ok(Self(token.to_owned()))
    }

    /// The token of the environment. A variable that is set and empty is an error, unlike any other: a script whose token could not be
    /// read must not go on as the operator, whose token is in the data folder.
    pub fn of_environment() -> Result<Option<Self>, Failure> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let token = Self::of(text.to_str().unwrap_or("\0"), VARIABLE);
        token
            .map(Some)
            .map_err(|it| it.next("put a token into it, or unset it to use that of the data folder"))
    }

    /// The token of a data folder, if it has one.
    pub fn of_file(file: &Path) -> Result<Option<Self>, Failure> {
        private::check_token(file)?;
        if let Some(warning) = private::readable_by_others(file) {
            output::note(format_args!("warning: {warning}"));
        }
        match fs::read_to_string(file).map(unmarked) {
            Ok(token) => Self::of(&token, &file.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Failure::broken(format!("cannot read the token in `{}`: {error}", file.display()))
                    .next("set PORTCULLIS_TOKEN, or name another folder with --data"))
            }
        }
    }

    /// The word, for the header that carries it.
    pub fn word(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_one_printable_word_is_no_token_and_its_place_is_named() {
        for text in ["", " \n", "two words", "caf\u{e9}", "\0"] {
            let said = format!("{:?}", Token::of(text, "PLACE").expect_err(text));
            assert!(said.contains("`PLACE`") && !said.contains("two words"), "{said}");
        }
        assert_eq!(Token::of(" pct_x\n", "PLACE").expect("a token").word(), "pct_x");
    }
}
