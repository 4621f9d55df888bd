//! The issuers, as a checkup finds them.

use crate::{
    issuer::{Believed, Issuers},
    provider::{KEPT_FOR, Seen, full},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::Finding;
use tokio::task::JoinSet;

const CHECK: &str = "issuers";

/// A finding for each issuer: whether its keys can be read, and how its clock runs. All are asked at the same time.
pub async fn checkup(issuers: &Issuers, now: Timestamp) -> Vec<Finding> {
    let mut asked = JoinSet::new();
    for (place, Believed { provider, .. }) in issuers.all().iter().enumerate() {
        let provider = provider.clone();
        asked.spawn(async move { (place, provider.look(now).await) });
    }
    let mut seen = asked.join_all().await;
    seen.sort_by_key(|it| it.0);
    let finding = |(place, seen): (usize, Seen)| Some(finding(issuers.all().get(place)?, &seen, now));
    seen.into_iter().filter_map(finding).collect()
}

fn finding(Believed { settings, provider, .. }: &Believed, seen: &Seen, now: Timestamp) -> Finding {
    let url = provider.url();
    let usable = seen.usable(now);
    if let Some(why) = &seen.why {
        let why = full(&**why);
        let advice =
            "correct `url` in the list of issuers, or let this server reach the issuer: docs/identity.md";
        return match (usable, seen.read_at) {
            (Some(_), Some(read_at)) => {
                let end = read_at.saturating_add(KEPT_FOR).unwrap_or(Timestamp::MAX);
                let found = format!("the keys of `{url}` of {read_at:.0} are used until {end:.0}: {why}");
                Finding::warning(CHECK, found, advice)
            }
            (Some(_) | None, _) => {
                Finding::failed(CHECK, format!("no token of `{url}` is accepted: {why}"), advice)
            }
        };
    }
    let Some(keys) = usable else {
        let found = format!("the keys of `{url}` are not known yet");
        return Finding::warning(CHECK, found, "run `portcullis doctor` again in a few seconds");
    };
    let lacks: Vec<String> =
        settings.algorithms.iter().filter(|it| !keys.serve(**it)).map(|it| format!("`{it}`")).collect();
    if lacks.len() == settings.algorithms.len() {
        let found = format!("`{url}` publishes no key for {}", lacks.join(", "));
        return Finding::failed(
            CHECK,
            found,
            "correct `algorithms` in the list of issuers: docs/identity.md",
        );
    }
    let ahead = seen.ahead.unwrap_or_default();
    if ahead.abs() <= settings.leeway + SignedDuration::from_secs(1) {
        return Finding::ok(CHECK, format!("`{url}` publishes {} keys, and its clock agrees", keys.count()));
    }
    let way = if ahead.is_negative() { "behind" } else { "ahead of" };
    let ahead = SignedDuration::from_secs(ahead.abs().as_secs());
    let found = format!("the clock of `{url}` is {ahead:#} {way} that of this server");
    Finding::warning(CHECK, found, "set the clock of this server, or have that of the issuer set")
}
