//! Looking: machines, packets, and oneself.

use crate::{
    client::Client, complete, connection, count::count, lookup::Among, machines, moments, names,
    path::target_path, ports, words,
};
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use jiff::SignedDuration;
use portcullis_domain::TargetState;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{AcceptedPacketView, CheckQuery, CheckView, Listed, TargetView, WaitQuery, WhoamiView};
use std::num::NonZeroUsize;

/// Which machines.
#[derive(Debug, Args)]
pub struct Targets {
    /// Only those in this state
    #[arg(long)]
    state: Option<State>,
    /// The largest number of items to list
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    limit: Option<NonZeroUsize>,
    /// The time that the cloud may take to answer, at most 30s; the rest comes from the table
    #[arg(long, value_name = "TIME", value_parser = moments::length, default_value = "3s")]
    wait: SignedDuration,
}

/// The three lists of discovery, spelled as on the wire.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum State {
    /// Guarded
    Configured,
    /// Could be guarded
    NotConfigured,
    /// Cannot be guarded
    Unsupported,
}

/// Which packet.
#[derive(Debug, Args)]
#[command(after_help = CHECK)]
pub struct Check {
    /// The machine: any unique part of its name
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    target: String,
    /// The port, such as `22` or `53/udp`
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: String,
    /// The source: an address, or `my-ip`
    #[arg(long, value_name = "ADDRESS")]
    from: String,
}

const CHECK: &str = "\
The answer comes from the firewalls as they are now. On a host the table of Portcullis decides; other tables that may
still refuse the port are named. Exit codes: 0 the source gets through, 3 it does not.

Examples:
  portcullis check web-1 22 --from 203.0.113.7
  portcullis check dns-1 53/udp --from my-ip
  portcullis check web-1 22 --from 203.0.113.7 >/dev/null || echo shut";

impl Targets {
    /// Lists them, by id.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        // What is left out here is not counted by the server.
        let limit = self.limit.filter(|_| self.state.is_none()).map(NonZeroUsize::get);
        let mut found = self.found(client, limit)?;
        if let Some(state) = self.state {
            found.retain(|it| it.state == TargetState::from(state));
        }
        found.truncate(self.limit.map_or(usize::MAX, NonZeroUsize::get));
        let empty = match self.state {
            None => "There are no machines here. `portcullis up` simulates some.",
            Some(State::Configured) => "No machine is guarded. Guard one with `portcullis enable TARGET`.",
            Some(State::NotConfigured) => {
                "No machine is left to guard. `portcullis targets` shows all machines."
            }
            Some(State::Unsupported) => {
                "Every machine can be guarded. `portcullis targets` shows all machines."
            }
        };
        client.out.list(&found, empty, || machines::table(&client.out, &found, &client.out.now()))?;
        Ok(Exit::Done)
    }
}

impl Targets {
    /// All that are listed, or the first `limit`. A cloud that did not answer for one part is not asked for the next.
    fn found(&self, client: &Client, limit: Option<usize>) -> Result<Vec<TargetView>, Failure> {
        let mut query = WaitQuery { wait: Some(self.wait), ..WaitQuery::default() };
        let mut found: Vec<TargetView> = vec![];
        for _ in 0..connection::PARTS_MAX {
            let left = limit.map_or(connection::PART, |limit| limit - found.len());
            if left == 0 {
                break;
            }
            query.limit = Some(left.min(connection::PART));
            let part: Listed<TargetView> = client.http.query("/v1/targets", &query)?;
            if query.wait != Some(SignedDuration::ZERO) {
                for it in &part.unseen {
                    output::note(format_args!("warning: {it}"));
                }
            }
            if part.items.iter().any(|it| it.unseen.is_some()) {
                query.wait = Some(SignedDuration::ZERO);
            }
            found.extend(part.items);
            query.after = part.next;
            if query.after.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

impl Check {
    /// Asks the firewalls, and tells which rule decides.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let target = client.named(&self.target, Among::Guarded)?;
        let query = CheckQuery { port: self.port.clone(), from: self.from.clone() };
        let seen: CheckView = client.http.query(&target_path(&target.id, "/check"), &query)?;
        client.out.show(&seen, || {
            let (name, port, from) = (&target.name, &self.port, &self.from);
            let verdict = if seen.passes { "gets through" } else { "does not get through" };
            let firewall = seen.firewall.as_deref().map(|it| format!(" in {}", names::short(it)));
            let rule = format!("{}{}", seen.rule, firewall.unwrap_or_default());
            let (rule, fate) = (output::printable(&rule), words::fate(seen.sessions));
            let mut text = format!("{from} {verdict} to {name} on port {port}\n  decided by {rule}");
            if let Some(it) = &seen.accepted {
                text.extend(["\n  ", &output::printable(&accepted(it))]);
            }
            for it in &seen.may_refuse {
                text.extend(["\n  ", &output::printable(it)]);
            }
            text.extend(["\n  open sessions ", fate]);
            for it in &seen.unknown {
                let it = words::plain(it, &client.out.now());
                text.extend(["\n  not known: ", &output::printable(&it)]);
            }
            text
        })?;
        Ok(if seen.passes { Exit::Done } else { Exit::Refused })
    }
}

/// The accepted rule by which a packet gets through, and the rule that would let the packet through without that one.
fn accepted(packet: &AcceptedPacketView) -> String {
    let AcceptedPacketView { accepted: it, changed, beside } = packet;
    let (rule, by) = (ports::accepted(it), &it.by);
    if *changed {
        return format!("{by} accepted {rule} as it was, and it was changed since");
    }
    let why = it.justification.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let beside = beside.as_ref().map(|it| format!("; without it, {it} would decide"));
    format!("{by} accepted {rule}{why}{}", beside.unwrap_or_default())
}

/// Who calls, and from where.
pub fn whoami(client: &Client) -> Result<Exit, Failure> {
    let me: WhoamiView = client.http.get("/v1/whoami")?;
    client.out.show(&me, || {
        let from = me.address.as_deref().map(|it| format!(", calling from {it}")).unwrap_or_default();
        let first = format!("{}{from}, at {}", output::printable(&me.person), client.http.url());
        [vec![first], known(&me)].concat().join("\n")
    })?;
    Ok(Exit::Done)
}

/// What else is known of the caller, in a line each: of one with a token of the token book nothing is.
fn known(me: &WhoamiView) -> Vec<String> {
    let mut lines = vec![];
    if !me.issuer.is_empty() && me.issuer != "tokens" {
        lines.push(format!("  {} of {}", me.kind, me.issuer));
    }
    let groups = match me.groups_known.as_str() {
        "all" if me.groups.is_empty() => Some("none".to_owned()),
        "all" => Some(me.groups.join(", ")),
        "missing" => Some("unknown: the token has no such claim".to_owned()),
        "overage" => Some("unknown: they are more than fit into a token (docs/identity.md)".to_owned()),
        _ => None,
    };
    lines.extend(groups.map(|it| format!("  groups {it}")));
    lines.extend(me.roles.iter().map(|it| format!("  {} on {}, as {}", it.role, it.on, it.member)));
    lines.extend(me.claims.iter().map(|(name, value)| format!("  {name} {value}")));
    lines.iter().map(|it| output::printable(it).into_owned()).collect()
}

impl From<State> for TargetState {
    fn from(state: State) -> Self {
        match state {
            State::Configured => Self::Configured,
            State::NotConfigured => Self::NotConfigured,
            State::Unsupported => Self::Unsupported,
        }
    }
}
