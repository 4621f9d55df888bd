//! Asking for ports.

use crate::{
    answers::told,
    client::Client,
    complete, connect,
    key::new_key,
    lookup::{Among, Names},
    moments, names, ports, wait,
};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    CorrelationId, Gate, LEASE_DEFAULT, Os, Sources, TargetId, TargetState, address_range,
};
use portcullis_program::{
    Exit, Failure,
    output::{self, printable},
};
use portcullis_wire::{AnswerView, AskBody, InitiateBody, NameView};
use ports::AskedPort;
use std::collections::BTreeSet;

/// To ask for ports.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Request {
    #[command(flatten)]
    asking: Asking,
    /// Wait until the ports are open, and print how to connect
    #[arg(long)]
    wait: bool,
    /// The idempotency key: a repeated command with the same key is the same request. Default: a new key
    #[arg(long)]
    key: Option<String>,
    /// Your own id for the request, which every event about it carries
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
}

/// What is asked for.
#[derive(Debug, Args)]
pub struct Asking {
    /// The machines, each with a port of its own or one of those in --port
    #[arg(required = true, value_name = "TARGET[:PORT[/PROTOCOL]]")]
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    targets: Vec<String>,
    /// A port of every machine that is named without one. Default: the only one that is guarded
    #[arg(
        long = "port",
        value_name = "PORT[/PROTOCOL]",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    ports: Vec<AskedPort>,
    /// The sources: `my-ip`, addresses, ranges
    #[arg(long, value_name = "RANGE", value_delimiter = ',', value_parser = source, default_value = "my-ip")]
    from: Vec<String>,
    /// The length of the lease. Default: 3h, or the longest that the policy allows if that is less
    #[arg(long = "for", value_name = "TIME", value_parser = moments::length, conflicts_with = "until")]
    length: Option<SignedDuration>,
    /// The end of the lease, such as `18:30`
    #[arg(long, value_name = "TIME", value_parser = moments::moment)]
    until: Option<Timestamp>,
    /// The start of the lease, such as `18:30`. Default: at once
    #[arg(long, value_name = "TIME", value_parser = moments::moment)]
    at: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Open without approval in an emergency. Only for people whom the policy names, and only with --why; its use is
    /// published
    #[arg(long, requires = "why")]
    break_glass: bool,
}

const EXAMPLES: &str = "\
Examples:
  portcullis request web-1 --for 1h --why 'restart nginx' --wait
  portcullis request web-1:22 db-1:5432/tcp --until 18:30
  portcullis request web-1 web-2 --port 22 --from my-ip,203.0.113.0/24
  portcullis request win-1 --at 22:00 --for 30m
  portcullis request db-1 --break-glass --why 'INC-4711: database down, no approver reachable'";

impl Request {
    /// Asks, and where that is wanted waits until the ports are open.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let (targets, body) = self.asking.read(client)?;
        let key = match &self.key {
            Some(key) => key.clone(),
            None => new_key()?,
        };
        let again = format!(
            "with `--key {key}`, the same times and the same sources, a repeated command is the same request"
        );
        let answer = client.http.post_keyed("/v1/requests", (&key, self.correlation.as_ref()), &body);
        let mut answer: AnswerView =
            answer.map_err(|failure| self.asking.helped(failure, &targets, &again))?;
        if self.wait {
            let goes_on = format!(
                "request `{}` continues without this command: `portcullis requests` and `portcullis grants` \
                    show its state; {again}",
                answer.request.id
            );
            // Whoever stops it has read this by then.
            output::note(format_args!(
                "Waiting for request `{}`. The request continues if you stop this command: `portcullis \
                    requests` and `portcullis grants` show its state; its key is `{key}`.",
                answer.request.id
            ));
            answer = wait::until_open(client, answer, &goes_on)?;
        }
        client.out.show(&answer, || {
            let mut text = told(&client.out, &answer);
            if answer.grants.iter().any(|it| it.opened_at.is_none()) {
                text.push_str("\n`portcullis grants` shows when it is open.");
            } else if self.wait {
                text.push_str(&connect::lines(&answer.grants, &targets));
                text.push_str(&met(&answer));
            }
            text
        })?;
        if answer.grants.iter().flat_map(|it| &it.sources).any(|it| is_loopback(it)) {
            output::note(
                "warning: Portcullis runs on this machine and sees a loopback address, from which no other \
                    machine can be reached; name your address with --from",
            );
        }
        let start = self.asking.at.map(|at| format!(" --at {at}")).unwrap_or_default();
        let how = format!("to wait for it, run the same command then with `--key {key}{start}`");
        let to_come = wait::later(&answer, &client.out.now(), &how).filter(|_| self.wait);
        to_come.map_or(Ok(Exit::Done), Err)
    }
}

fn is_loopback(range: &str) -> bool {
    address_range(range).is_some_and(|it| it.addr().is_loopback())
}

impl Asking {
    /// The machines that are named, and what is asked of them.
    pub(crate) fn read(&self, client: &Client) -> Result<(Vec<NameView>, InitiateBody), Failure> {
        let names: Names = client.names(&self.targets, Among::Guarded)?;
        let body = self.body(&names.items).map_err(|failure| names.explained(failure))?;
        Ok((names.items, body))
    }

    /// With what helps: where it is a no to a machine that is not guarded, and where nobody knows whether it was heard.
    fn helped(&self, failure: Failure, targets: &[NameView], again: &str) -> Failure {
        match failure.exit() {
            Exit::Refused => match self.to_guard(targets) {
                Some(next) => failure.next(next),
                None => match targets_named(&self.targets, targets).as_slice() {
                    [one] => failure.naming("TARGET", &one.name),
                    [] | [..] => failure,
                },
            },
            Exit::Unavailable | Exit::Broken => {
                failure.and(format!("the request may have been received: {again}"))
            }
            Exit::Done | Exit::Usage | Exit::NotFound | Exit::Unread => failure,
        }
    }

    /// What would guard the machines that are named and not guarded.
    pub(crate) fn to_guard(&self, targets: &[NameView]) -> Option<String> {
        let asked = targets_named(&self.targets, targets);
        let unguarded: BTreeSet<&str> = asked
            .into_iter()
            .filter(|it| it.state == TargetState::NotConfigured)
            .map(|it| it.name.as_str())
            .collect();
        let them = if unguarded.len() == 1 { "it" } else { "them" };
        let names = unguarded.into_iter().collect::<Vec<_>>().join(" ");
        (!names.is_empty()).then(|| format!("guard {them} with `portcullis enable {names}`"))
    }

    fn body(&self, targets: &[NameView]) -> Result<InitiateBody, Failure> {
        let mut asks = vec![];
        let mut is_port_used = false;
        for text in &self.targets {
            let (name, own_port) = ports::split(text, targets)?;
            is_port_used |= own_port.is_none();
            let target = names::find(targets, name)?;
            let wanted = match own_port {
                Some(port) => vec![port],
                None if self.ports.is_empty() => vec![only_port(target)?],
                None => self.ports.clone(),
            };
            for port in wanted {
                asks.push(self.ask(target, port)?);
            }
        }
        if let (Some(port), false) = (self.ports.first(), is_port_used) {
            let named = self.targets.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
            let message =
                format!("`--port {port}` is for machines without a port of their own, and {named} has one");
            return Err(
                Failure::usage(message).next("name each port once, as in `TARGET:PORT` or with --port")
            );
        }
        Ok(InitiateBody { asks, justification: self.why.clone(), break_glass: self.break_glass })
    }

    fn ask(&self, target: &NameView, asked: AskedPort) -> Result<AskBody, Failure> {
        let id: TargetId = target.id.parse().map_err(|error| Failure::broken(format!("{error}")))?;
        let fits = |it: &&portcullis_wire::PortRuleView| {
            it.port == asked.port.number()
                && asked.protocol.is_none_or(|protocol| protocol.meets(it.protocol))
        };
        let allowed = target.ports.iter().filter(fits).map(|it| it.max).min();
        let default = || LEASE_DEFAULT.min(allowed.unwrap_or(LEASE_DEFAULT));
        let length = self.length.or_else(|| self.until.is_none().then(default));
        Ok(AskBody {
            target: id,
            port: asked.port,
            protocol: asked.protocol,
            sources: Some(self.from.clone()),
            length,
            until: self.until,
            start: self.at,
        })
    }
}

/// The machines that are named.
fn targets_named<'a>(texts: &[String], targets: &'a [NameView]) -> Vec<&'a NameView> {
    let named = texts.iter().filter_map(|it| {
        let (name, _) = ports::split(it, targets).ok()?;
        names::find(targets, name).ok()
    });
    named.collect()
}

/// What the policy leaves no choice about.
fn only_port(target: &NameView) -> Result<AskedPort, Failure> {
    let name = &target.name;
    let gates: Vec<String> = target.ports.iter().map(|it| format!("{}/{}", it.port, it.protocol)).collect();
    match gates.as_slice() {
        [gate] => gate.parse().map_err(Failure::broken),
        // INVARIANT (nothing-unrecorded): the server says no, since it writes it down.
        [] => Ok(usual_port(target)),
        [first, ..] => {
            Err(Failure::usage(format!("`{name}` has several guarded ports: {}", gates.join(", ")))
                .next(format!("name one of them, such as `{name}:{first}` or `--port {first}`")))
        }
    }
}

/// What would be guarded of a machine that is not.
fn usual_port(target: &NameView) -> AskedPort {
    let os = if target.os == "windows" { Os::Windows } else { Os::Linux };
    let Gate { port, protocol } = os.default_gate();
    AskedPort { port, protocol: Some(protocol) }
}

/// What an opening met: denies of others that gave way, and packet filters of others that may still refuse.
fn met(answer: &AnswerView) -> String {
    let mut text = String::new();
    for grant in &answer.grants {
        let over = grant.over.iter().map(|it| format!("opened over {it}"));
        for it in over.chain(grant.may_refuse.iter().cloned()) {
            text.push_str(&printable(&format!("\n{}: {it}", names::short(&grant.target))));
        }
    }
    text
}

/// `my-ip`, or what is an address or a range.
fn source(text: &str) -> Result<String, String> {
    match (text, text.parse::<Sources>()) {
        ("my-ip", _) => Ok(text.to_owned()),
        (_, Ok(_)) => ports::range(text).map(str::to_owned),
        (_, Err(error)) => Err(format!("{error}, or `my-ip`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        asking: Asking,
    }

    fn targets() -> Vec<NameView> {
        let target = |name: &str, ports: serde_json::Value| {
            let state = if name == "none" { "not_configured" } else { "configured" };
            let view = json!({
                "id": format!("/vm/{name}"), "name": name, "state": state, "os": "linux",
                "addresses": ["10.0.0.4"], "ports": ports,
            });
            serde_json::from_value(view).expect("a target")
        };
        let port = |port: u16, max: &str| json!({"port": port, "protocol": "TCP", "sources": ["0.0.0.0/0"], "max": max});
        vec![
            target("one", json!([port(22, "PT1H")])),
            target("two", json!([port(22, "PT8H"), port(443, "PT8H")])),
            target("none", json!([])),
        ]
    }

    fn body(line: &str) -> Result<serde_json::Value, Failure> {
        let line = Line::try_parse_from(std::iter::once("request").chain(line.split(' ')));
        let line = line.map_err(|error| Failure::usage(error.to_string()))?;
        line.asking.body(&targets()).map(|it| serde_json::to_value(it).expect("writes"))
    }

    #[test]
    fn the_only_port_is_meant_and_its_longest_lease() {
        let body = body("one").expect("valid");
        let ask =
            json!({"target": "/vm/one", "port": 22, "protocol": "TCP", "sources": ["my-ip"], "for": "PT1H"});
        assert_eq!(body, json!({ "asks": [ask] }));
    }

    #[test]
    fn several_targets_and_ports_are_one_request() {
        let body = body("one:22 two --port 22,443 --from 10.0.0.0/8,my-ip --for 90m").expect("valid");
        let asks = body["asks"].as_array().expect("asks");
        let ports: Vec<_> = asks.iter().map(|it| (it["target"].clone(), it["port"].clone())).collect();
        assert_eq!(
            ports,
            [(json!("/vm/one"), json!(22)), (json!("/vm/two"), json!(22)), (json!("/vm/two"), json!(443)),]
        );
        assert_eq!(asks[0]["sources"], json!(["10.0.0.0/8", "my-ip"]));
        assert_eq!(asks[0]["for"], "PT1H30M");
        assert_eq!(asks[0]["protocol"], serde_json::Value::Null, "whichever is guarded");
    }

    #[test]
    fn an_unguarded_port_is_requested_and_its_refusal_has_a_hint() {
        let body = body("none --for 1h").expect("valid");
        assert_eq!((&body["asks"][0]["port"], &body["asks"][0]["protocol"]), (&json!(22), &json!("TCP")));
        let to_guard = |line: &str| {
            let line = Line::try_parse_from(std::iter::once("request").chain(line.split(' ')));
            line.expect("valid").asking.to_guard(&targets())
        };
        assert_eq!(to_guard("none").as_deref(), Some("guard it with `portcullis enable none`"));
        assert_eq!(to_guard("one none:22 none:80"), to_guard("none"));
        assert_eq!(to_guard("one two:22"), None);
    }

    #[test]
    fn break_glass_is_sent_with_its_reason() {
        let body = body("one --break-glass --why down").expect("valid");
        assert_eq!((&body["break_glass"], &body["justification"]), (&json!(true), &json!("down")));
    }

    #[test]
    fn an_impossible_request_is_not_guessed() {
        let exit = |line| body(line).expect_err(line).exit();
        assert_eq!(exit("two"), Exit::Usage);
        assert_eq!(exit("nobody"), Exit::NotFound);
        assert_eq!(exit("one --for 1h --until 18:30"), Exit::Usage);
        assert_eq!(exit("one --from here"), Exit::Usage);
        assert_eq!(exit("one --from 203.0.113.9/24"), Exit::Usage);
        assert_eq!(exit("one --from 2001:db8::1/64"), Exit::Usage);
        assert_eq!(exit("one --port 0"), Exit::Usage);
        assert_eq!(exit("one:ssh"), Exit::Usage, "the machine is there");
        assert_eq!(exit("nobody:ssh"), Exit::NotFound);
        assert_eq!(exit("one --break-glass"), Exit::Usage);
        assert_eq!(exit("one:22 two:443 --port 23"), Exit::Usage);
        let both = body("one:22 --port 23").expect_err("two ports");
        assert!(both.message().contains("`--port 23`") && both.message().contains("`one:22`"), "{both:?}");
        assert!(body("one:22 two --port 443").is_ok(), "it is the port of the second");
    }
}
