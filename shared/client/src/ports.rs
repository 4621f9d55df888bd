//! Ports as people write them: `22`, `22/tcp`, `22/tcp,from=10.0.0.0/8,max=2h,approval`.

use crate::{moments, names};
use portcullis_domain::{ForeignDenies, Person, Port, Protocol, Sources, address_range, rule_in_words};
use portcullis_program::{Exit, Failure};
use portcullis_wire::{AcceptedView, NameView, PortRuleBody, PortRuleView};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// A port to ask for; without a protocol every one that is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedPort {
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Option<Protocol>,
}

impl FromStr for AskedPort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, Some(protocol)),
            None => (text, None),
        };
        let port = port.parse().map_err(|it: portcullis_domain::BadAddress| it.to_string())?;
        let protocol = protocol.map(str::parse).transpose();
        Ok(Self { port, protocol: protocol.map_err(|it: portcullis_domain::BadAddress| it.to_string())? })
    }
}

impl fmt::Display for AskedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            None => write!(f, "{}", self.port),
            Some(protocol) => write!(f, "{}/{protocol}", self.port),
        }
    }
}

/// Splits `TARGET:PORT` or `TARGET:PORT/PROTOCOL`. What ends otherwise is all target, since ids may have colons; unless
/// that is none, and a port was meant.
pub fn split<'a>(text: &'a str, targets: &[NameView]) -> Result<(&'a str, Option<AskedPort>), Failure> {
    let parts = text.rsplit_once(':').filter(|_| names::exact(targets, text).is_none());
    let Some((target, port)) = parts else { return Ok((text, None)) };
    let is_none = |name: &str| names::find(targets, name).is_err_and(|it| it.exit() == Exit::NotFound);
    let is_number = || port.starts_with(|it: char| it.is_ascii_digit());
    match port.parse() {
        Ok(port) => Ok((target, Some(port))),
        Err(why) if is_none(text) && (is_number() || !is_none(target)) => {
            Err(Failure::usage(format!("`{text}`: {why}")).next(format!("give a port as in `{target}:22`")))
        }
        Err(_) => Ok((text, None)),
    }
}

/// Stands for the ports that Microsoft's just-in-time access offers: SSH, RDP, and `WinRM` without and with TLS.
const RECOMMENDED: &str = "recommended";
/// Those ports. <https://learn.microsoft.com/azure/defender-for-cloud/enable-just-in-time-access>
const RECOMMENDED_PORTS: [u16; 4] = [22, 3389, 5985, 5986];

/// Ports of one argument, with the same settings.
#[derive(Debug, Clone)]
pub struct Rules(Vec<PortRuleBody>);

impl Rules {
    /// The ports of several arguments.
    pub fn all(rules: &[Self]) -> Vec<PortRuleBody> {
        rules.iter().flat_map(|it| it.0.iter().cloned()).collect()
    }
}

/// Reads `PORT[/PROTOCOL]` or `recommended[/PROTOCOL]`, with settings after commas.
pub fn rules(text: &str) -> Result<Rules, String> {
    let Some(rest) = text.strip_prefix(RECOMMENDED).filter(|it| it.is_empty() || it.starts_with(['/', ',']))
    else {
        return rule(text).map(|it| Rules(vec![it]));
    };
    RECOMMENDED_PORTS.iter().map(|port| rule(&format!("{port}{rest}"))).collect::<Result<_, _>>().map(Rules)
}

/// Reads `PORT[/PROTOCOL]` with settings after commas.
pub fn rule(text: &str) -> Result<PortRuleBody, String> {
    const SETTINGS: &str = "`from=RANGE`, `max=TIME`, `approval`, `approver=PERSON`, `no-approval`, \
                            `break-glass=PERSON`, `no-break-glass` or `foreign-denies=respect|override`";
    let mut parts = text.split(',').map(str::trim);
    let AskedPort { port, protocol } = parts.next().unwrap_or_default().parse()?;
    let mut ranges = vec![];
    let (mut approvers, mut break_glass) = (BTreeSet::<Person>::new(), BTreeSet::<Person>::new());
    let mut is_glass_whole = false;
    let mut rule = PortRuleBody {
        port,
        protocol,
        sources: None,
        max: None,
        approvers: None,
        no_approval: false,
        break_glass: None,
        foreign_denies: None,
    };
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("from", range) => {
                let sources: Sources = self::range(range)?
                    .parse()
                    .map_err(|it: portcullis_domain::BadAddress| it.to_string())?;
                ranges.extend(sources.ranges().iter().copied());
            }
            ("max", _) if rule.max.is_some() => return Err("`max` is given twice".to_owned()),
            ("max", time) => {
                rule.max = Some(moments::length(time).map_err(|it| it.to_string())?);
            }
            ("approval", "") => drop(approvers.insert(Person::anybody())),
            ("approver", person) => {
                approvers.insert(listed(person)?);
            }
            ("no-approval", "") => rule.no_approval = true,
            ("break-glass", person) => {
                break_glass.insert(listed(person)?);
            }
            ("no-break-glass", "") => is_glass_whole = true,
            ("foreign-denies", "respect") => rule.foreign_denies = Some(ForeignDenies::Respect),
            ("foreign-denies", "override") => rule.foreign_denies = Some(ForeignDenies::Override),
            _ => return Err(format!("`{part}` is not a setting of a port: {SETTINGS} are")),
        }
    }
    // Whoever names approvers means them and not just anybody.
    if 1 < approvers.len() {
        approvers.retain(|it| !it.is_anybody());
    }
    if rule.no_approval && !approvers.is_empty() {
        return Err("a port takes either `approval` or `no-approval`, not both".to_owned());
    }
    if is_glass_whole && !break_glass.is_empty() {
        return Err("a port takes either `break-glass` or `no-break-glass`, not both".to_owned());
    }
    rule.break_glass = Some(break_glass).filter(|it| is_glass_whole || !it.is_empty());
    rule.sources = Some(Sources::of(ranges)).filter(|it| !it.is_empty());
    rule.approvers = Some(approvers).filter(|it| !it.is_empty());
    Ok(rule)
}

/// A person of a list, or `*` for anybody.
fn listed(text: &str) -> Result<Person, String> {
    if text == Person::anybody().as_str() {
        return Ok(Person::anybody());
    }
    text.parse().map_err(|it: portcullis_domain::BadName| it.to_string())
}

/// The same, where it can mean but one range: who writes `203.0.113.9/24` may want one address or 256. To a program, as over
/// HTTP or in a policy of Microsoft's, it is the network.
pub fn range(text: &str) -> Result<&str, String> {
    match address_range(text) {
        Some(it) if it.addr() != it.network() => {
            let (network, address) = (it.trunc(), it.addr());
            Err(format!(
                "`{text}` may mean the network `{network}` or the address `{address}`: give one of them"
            ))
        }
        // What is an address, or none, is for others to read.
        Some(_) | None => Ok(text),
    }
}

/// A guarded port in words: `22/tcp, at most 3h, from anywhere`.
pub fn words(rule: &PortRuleView) -> String {
    let sources = Sources::try_from(rule.sources.clone());
    let sources = sources.map_or_else(|_| rule.sources.join(", "), |it| it.to_string());
    let names = |it: &BTreeSet<String>| it.iter().cloned().collect::<Vec<_>>();
    let (approvers, glass) = (rule.approvers.as_ref().map(names), rule.break_glass.as_ref().map(names));
    let gate = format!("{}/{}", rule.port, rule.protocol);
    let words =
        rule_in_words(&gate, &sources, rule.max, approvers.as_deref(), glass.as_deref(), rule.foreign_denies);
    rule.accepted.iter().fold(words, |words, it| words + ", accepts " + &accepted(it))
}

/// An accepted rule by its name and the end of its firewall's.
pub fn accepted(rule: &AcceptedView) -> String {
    format!("{} in {}", rule.rule, names::short(&rule.firewall))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_rule_has_a_port_and_settings() {
        let plain = rule("22").expect("valid");
        assert_eq!((plain.port.number(), plain.protocol, plain.max), (22, None, None));
        let all =
            rule("22/tcp,from=10.0.0.0/8,from=192.168.0.1,max=2h,approval,approver=ann").expect("valid");
        assert_eq!(all.protocol, Some(Protocol::Tcp));
        assert_eq!(all.max, Some(SignedDuration::from_hours(2)));
        assert_eq!(all.sources.expect("some").to_string(), "10.0.0.0/8, 192.168.0.1");
        assert_eq!(all.approvers, Some(["ann".parse().expect("valid")].into()), "ann, and not anybody");
        let anybody = rule("22,approval").expect("valid").approvers;
        assert_eq!(anybody, Some([Person::anybody()].into()));
    }

    #[test]
    fn recommended_is_the_four_ports_that_microsoft_offers_with_the_same_settings() {
        let read = |text: &str| rules(text).map(|it| Rules::all(&[it]));
        let ports =
            |text: &str| read(text).map(|it| it.iter().map(|it| it.port.number()).collect::<Vec<_>>());
        assert_eq!(ports("recommended"), Ok(vec![22, 3389, 5985, 5986]));
        assert_eq!(ports("22"), Ok(vec![22]));
        let limited = read("recommended/*,max=1h").expect("ports");
        let is_so = |it: &PortRuleBody| {
            it.max == Some(SignedDuration::from_hours(1)) && it.protocol == Some(Protocol::Any)
        };
        assert!(limited.iter().all(is_so), "{limited:?}");
        for text in ["recommended,max=soon", "recommendeds", "recommended/sctp", "Recommended22"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn break_glass_of_a_port_is_set_removed_or_kept() {
        let named = |text| rule(text).expect("valid").break_glass;
        assert_eq!(named("22,approval"), None, "as it is");
        assert_eq!(named("22,no-break-glass"), Some([].into()), "nobody");
        let two: BTreeSet<Person> = ["ann", "bob"].map(|it| it.parse().expect("valid")).into();
        assert_eq!(named("22,break-glass=ann,break-glass=bob"), Some(two));
        let view = |people: &[&str]| {
            let view = serde_json::json!({ "port": 22, "protocol": "TCP", "sources": ["10.0.0.0/8"], "max": "PT1H",
                                           "approvers": ["*"], "break_glass": people });
            words(&serde_json::from_value(view).expect("a rule"))
        };
        let plain = "22/tcp, from 10.0.0.0/8, at most 1h, with an approval";
        assert_eq!(view(&[]), plain);
        assert_eq!(view(&["*"]), format!("{plain}, break-glass by every person"));
        assert_eq!(view(&["ann", "bob"]), format!("{plain}, break-glass by ann or bob"));
    }

    #[test]
    fn an_invalid_port_rule_is_named() {
        for (text, named) in [
            ("", "``"),
            ("0", "`0`"),
            ("22/sctp", "`sctp`"),
            ("22,from=", "``"),
            ("22,from=here", "`here`"),
            ("22,from=203.0.113.9/24", "`203.0.113.0/24`"),
            ("22,max=soon", "`soon`"),
            ("22,max=1h,max=2h", "twice"),
            ("22,approved", "`approved`"),
            ("22,approval=ann", "`approval=ann`"),
            ("22,approval,no-approval", "either"),
            ("22,approver=", "``"),
            ("22,break-glass=", "``"),
            ("22,break-glass=ann,no-break-glass", "either"),
        ] {
            let no = rule(text).expect_err(text);
            assert!(no.contains(named), "{text}: {no}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_named_and_no_unknown_target() {
        for (text, port) in [("web-1:0", "`0`"), ("web-1:70000", "`70000`"), ("a:99999/tcp", "`99999`")] {
            let no = split(text, &[]).expect_err(text);
            assert_eq!(no.exit(), Exit::Usage);
            assert!(no.message().contains(port) && no.message().contains("1 to 65535"), "{no:?}");
        }
        let no = split("web-1:22/sctp", &[]).expect_err("no protocol");
        assert!(no.message().contains("`sctp`"), "{no:?}");
    }

    #[test]
    fn only_a_port_is_split_from_a_target() {
        let split = |text| split(text, &[]).expect(text);
        let port = |text: &str| Some(text.parse::<AskedPort>().expect("valid"));
        assert_eq!(split("web-1"), ("web-1", None));
        assert_eq!(split("web-1:22"), ("web-1", port("22")));
        assert_eq!(split("web-1:53/udp"), ("web-1", port("53/udp")));
        let arn = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc";
        assert_eq!(split(arn), (arn, None));
        let with_port = format!("{arn}:22");
        assert_eq!(split(&with_port), (arn, port("22")));
        assert_eq!(split("host:web-1"), ("host:web-1", None));
    }
}
