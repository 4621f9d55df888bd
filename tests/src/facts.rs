//! The facts that there are.

use portcullis_domain::Fact;
use serde_json::json;
use std::collections::BTreeSet;

/// Every word that a fact may begin with, as the parser itself tells them.
///
/// # Panics
///
/// If the parser words its error otherwise.
pub fn every_what() -> BTreeSet<String> {
    let error = serde_json::from_value::<Fact>(json!({ "what": "?" })).expect_err("there is no such fact");
    let words = error.to_string();
    let words = words.split_once("expected one of").expect("what is expected").1;
    words.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}
