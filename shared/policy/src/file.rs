//! Policy files: what is in them, and what is wrong with them.

use crate::{
    fault::{Fault, Faults},
    known::Known,
    schema::{PARSED, Type, canonical},
};
use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, ValidationMode, Validator};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

/// How long the id of a policy may be, in bytes.
const ID_MAX: usize = 64;
/// What follows the effect of a policy's id in Cedar's own numbering.
const NUMBERED: &str = "policy";

/// Checks policy files, by their names: that they are Cedar, that they fit the schema whatever is asked, that no two policies have one id,
/// and that the callers and machines in them exist as far as those are known. The answer is the number of policies.
pub fn check(files: &BTreeMap<String, String>, known: &Known) -> Result<usize, Faults> {
    let read = read(files)?;
    let mut faults = invalid(files, &read);
    for one in &read {
        let text = &files[&one.file];
        let told = |entity: &EntityUid| known.missing(entity);
        let missing = one.policy.entity_literals().iter().filter_map(told).collect::<BTreeSet<_>>();
        let fault =
            |message| Fault::at(&one.file, text, one.offset, format!("policy `{}`: {message}", one.id));
        faults.extend(missing.into_iter().map(fault));
    }
    none(faults).map(|()| read.len())
}

/// A policy of a file.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file.
    pub file: String,
    /// Its first byte in the file.
    pub offset: usize,
    /// Its id: the one that it says, or the file with its number in there, from 1.
    pub id: String,
    /// The reason that its author gave.
    pub reason: Option<String>,
    /// The policy, in which every spelling of a name is the one that is compared.
    pub policy: Policy,
}

/// The policies of these files, in the order of the files and of their texts.
pub fn read(files: &BTreeMap<String, String>) -> Result<Vec<Written>, Faults> {
    let (mut all, mut faults) = (vec![], vec![]);
    for (file, text) in files {
        match PolicySet::from_str(text) {
            Ok(set) => written(file, text, &set, &mut all, &mut faults),
            Err(errors) => faults.extend(errors.iter().map(|it| Fault::told(file, text, it))),
        }
    }
    let mut ids = BTreeMap::new();
    for one in &all {
        let place = Fault::at(&one.file, &files[&one.file], one.offset, "");
        if let Some((file, line)) = ids.insert(&one.id, (&one.file, place.line)) {
            let message = format!("policy `{}` has the id of another one, in {file}:{line}", one.id);
            faults.push(Fault { message, ..place });
        }
    }
    none(faults).map(|()| all)
}

/// Where a policy does not fit the schema.
fn invalid(files: &BTreeMap<String, String>, read: &[Written]) -> Vec<Fault> {
    let validator = Validator::new(PARSED.clone());
    let mut faults = vec![];
    for (file, text) in files {
        let ours =
            read.iter().filter(|it| it.file == *file).map(|it| it.policy.new_id(PolicyId::new(&it.id)));
        let Ok(set) = PolicySet::from_policies(ours) else { continue };
        let result = validator.validate(&set, ValidationMode::Strict);
        faults.extend(result.validation_errors().map(|it| Fault::told(file, text, it).of_any_action()));
    }
    faults
}

fn written(file: &str, text: &str, set: &PolicySet, all: &mut Vec<Written>, faults: &mut Vec<Fault>) {
    for template in set.templates() {
        let offset = text.find(&template.to_cedar()).unwrap_or_default();
        let message = "a policy with `?principal` or `?resource` is a template, which is not supported";
        faults.push(Fault::at(file, text, offset, message));
    }
    // Cedar numbers policies in the order of the text.
    let number = |it: &Policy| it.id().to_string().strip_prefix(NUMBERED).and_then(|it| it.parse().ok());
    let ordered: BTreeMap<Option<usize>, &Policy> = set.policies().map(|it| (number(it), it)).collect();
    let mut from = 0;
    for (n, policy) in ordered.into_values().enumerate() {
        let offset = policy.to_cedar().and_then(|it| Some(from + text[from..].find(&it)?)).unwrap_or(from);
        let mut fault = |message: String| faults.push(Fault::at(file, text, offset, message));
        let id = policy.annotation("id").map_or_else(|| format!("{file}#{}", n + 1), str::to_owned);
        if policy.annotation("id").is_some_and(|it| !is_id(it)) {
            fault(format!(
                "`{id}` is not the id of a policy: 1 to {ID_MAX} letters, digits, `-`, `_` or `.`"
            ));
        }
        match with_canonical_names(policy) {
            Ok(policy) => all.push(Written {
                file: file.to_owned(),
                offset,
                id,
                reason: policy.annotation("reason").map(str::to_owned),
                policy,
            }),
            Err(why) => fault(format!("policy `{id}`: {why}")),
        }
        from = offset + 1;
    }
}

/// The words of an id: no binding's text is one, so that no policy passes for a binding.
fn is_id(text: &str) -> bool {
    let is_word = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    !text.is_empty() && text.len() <= ID_MAX && text.chars().all(is_word)
}

/// The same policy, in which every spelling of a name is the one that is compared.
fn with_canonical_names(policy: &Policy) -> Result<Policy, String> {
    let mut mapping = BTreeMap::new();
    for entity in policy.entity_literals() {
        let canonical = canonical(&entity)?;
        if canonical != entity && Type::of(&entity).is_some() {
            mapping.insert(entity, canonical);
        }
    }
    if mapping.is_empty() {
        return Ok(policy.clone());
    }
    policy.sub_entity_literals(mapping).map_err(|error| error.to_string())
}

fn none(mut faults: Vec<Fault>) -> Result<(), Faults> {
    faults.sort();
    faults.dedup();
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}
