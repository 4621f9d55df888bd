//! Paths of the API, and queries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// A name as one segment of a path.
pub fn segment(name: &str) -> String {
    encoded(name)
}

/// RFC 3986's unreserved characters stay.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The fields that are there, as a query.
pub fn query_string(query: &impl Serialize) -> String {
    let fields = serde_json::to_value(query).unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push(if text.is_empty() { '?' } else { '&' });
        text.extend([&encoded(name), "=", &encoded(&value)]);
    }
    text
}

/// The path of a target, and of what can be done with it.
pub fn target_path(id: &str, rest: &str) -> String {
    format!("/v1/targets/{}{rest}", segment(id))
}
