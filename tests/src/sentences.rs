//! The texts of the sources that a program can say: its sentences, the headers of its tables, its log lines.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::{collections::BTreeMap, fs, path::Path};

/// The dialect that `docs/style.md` gives other words for.
const DIALECT: [&str; 23] = [
    "a no",
    "a yes",
    "anybody",
    "anybody's",
    "behind our back",
    "breaks the glass",
    "broke the glass",
    "broken glass",
    "glass",
    "hears",
    "look again",
    "looks again",
    "nobody",
    "nobody's",
    "says no",
    "says yes",
    "somebody",
    "somebody's",
    "strange answer",
    "tells",
    "told",
    "whoever",
    "yes of",
];
/// Beginnings of sentences whose subject is no noun.
const BEGINNINGS: [&str; 4] = ["What ", "Who ", "Whoever ", "Whom "];

/// The texts of one file, in their order.
#[derive(Debug, Default)]
pub struct Texts {
    /// Every literal of the code; those of attributes, tests and assertions are left out.
    pub literals: Vec<String>,
    /// Every event and span of `tracing`: level, message, and names of fields.
    pub logs: Vec<String>,
}

/// The texts of each file below a folder of the workspace, by the file's path.
pub fn texts(folder: &str) -> BTreeMap<String, Texts> {
    let mut files = BTreeMap::new();
    read(&crate::root(), &crate::root().join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has sources");
    files
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Texts>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|it| it.to_str()).expect("a name");
        if path.is_dir() && name != "tests" {
            read(root, &path, files);
        } else if name != "tests.rs" && path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).expect("text");
            let name = path.strip_prefix(root).expect("of the workspace").to_str().expect("text");
            files.insert(name.to_owned(), Texts::of(&source));
        }
    }
}

/// Whether a text is more than a name: two words, or the header of a column.
pub fn is_sentence(text: &str) -> bool {
    let is_word = |it: &&str| 1 < it.chars().filter(|it| it.is_alphabetic()).count();
    let is_header = 2 < text.len() && text.chars().all(|it| it.is_ascii_uppercase());
    is_header || 1 < text.split_whitespace().filter(is_word).count()
}

/// The first word or beginning of a text that `docs/style.md` has another word for.
pub fn dialect(text: &str) -> Option<&'static str> {
    let words = words_of(text);
    let begins = BEGINNINGS.iter().find(|it| text.trim_start().starts_with(**it));
    begins.or_else(|| DIALECT.iter().find(|it| words.contains(&format!(" {it} ")))).copied()
}

/// The words of a text in small letters with a blank around each; names of arguments are left out.
fn words_of(text: &str) -> String {
    let (mut words, mut depth) = (" ".to_owned(), 0_usize);
    for it in text.to_lowercase().chars() {
        match it {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if 0 < depth => {}
            _ if it.is_alphanumeric() || "'-_".contains(it) => words.push(it),
            _ if words.ends_with(' ') => {}
            _ => words.push(' '),
        }
    }
    words + " "
}

impl Texts {
    /// Those of one source.
    pub fn of(source: &str) -> Self {
        let mut texts = Self::default();
        texts.walk(source.parse().expect("Rust"));
        texts
    }

    fn walk(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let is_sign = |i: usize, sign: char| matches!(tokens.get(i), Some(TokenTree::Punct(it)) if it.as_char() == sign);
        let group = |i: usize| match tokens.get(i) {
            Some(TokenTree::Group(it)) => Some(it),
            _ => None,
        };
        let mut i = 0;
        while let Some(token) = tokens.get(i) {
            i += 1;
            match token {
                TokenTree::Punct(it) if it.as_char() == '#' => {
                    i += usize::from(is_sign(i, '!'));
                    let Some(attribute) = group(i).filter(|it| it.delimiter() == Delimiter::Bracket) else {
                        continue;
                    };
                    i += 1;
                    match attribute.stream().to_string().as_str() {
                        "cfg (test)" | "cfg(test)" | "test" => {
                            let is_end = |it: &TokenTree| match it {
                                TokenTree::Group(it) => it.delimiter() == Delimiter::Brace,
                                TokenTree::Punct(it) => it.as_char() == ';',
                                TokenTree::Ident(_) | TokenTree::Literal(_) => false,
                            };
                            i += tokens[i..].iter().position(is_end).map_or(0, |it| it + 1);
                        }
                        // The sentence of an error.
                        it if it.starts_with("error") => self.walk(attribute.stream()),
                        _ => {}
                    }
                }
                TokenTree::Ident(it) if is_sign(i, '!') && group(i + 1).is_some() => {
                    let arguments = group(i + 1).expect("is there");
                    i += 2;
                    match it.to_string().as_str() {
                        "assert" | "assert_eq" | "assert_ne" | "debug_assert" | "panic" | "unreachable" => {}
                        level @ ("error" | "warn" | "info" | "debug" | "trace" | "error_span"
                        | "warn_span" | "info_span" | "debug_span") => {
                            self.logs.push(log(level, arguments));
                        }
                        _ => self.walk(arguments.stream()),
                    }
                }
                TokenTree::Group(it) => self.walk(it.stream()),
                TokenTree::Literal(it) => self.literals.extend(text(&it.to_string())),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

/// The value of a literal that is a text.
fn text(literal: &str) -> Option<String> {
    syn::parse_str::<syn::LitStr>(literal).ok().map(|it| it.value())
}

/// A log line in short: `warn: The message (field, field)`.
fn log(level: &str, arguments: &Group) -> String {
    let (mut message, mut fields, mut part): (String, Vec<String>, Vec<TokenTree>) = Default::default();
    let comma = TokenTree::Punct(proc_macro2::Punct::new(',', proc_macro2::Spacing::Alone));
    for token in arguments.stream().into_iter().chain([comma]) {
        if !matches!(&token, TokenTree::Punct(it) if it.as_char() == ',') {
            part.push(token);
            continue;
        }
        if let [TokenTree::Literal(it)] = part.as_slice() {
            message = text(&it.to_string()).unwrap_or_default();
        } else if message.is_empty() || level.ends_with("span") {
            let name =
                part.iter().take_while(|it| !matches!(it, TokenTree::Punct(it) if it.as_char() == '='));
            let name: String = name.map(ToString::to_string).collect();
            let name = name.trim_start_matches(['%', '?']).to_owned();
            fields.extend(Some(name).filter(|it| !it.is_empty()));
        }
        part.clear();
    }
    format!("{level}: {message} ({})", fields.join(", "))
}
