//! Security admin rules of Virtual Network Managers: they decide before every security group of a virtual network. `Deny` stops
//! a packet, `AlwaysAllow` lets it in past the security groups, and `Allow` leaves it to them.
//! Source: learn.microsoft.com, "Security admin rules in Azure Virtual Network Manager".

use crate::{
    network::{Meant, Network},
    rule::port_range,
    topology::{list, text, texts},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::Error;
use portcullis_domain::{
    Action, AddressSet, Bands, Existing, Families, Firewall, FirewallKind, Foreign, Protocol, Snapshot, Way,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// How long the rules of a network are taken for true: a manager takes minutes to deploy others.
const READ_MAX_AGE: SignedDuration = SignedDuration::from_secs(60);
/// How long it is taken for true that they may not be read, or that no answer comes.
const REFUSED_MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
const UNANSWERED_MAX_AGE: SignedDuration = SignedDuration::from_secs(30);
/// How long a settle waits for them: no closing is late for rules that are not ours.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The rules that decide before the security groups of a virtual network.
#[derive(Debug)]
pub(crate) enum Above {
    /// As ARM lists them.
    Rules(Vec<Value>),
    /// Why they are not known.
    Unread(String),
}

/// What was last read of each virtual network.
#[derive(Debug, Default)]
pub(crate) struct Networks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Option<Known>>>>>);

#[derive(Debug)]
struct Known {
    /// Until when it is taken for true.
    until: Timestamp,
    above: Arc<Above>,
}

impl Networks {
    /// What decides before the security groups of a virtual network, as it was a minute ago at most, by `read` where that is
    /// longer ago. Whoever asks while it is read waits for that.
    pub(crate) async fn above(
        &self,
        network: &str,
        now: Timestamp,
        read: impl Future<Output = Result<Vec<Value>, Error>>,
    ) -> Arc<Above> {
        let slot = {
            let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(networks.entry(network.to_owned()).or_default())
        };
        let mut known = slot.lock().await;
        if let Some(it) = known.as_ref().filter(|it| now < it.until) {
            return Arc::clone(&it.above);
        }
        let last = known.take().map(|it| it.above);
        let unanswered = |why| (last.unwrap_or_else(|| Arc::new(Above::Unread(why))), UNANSWERED_MAX_AGE);
        let (above, lasts) = match timeout(WAIT_MAX, read).await {
            Ok(Ok(rules)) => (Arc::new(Above::Rules(rules)), READ_MAX_AGE),
            Ok(Err(error @ (Error::Broken { .. } | Error::Refused(_)))) => {
                (Arc::new(Above::Unread(error.full())), REFUSED_MAX_AGE)
            }
            Ok(Err(error @ (Error::Unavailable { .. } | Error::NotFound { .. } | Error::Conflict))) => {
                unanswered(error.full())
            }
            Err(_) => unanswered(format!("there was no answer within {} s", WAIT_MAX.as_secs())),
        };
        let until = now.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        *known = Some(Known { until, above: Arc::clone(&above) });
        above
    }
}

impl Above {
    /// Puts the rules of a virtual network before the security groups on every way of a snapshot.
    ///
    /// A packet gets in where they let it go on and the security groups let it in, or where they let it in past them: each is
    /// a way, so that the evaluator needs to know of neither.
    pub(crate) fn put_before(&self, snapshot: &mut Snapshot, id: &str, network: &Network) {
        let rules = match self {
            Self::Rules(rules) if rules.is_empty() => return,
            Self::Rules(rules) => rules,
            Self::Unread(why) => {
                snapshot.unread.push(format!(
                    "the security admin rules of `{id}` are not known, and they decide before every security group: {why}"
                ));
                return;
            }
        };
        let managers: BTreeSet<_> = rules.iter().map(|it| manager(it).to_ascii_lowercase()).collect();
        if 1 < managers.len() {
            snapshot.unread.push(format!(
                "the order of the security admin rules of {} network managers of `{id}` is not known: they are taken by their \
                priorities",
                managers.len()
            ));
        }
        let Ok(firewall) = id.parse() else { return };
        let goes_on = Firewall {
            id: firewall,
            kind: FirewallKind::ReadOnly { otherwise: Action::Allow },
            bands: Bands { allows: 0..0, denies: 0..0, existing: Existing::Override },
            inside: AddressSet::default(),
            families: Families { v4: false, v6: false },
            ours: BTreeMap::new(),
            foreign: layer(rules, network, |access| !is(access, "Deny")),
        };
        let first = snapshot.firewalls.len();
        let gets_in = |access: &str| is(access, "AlwaysAllow");
        let past = rules.iter().any(|it| gets_in(access(it))).then(|| Firewall {
            kind: FirewallKind::ReadOnly { otherwise: Action::Deny },
            foreign: layer(rules, network, gets_in),
            ..goes_on.clone()
        });
        let is_translating =
            |at: &usize| snapshot.firewalls.get(*at).is_some_and(|it| it.kind == FirewallKind::Translating);
        let through = |way: &Way, at: usize, has_groups: bool| {
            let (sent_on, groups): (Vec<usize>, Vec<usize>) =
                way.through.iter().partition(|at| is_translating(at));
            let through = [sent_on, vec![at], if has_groups { groups } else { vec![] }].concat();
            Way { through, ..way.clone() }
        };
        // Whom nothing lets in past the security groups is stopped by those: the last way says by which rule.
        let past_them =
            past.iter().flat_map(|_| snapshot.ways.iter().map(|way| through(way, first + 1, false)));
        let to_them = snapshot.ways.iter().map(|way| through(way, first, true));
        let ways: Vec<Way> = past_them.chain(to_them).collect();
        snapshot.ways = ways;
        snapshot.firewalls.push(goes_on);
        snapshot.firewalls.extend(past);
    }
}

/// What the rules do where those of one kind of access let a packet on and all others stop it.
fn layer(rules: &[Value], network: &Network, lets_on: impl Fn(&str) -> bool) -> Vec<Foreign> {
    let action = |it| if lets_on(access(it)) { Action::Allow } else { Action::Deny };
    rules.iter().map(|it| foreign(it, action(it), network)).collect()
}

/// What a rule does, where that is `action`. What cannot be known about it is taken for the worst, as in a security group.
fn foreign(rule: &Value, action: Action, network: &Network) -> Foreign {
    let meant = |side: &str| {
        let items = list(rule, side).iter();
        let one = |it: &Value| {
            // The addresses of a group of networks are not listed with the rule.
            let is_group = is(text(it, "/addressPrefixType"), "NetworkGroup");
            if is_group { Meant::anybody() } else { network.meant(text(it, "/addressPrefix")) }
        };
        items.map(one).fold(Meant::default(), |all, one| all.or(&one))
    };
    let (from, to) = (meant("/properties/sources"), meant("/properties/destinations"));
    let to = match action {
        Action::Allow => to.sure.union(&to.unsure),
        Action::Deny => to.sure,
    };
    let protocol = match text(rule, "/properties/protocol").to_ascii_lowercase().as_str() {
        "any" | "*" => Some(Protocol::Any),
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        // ICMP, ESP and AH have no ports.
        _ => None,
    };
    let ranges = |path: &str| texts(rule, path).into_iter().map(port_range).collect::<Vec<_>>();
    let from_any_port = ranges("/properties/sourcePortRanges").contains(&Some(0..=u16::MAX));
    let speaks = protocol.is_some() && (from_any_port || action == Action::Allow);
    let whole = (action == Action::Allow).then_some(0..=u16::MAX);
    let ports =
        ranges("/properties/destinationPortRanges").into_iter().filter_map(|it| it.or_else(|| whole.clone()));
    Foreign {
        name: name(rule),
        priority: rule["properties"]["priority"]
            .as_u64()
            .and_then(|it| it.try_into().ok())
            .unwrap_or(u16::MAX),
        action,
        protocol: protocol.unwrap_or(Protocol::Any),
        sources: from.sure.to_sources(),
        unsure: from.unsure.without(&from.sure).to_sources(),
        ports: if speaks { ports.collect() } else { vec![] },
        to: to.to_sources(),
        // It decides before our rules, whomever it is about.
        is_general: false,
    }
}

fn access(rule: &Value) -> &str {
    text(rule, "/properties/access")
}

fn is(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

/// The manager and the rule, as people call both.
fn name(rule: &Value) -> String {
    let id = text(rule, "/id");
    let manager = manager(rule).rsplit('/').next().unwrap_or_default();
    let rule = id.rsplit('/').next().unwrap_or_default();
    format!("{manager}/{rule}")
}

/// The id of the network manager whose rule it is.
fn manager(rule: &Value) -> &str {
    let id = text(rule, "/id");
    let end = id.to_ascii_lowercase().find("/securityadminconfigurations/").unwrap_or(id.len());
    id.get(..end).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn unavailable() -> Error {
        Error::Unavailable { doing: "list in Azure", source: "busy".into() }
    }

    async fn told(
        networks: &Networks,
        second: i64,
        read: Result<Vec<Value>, Error>,
    ) -> Result<usize, String> {
        match &*networks.above("/net", at(second), async { read }).await {
            Above::Rules(rules) => Ok(rules.len()),
            Above::Unread(why) => Err(why.clone()),
        }
    }

    #[tokio::test]
    async fn what_was_read_is_good_for_a_minute_and_longer_where_no_answer_comes() {
        let networks = Networks::default();
        assert_eq!(told(&networks, 0, Ok(vec![json!({})])).await, Ok(1));
        assert_eq!(told(&networks, 59, Ok(vec![])).await, Ok(1), "nobody asks");
        assert_eq!(told(&networks, 60, Err(unavailable())).await, Ok(1), "what was read last");
        assert_eq!(told(&networks, 89, Ok(vec![])).await, Ok(1));
        assert_eq!(told(&networks, 90, Ok(vec![])).await, Ok(0));
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_remembered_for_ten_minutes() {
        let networks = Networks::default();
        let refused = || Error::Broken { doing: "list in Azure", source: "not allowed".into() };
        assert_eq!(told(&networks, 0, Ok(vec![json!({})])).await, Ok(1));
        let why = told(&networks, 60, Err(refused())).await.expect_err("refused");
        assert!(why.contains("not allowed"), "{why}");
        assert_eq!(told(&networks, 659, Ok(vec![])).await, Err(why));
        assert_eq!(told(&networks, 660, Ok(vec![])).await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_settle_waits_two_seconds_for_rules_that_are_not_ours() {
        let networks = Networks::default();
        let began = tokio::time::Instant::now();
        let above = networks.above("/net", at(0), std::future::pending()).await;
        assert!(matches!(&*above, Above::Unread(why) if why.contains("no answer")), "{above:?}");
        assert_eq!(began.elapsed(), WAIT_MAX);
    }

    fn rule(manager: &str, access: &str) -> Value {
        json!({
            "id": format!("/x/networkManagers/{manager}/securityAdminConfigurations/c/ruleCollections/r/rules/ssh"),
            "properties": {
                "access": access, "priority": 7, "protocol": "Tcp", "sourcePortRanges": ["0-65535"],
                "destinationPortRanges": ["22"],
                "sources": [{ "addressPrefix": "/groups/g", "addressPrefixType": "NetworkGroup" }],
                "destinations": [{ "addressPrefix": "*", "addressPrefixType": "IPPrefix" }],
            },
        })
    }

    #[test]
    fn a_group_of_networks_may_be_anybody_and_a_rule_is_called_by_its_manager() {
        let told = foreign(&rule("corp", "Deny"), Action::Deny, &Network::default());
        assert_eq!((told.name.as_str(), told.priority), ("corp/ssh", 7));
        assert!(told.sources.is_empty() && told.unsure == portcullis_domain::Sources::anywhere());
    }

    #[test]
    fn rules_of_two_managers_are_in_doubt_and_rules_past_the_groups_are_a_way_of_their_own() {
        let mut snapshot = Snapshot::of(at(0), vec![]);
        let rules = vec![rule("corp", "Allow"), rule("team", "AlwaysAllow")];
        Above::Rules(rules).put_before(&mut snapshot, "/net", &Network::default());
        assert_eq!(snapshot.ways.iter().map(|it| it.through.clone()).collect::<Vec<_>>(), [vec![1], vec![0]]);
        assert!(
            matches!(&snapshot.unread[..], [why] if why.contains("2 network managers")),
            "{:?}",
            snapshot.unread
        );
        let mut snapshot = Snapshot::of(at(0), vec![]);
        Above::Rules(vec![]).put_before(&mut snapshot, "/net", &Network::default());
        assert!(snapshot.firewalls.is_empty() && snapshot.ways.len() == 1);
    }
}
