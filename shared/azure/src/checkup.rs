//! Whether Azure can be asked, may be asked for all that is needed, and has room for it.

use crate::{
    Azure, Forbidden, NoToken, Refused, Role,
    group::Group,
    room::{PREFIXES_MAX, RULES_MAX},
    topology::{text, texts},
    versions::SUBSCRIPTIONS_API,
};
use futures_util::{StreamExt as _, stream};
use portcullis_app::{Error, Finding, ports::Checkup};
use portcullis_domain::SKEW_MAX;
use serde_json::Value;
use std::collections::BTreeSet;

const PERMISSIONS_API: &str = "2022-04-01";
const LOCKS_API: &str = "2020-05-01";
/// From how much of a limit on there is little left, in percent.
const MUCH: usize = 80;
/// How many reads and writes should be left to us: a sweep of a large subscription, and its leases.
const READS_MIN: u64 = 500;
const WRITES_MIN: u64 = 50;
const CREDENTIALS: &str = "credentials";
const MANAGER: &str = "resource manager";
const GRAPH: &str = "resource graph";
const PERMISSIONS: &str = "permissions";
const LOCKS: &str = "management locks";
/// Before the name of a management lock, in its id.
const LOCK: &str = "/providers/microsoft.authorization/locks/";
const PATHS: &str = "network paths";
/// How many virtual networks are asked at once.
const NETWORKS_AT_ONCE: usize = 8;
const CLOCK: &str = "clock";
const LIMITS: &str = "limits";

impl Checkup for Azure {
    async fn checkup(&self) -> Vec<Finding> {
        let mut findings = vec![];
        let subscriptions = match self.arm.list("/subscriptions", SUBSCRIPTIONS_API).await {
            Ok(seen) => {
                findings.push(Finding::ok(CREDENTIALS, "a token was issued, and it is accepted"));
                findings.push(seen_or_none(&seen));
                self.bounded(&seen)
            }
            Err(error) => {
                findings.extend(unanswered(&error));
                if !is_forbidden(&error) {
                    return findings;
                }
                self.bounds.subscriptions.clone()
            }
        };
        findings.push(self.graph_answers(&subscriptions).await);
        for it in &subscriptions {
            findings.extend(self.permitted(it).await);
        }
        for it in &subscriptions {
            findings.extend(self.locked(it).await);
        }
        findings.extend(self.paths().await);
        findings.push(self.skew());
        findings.extend(self.quotas());
        findings.extend(self.room().await);
        findings
    }
}

impl Azure {
    /// The subscriptions that we are to look at.
    fn bounded(&self, seen: &[Value]) -> Vec<String> {
        if self.bounds.subscriptions.is_empty() {
            seen.iter().map(|it| text(it, "/subscriptionId").to_owned()).collect()
        } else {
            self.bounds.subscriptions.clone()
        }
    }

    async fn graph_answers(&self, subscriptions: &[String]) -> Finding {
        let query =
            "Resources | where type =~ 'Microsoft.Network/azureFirewalls' | project id | order by id asc";
        match self.arm.graph(subscriptions, query).await {
            Ok(_) => Finding::ok(GRAPH, "Resource Graph answers: machines are found with one query"),
            Err(error) => Finding::warning(
                GRAPH,
                error.full(),
                "machines are listed by type instead, which costs more reads",
            ),
        }
    }

    /// What the role has and the identity has not.
    async fn permitted(&self, subscription: &str) -> Vec<Finding> {
        let scope = format!("/subscriptions/{subscription}");
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let advice = format!("assign the role that `portcullis role azure --scope {scope}` prints");
        let given = match self.arm.list(&path, PERMISSIONS_API).await {
            Ok(given) => given,
            Err(error) => return vec![Finding::failed(PERMISSIONS, error.full(), advice)],
        };
        let is_missing = |it: &String| !given.iter().any(|role| allows(role, it));
        let missing: Vec<String> = Role::guards().actions.into_iter().filter(is_missing).collect();
        if missing.is_empty() {
            return vec![Finding::ok(
                PERMISSIONS,
                format!(
                    "`{scope}`: the identity has all permissions that \
                it needs"
                ),
            )];
        }
        let reads = Role::asks().actions;
        let looks = missing.iter().all(|it| !reads.contains(it));
        let what = if looks { " (reads and requests work, but no port opens or closes)" } else { "" };
        let missing = missing.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        let found = format!("`{scope}`: the identity may not {missing}{what}");
        vec![Finding::failed(PERMISSIONS, found, advice)]
    }

    /// The management locks that forbid something with the firewalls that we write.
    async fn locked(&self, subscription: &str) -> Vec<Finding> {
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/locks");
        let locks = match self.arm.list(&path, LOCKS_API).await {
            Ok(locks) => locks,
            Err(error) => {
                let advice = "assign the permission to read management locks, so that their effect is known beforehand";
                return vec![Finding::warning(LOCKS, error.full(), advice)];
            }
        };
        let topology = self.topology().await.ok();
        let is_ours = |scope: &str| {
            let within = |id: &str, scope: &str| {
                id.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let firewalls = topology.iter().flat_map(|it| it.groups.iter().chain(&it.firewalls));
            let mut ids = firewalls.map(|it| it.as_str().to_ascii_lowercase());
            topology.is_none() || ids.any(|id| within(&id, scope) || within(scope, &id))
        };
        let mut findings = vec![];
        for lock in &locks {
            let id = text(lock, "/id").to_ascii_lowercase();
            let Some((scope, name)) = id.split_once(LOCK) else { continue };
            if !is_ours(scope) {
                continue;
            }
            let scope = if scope.is_empty() { "everything" } else { scope };
            findings.push(if text(lock, "/properties/level").eq_ignore_ascii_case("ReadOnly") {
                let found = format!("`{name}` on `{scope}` (ReadOnly): no rule there can be written");
                Finding::failed(
                    LOCKS,
                    found,
                    "delete the lock, or replace it by one of the level CanNotDelete",
                )
            } else {
                let found = format!("`{name}` on `{scope}` (CanNotDelete): no rule there can be deleted");
                let advice = "no action is needed: a rule whose leases are over is overwritten so that it \
                    admits no address, and is deleted once the lock is gone";
                Finding::warning(LOCKS, found, advice)
            });
        }
        if findings.is_empty() {
            let found =
                format!("no lock in `/subscriptions/{subscription}` is on a firewall that Portcullis writes");
            return vec![Finding::ok(LOCKS, found)];
        }
        findings
    }

    /// How far our clock and Azure's are apart.
    fn skew(&self) -> Finding {
        let Some(skew) = self.arm.vitals().skew(self.time()) else {
            return Finding::warning(
                CLOCK,
                "no answer of Azure had a date",
                "compare the clock of this machine with another one",
            );
        };
        let found = format!("the clock of this machine differs by {} s from Azure's", skew.as_secs().abs());
        if SKEW_MAX < skew.abs() {
            let max = SKEW_MAX.as_secs();
            Finding::failed(
                CLOCK,
                found,
                format!("synchronise the clock: beyond {max} s ports may be closed late"),
            )
        } else {
            Finding::ok(CLOCK, found)
        }
    }

    /// Whether all that decides on the ways to machines can be read.
    async fn paths(&self) -> Vec<Finding> {
        // That nothing can be listed is told elsewhere.
        let Ok(topology) = self.topology().await else { return vec![] };
        let homes = topology.machines.values().filter(|it| it.machine.guarded_by.is_some());
        let homes: BTreeSet<String> = homes.map(|it| it.home.clone()).collect();
        let count = homes.len();
        let read = stream::iter(homes).map(|home| async move {
            let read = self.read_above(&home).await;
            (home, read)
        });
        let read: Vec<_> = read.buffered(NETWORKS_AT_ONCE).collect().await;
        let unread = read.into_iter().filter_map(|(home, read)| Some((home, read.err()?)));
        let mut findings: Vec<Finding> = unread
            .map(|(home, error)| {
                let found =
                    format!("the security admin rules of `{home}` are not known: {}", error.full());
                let advice = "assign the role that `portcullis role azure` prints: a rule of a network manager may \
                    let sources in past every lock, or keep a lease out";
                Finding::warning(PATHS, found, advice)
            })
            .collect();
        for vm in topology.machines.values().filter(|it| it.machine.guarded_by.is_some()) {
            let advice = "assign the role that `portcullis role azure` prints where that load balancer is: until then the \
                lock of the machine is in doubt";
            findings.extend(
                vm.doubts().map(|it| Finding::warning(PATHS, format!("`{}`: {it}", vm.machine.name), advice)),
            );
        }
        if findings.is_empty() {
            return vec![Finding::ok(
                PATHS,
                format!("all rules on the paths of {count} virtual networks can be read"),
            )];
        }
        findings
    }

    /// How many calls are left to us.
    fn quotas(&self) -> Vec<Finding> {
        let vitals = self.arm.vitals();
        let left = [("reads", vitals.reads_left, READS_MIN), ("writes", vitals.writes_left, WRITES_MIN)];
        let known = left.into_iter().filter_map(|(what, left, min)| Some((what, left?, min)));
        known
            .map(|(what, left, min)| {
                let found = format!("{left} {what} are left before Azure throttles");
                if left < min {
                    Finding::warning(
                        LIMITS,
                        found,
                        "reconcile less often (--reconcile-every), or wait: the quota recovers",
                    )
                } else {
                    Finding::ok(LIMITS, found)
                }
            })
            .collect()
    }

    /// Whether security groups take more rules.
    async fn room(&self) -> Vec<Finding> {
        let groups = match self.topology().await {
            Ok(topology) => self.all_groups(&topology).await,
            Err(error) => Err(error),
        };
        let groups = match groups {
            Ok(groups) => groups,
            Err(error) => {
                let advice = "assign the permission to read the security groups: see `permissions`";
                return vec![Finding::failed(LIMITS, error.full(), advice)];
            }
        };
        let full: Vec<Finding> = groups.iter().flat_map(Group::fullness).collect();
        if full.is_empty() {
            return vec![Finding::ok(
                LIMITS,
                format!("all {} security groups have room for rules", groups.len()),
            )];
        }
        full
    }
}

impl Group {
    /// What there is little room for.
    fn fullness(&self) -> Vec<Finding> {
        let rules = &self.properties.security_rules;
        let counted = [
            ("rules", rules.len(), RULES_MAX),
            ("source prefixes", rules.iter().map(|it| it.properties.sources().len()).sum(), PREFIXES_MAX),
            (
                "destination prefixes",
                rules.iter().map(|it| it.properties.destinations().len()).sum(),
                PREFIXES_MAX,
            ),
        ];
        let much = counted.into_iter().filter(|(_, count, max)| max * MUCH < count * 100);
        much.map(|(what, count, max)| {
            let found = format!("`{}` has {count} {what}: at most {max}", self.id);
            let advice = "delete rules that are not needed, or give machines security groups of their own";
            if count < max {
                Finding::warning(LIMITS, found, advice)
            } else {
                Finding::failed(LIMITS, found, advice)
            }
        })
        .collect()
    }
}

fn seen_or_none(seen: &[Value]) -> Finding {
    match seen.len() {
        0 => Finding::failed(
            MANAGER,
            "Resource Manager answers, and lists no subscription",
            "assign the role of `portcullis role azure` in the subscriptions to guard",
        ),
        1 => Finding::ok(MANAGER, "Resource Manager answers, and lists 1 subscription"),
        count => Finding::ok(MANAGER, format!("Resource Manager answers, and lists {count} subscriptions")),
    }
}

/// Why it was not answered: no token, one that is not accepted, a right that is missing, or nobody there.
fn unanswered(error: &Error) -> Vec<Finding> {
    let found = error.full();
    let source = source(error);
    let is_unaccepted =
        source.is_some_and(|it| it.downcast_ref::<Refused>().is_some_and(|it| it.status == 401));
    if source.and_then(|it| it.downcast_ref::<NoToken>()).is_some() {
        let advice = "check the tenant, the client id and the login; a federated credential must name our \
            issuer and subject";
        return vec![Finding::failed(CREDENTIALS, found, advice)];
    }
    if is_unaccepted {
        let advice = "check that the authority and the audience are those of this cloud";
        return vec![Finding::failed(CREDENTIALS, found, advice)];
    }
    if is_forbidden(error) {
        let ok = Finding::ok(CREDENTIALS, "a token was issued, and it is accepted");
        let advice = "assign the role that `portcullis role azure` prints";
        return vec![ok, Finding::failed(PERMISSIONS, found, advice)];
    }
    vec![Finding::failed(
        MANAGER,
        found,
        "check that this address can be reached from this machine, and whether a proxy is in between",
    )]
}

fn is_forbidden(error: &Error) -> bool {
    source(error).and_then(|it| it.downcast_ref::<Forbidden>()).is_some()
}

fn source(error: &Error) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
    match error {
        Error::Unavailable { source, .. } | Error::Broken { source, .. } => Some(&**source),
        Error::Refused(_) | Error::NotFound { .. } | Error::Conflict => None,
    }
}

/// Does a role that somebody has allow an action? `*` stands for any characters.
fn allows(role: &Value, action: &str) -> bool {
    let fits = |field: &str| texts(role, field).into_iter().any(|it| matches(it, action));
    fits("/actions") && !fits("/notActions")
}

fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == action };
    let Some(mut rest) = action.strip_prefix(first) else { return false };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_role_allows_what_it_does_not_take_back() {
        let network = json!({ "actions": ["Microsoft.Network/*"], "notActions": ["*/delete"] });
        assert!(allows(&network, "microsoft.network/networkSecurityGroups/read"));
        assert!(!allows(&network, "Microsoft.Network/networkSecurityGroups/securityRules/delete"));
        assert!(!allows(&network, "Microsoft.Compute/virtualMachines/read"));
        assert!(!allows(&json!({}), "a/read"), "empty is nothing");
        for (pattern, action, is_so) in [
            ("*", "a/b/read", true),
            ("*/read", "a/b/read", true),
            ("*/read", "a/b/write", false),
            ("a/*/read", "a/b/c/read", true),
            ("a/*/read", "a/read", false),
            ("a/b/read", "a/b/read", true),
            ("a/b/read", "a/b/reads", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, action), is_so, "{pattern} {action}");
        }
    }
}
