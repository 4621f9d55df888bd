//! Tokens that somebody has to look after: those that expire soon, have expired, or are not used.

use crate::ports::Tokens;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Finding, Token};

const CHECK: &str = "tokens";
/// Tokens that expire within this time are named.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Tokens that were not used for this time are named.
const UNUSED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How many tokens a finding names.
const NAMED_MAX: usize = 5;

/// The findings about tokens, for a checkup: none where all is well, or where the token book cannot be read, which another check tells.
pub(crate) async fn findings(tokens: &impl Tokens, now: Timestamp) -> Vec<Finding> {
    let Ok(all) = tokens.list().await else { return vec![] };
    let (mut expired, mut soon, mut unused) = (vec![], vec![], vec![]);
    for token in &all {
        match token.expires_at() {
            Some(end) if end <= now => expired.push(token),
            Some(end) if end.duration_since(now) <= SOON => soon.push(token),
            Some(_) | None if token.unused_since().is_some_and(|it| UNUSED <= now.duration_since(it)) => {
                unused.push(token);
            }
            Some(_) | None => {}
        }
    }
    soon.sort_by_key(|it| it.expires_at());
    let days = |length: SignedDuration| length.as_hours() / 24;
    let named = [
        (expired, "expired, so that calls with them are refused".to_owned(), REPLACE),
        (soon, format!("expire within {} days", days(SOON)), REPLACE),
        (unused, format!("were not used for {} days", days(UNUSED)), REVOKE),
    ];
    let finding = |(tokens, what, advice): (Vec<&Token>, String, &str)| {
        (!tokens.is_empty())
            .then(|| Finding::warning(CHECK, format!("these tokens {what}: {}", listed(&tokens)), advice))
    };
    named.into_iter().filter_map(finding).collect()
}

const REPLACE: &str = "make a new one with `portcullis token create PERSON --expires TIME` and give it to its holder, or take the \
    token away with `portcullis token revoke PERSON`";
const REVOKE: &str = "take each one that is no longer needed away with `portcullis token revoke PERSON`";

/// The first of them, by the names of their people, and how many more there are.
fn listed(tokens: &[&Token]) -> String {
    let name = |it: &&Token| {
        let purpose = it.purpose().map_or_else(String::new, |it| format!(" for \"{it}\""));
        let end = it.expires_at().map_or_else(String::new, |it| format!(" ({it:.0})"));
        format!("`{}`{purpose}{end}", it.person)
    };
    let first: Vec<String> = tokens.iter().take(NAMED_MAX).map(name).collect();
    let more = match tokens.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}
