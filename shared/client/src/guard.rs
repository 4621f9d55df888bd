//! Guarding: plan, enable, confirm, edit, disable.

use crate::{
    client::Client,
    lookup::Among,
    moments, names,
    path::target_path,
    ports,
    table::{Mark, Table},
    wait, words,
};
use clap::Args;
use jiff::{SignedDuration, ZonedDateTime};
use portcullis_domain::Gate;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{EditBody, EnableBody, GuardedView, NameView, PlanView, PortRuleBody};

/// What would be written.
#[derive(Debug, Args)]
#[command(after_help = PLAN)]
pub struct Plan {
    /// The machine: any unique part of its name
    target: String,
    /// Plan with these ports. Default: those of the policy, or the default ports
    #[arg(long = "port", value_name = "PORT", value_parser = ports::rule, allow_negative_numbers = true)]
    ports: Vec<PortRuleBody>,
}

const PLAN: &str = "\
Writes no rule.

Examples:
  portcullis plan web-1
  portcullis plan web-1 --port 22 --port 8443,from=10.0.0.0/8";

/// To guard machines.
#[derive(Debug, Args)]
#[command(after_help = ENABLE)]
pub struct Enable {
    /// The machines: any unique part of each name
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// A port to guard, with settings after commas. Default: SSH on Linux, RDP on Windows
    #[arg(long = "port", value_name = "PORT", value_parser = ports::rule, allow_negative_numbers = true)]
    ports: Vec<PortRuleBody>,
    /// Revert the change after this time unless `portcullis confirm` keeps it
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
    confirm_within: Option<SignedDuration>,
    /// Guard it although it has rules of another Portcullis, such as one whose table was lost
    #[arg(long)]
    take_over: bool,
}

const ENABLE: &str = "\
A port is PORT[/PROTOCOL][,SETTING]...; the protocol is tcp (the default), udp or *. Settings:
  from=RANGE         sources must be within this range; may be given several times (default: anywhere)
  max=TIME           how far ahead of now a lease may end (default: 3h)
  approval           another person has to approve
  approver=PERSON    this person has to approve; may be given several times
  break-glass=PERSON this person may open without approval in an emergency, which is published; may be given
                     several times, `*` is every person
  foreign-denies=override
                     a lease wins over foreign rules that deny single sources (default: respect, they win)

Examples:
  portcullis enable web-1
  portcullis enable web-1 db-1 --confirm-within 60s
  portcullis enable db-1 --port 22/tcp,from=10.0.0.0/8,max=2h --port 5432,approver=ann";

/// One machine.
#[derive(Debug, Args)]
pub struct One {
    /// The machine: any unique part of its name
    target: String,
}

/// To change what is guarded.
#[derive(Debug, Args)]
#[command(after_help = EDIT)]
pub struct Edit {
    /// The machine: any unique part of its name
    target: String,
    /// Guard this port too
    #[arg(long = "add-port", value_name = "PORT", value_parser = ports::rule, allow_negative_numbers = true)]
    add: Vec<PortRuleBody>,
    /// Change settings of a guarded port; other settings stay as they are
    #[arg(long, value_name = "PORT,SETTING", value_parser = ports::rule, allow_negative_numbers = true)]
    set: Vec<PortRuleBody>,
    /// Stop guarding this port; its grants end
    #[arg(long = "remove-port", value_name = "PORT[/PROTOCOL]", allow_negative_numbers = true)]
    remove: Vec<Gate>,
    /// Revert the change after this time unless `portcullis confirm` keeps it
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
    confirm_within: Option<SignedDuration>,
}

const EDIT: &str = "\
Examples:
  portcullis edit web-1 --add-port 8443,max=1h
  portcullis edit web-1 --set 22,approver=ann,approver=bob
  portcullis edit web-1 --set 22,break-glass=carol
  portcullis edit web-1 --set 22,no-approval --remove-port 8443";

impl Plan {
    /// Shows what would be written.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let target = client.named(&self.target, Among::All)?;
        let body = EnableBody { ports: self.ports.clone(), ..EnableBody::default() };
        let plan = client.http.post(&target_path(&target.id, "/plan"), Some(&body));
        let plan: PlanView = plan.map_err(naming(&target))?;
        client.out.show(&plan, || planned(client, &target, &plan))?;
        warn(&plan.warnings);
        Ok(Exit::Done)
    }
}

impl Enable {
    /// Guards them, and waits for their firewalls.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let known = client.names(&self.targets, Among::All)?;
        // All names first: a typo in the last one changes nothing of the others.
        let named = self.targets.iter().map(|it| known.find(it));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let body = EnableBody {
            ports: self.ports.clone(),
            confirm_within: self.confirm_within,
            take_over: self.take_over,
        };
        let mut guarded: Vec<GuardedView> = vec![];
        for target in &named {
            let done = client.http.post(&target_path(&target.id, "/enable"), Some(&body));
            let done = done.map_err(naming(target));
            guarded.push(done.inspect_err(|_| already(&guarded))?);
        }
        tell(client, &guarded)
    }
}

impl One {
    /// Keeps the change that would lapse.
    pub fn confirm(&self, client: &Client) -> Result<Exit, Failure> {
        let guarded = self.post(client, "/confirm")?;
        client.out.show(&guarded, || {
            format!("The change of {} is confirmed and stays.", names::short(&guarded.target))
        })?;
        Ok(Exit::Done)
    }

    /// Guards it no longer, and waits for its firewalls.
    pub fn disable(&self, client: &Client) -> Result<Exit, Failure> {
        let guarded = self.post(client, "/disable")?;
        // A machine that never had a policy has no rules to wait for.
        let was_ever_guarded = guarded.changed || 0 < guarded.policy_version;
        let settled = if was_ever_guarded { wait::until_settled(client, &guarded.target) } else { Ok(()) };
        client.out.show(&guarded, || {
            let name = names::short(&guarded.target);
            if !guarded.changed {
                return format!("{name} was not guarded, and is unchanged.");
            }
            let firewalls = if settled.is_ok() { "are" } else { "become" };
            format!("{name} is no longer guarded: its firewalls {firewalls} as before, and its grants end.")
        })?;
        settled.map(|()| Exit::Done)
    }

    fn post(&self, client: &Client, rest: &str) -> Result<GuardedView, Failure> {
        let target = client.named(&self.target, Among::Guarded)?;
        client.http.post(&target_path(&target.id, rest), None::<&()>).map_err(naming(&target))
    }
}

impl Edit {
    /// Changes it, and waits for its firewalls.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        if self.add.is_empty() && self.set.is_empty() && self.remove.is_empty() {
            return Err(Failure::usage("the command names no change")
                .next("name a change with --add-port, --set or --remove-port"));
        }
        let target = &client.named(&self.target, Among::Guarded)?;
        for rule in &self.add {
            if is_guarded(target, rule) {
                return Err(Failure::usage(format!(
                    "port `{}` of `{}` is guarded already",
                    rule.port, target.name
                ))
                .next(format!("change its settings with `--set {},…`", rule.port)));
            }
        }
        for rule in &self.set {
            if !is_guarded(target, rule) {
                return Err(Failure::usage(format!(
                    "port `{}` of `{}` is not guarded",
                    rule.port, target.name
                ))
                .next(format!("guard it with `--add-port {}`", rule.port)));
            }
        }
        let ports = self.add.iter().chain(&self.set).cloned().collect();
        let body = EditBody { ports, remove: self.remove.clone(), confirm_within: self.confirm_within };
        let guarded = client.http.post(&target_path(&target.id, "/edit"), Some(&body));
        let guarded: GuardedView = guarded.map_err(naming(target))?;
        tell_one(client, &guarded)
    }
}

fn planned(client: &Client, target: &NameView, plan: &PlanView) -> String {
    let now = client.out.now();
    let heads =
        ["PORT", "ADMITS NOW", "RULES THAT WOULD NO LONGER DECIDE", "RULES THAT WOULD DEFEAT THE LOCK"];
    let mut gates = Table::of(&heads);
    let listed = |rules: &[String]| match rules {
        [] => "-".to_owned(),
        rules => rules.iter().map(|it| words::plain(it, &now)).collect::<Vec<_>>().join(", "),
    };
    for gate in &plan.gates {
        let mark = match (&gate.shadows[..], &gate.defeated_by[..]) {
            ([], []) => Mark::Plain,
            ([_, ..], []) => Mark::Look,
            (_, [_, ..]) => Mark::Bad,
        };
        let (shadows, defeated_by) = (listed(&gate.shadows), listed(&gate.defeated_by));
        gates.row(mark, [gate.gate.clone(), gate.admits_now.clone(), shadows, defeated_by]);
    }
    let mut text = client.out.table(&gates);
    text.push_str(&denies(plan, &now));
    text.extend(["\nOpen sessions ", words::fate(plan.sessions), "."]);
    if plan.changes.is_empty() {
        text.push_str("\nIts firewalls have all their rules: no rule would be written.");
        return text;
    }
    text.push_str("\nRules to write:");
    for change in &plan.changes {
        text.push_str("\n  ");
        text.push_str(&output::printable(&words::plain(change, &now)));
    }
    if target.ports.is_empty() {
        text.extend(["\n\nTo write them, run `portcullis enable ", &target.name, "` and the same ports."]);
    }
    text
}

/// The foreign denies that a lease would meet, and which of the two would win.
fn denies(plan: &PlanView, now: &ZonedDateTime) -> String {
    let mut text = String::new();
    for (gate, it) in plan.gates.iter().flat_map(|gate| gate.denies.iter().map(move |it| (gate, it))) {
        let (rule, port) = (words::plain(&it.rule, now), &gate.gate);
        let outcome = if it.wins {
            format!(
                "keeps {} out of {port}, also with a lease; `foreign-denies=override` changes that",
                it.sources
            )
        } else {
            format!("gives way to a lease of {port}")
        };
        text.push_str(&output::printable(&format!("\n{rule} {outcome}")));
    }
    for it in plan.gates.iter().flat_map(|gate| &gate.may_refuse) {
        text.push_str(&output::printable(&format!("\n{it}")));
    }
    text
}

fn is_guarded(target: &NameView, rule: &PortRuleBody) -> bool {
    let fits = |protocol| rule.protocol.is_none_or(|it| it.meets(protocol));
    target.ports.iter().any(|it| it.port == rule.port.number() && fits(it.protocol))
}

/// A list for scripts, since several can be named; the same words for each.
fn tell(client: &Client, guarded: &[GuardedView]) -> Result<Exit, Failure> {
    let settled = guarded.iter().map(|it| wait::until_settled(client, &it.target)).collect::<Vec<_>>();
    let all = || guarded.iter().zip(&settled).map(|(it, settled)| said(client, it, settled.is_ok()));
    client.out.show(&guarded, || all().collect::<Vec<_>>().join("\n"))?;
    for it in guarded {
        warn(&it.warnings);
    }
    settled.into_iter().collect::<Result<(), _>>().map(|()| Exit::Done)
}

fn tell_one(client: &Client, guarded: &GuardedView) -> Result<Exit, Failure> {
    let settled = wait::until_settled(client, &guarded.target);
    client.out.show(guarded, || said(client, guarded, settled.is_ok()))?;
    warn(&guarded.warnings);
    settled.map(|()| Exit::Done)
}

fn said(client: &Client, guarded: &GuardedView, is_settled: bool) -> String {
    let name = names::short(&guarded.target);
    let mut lines = vec![if is_settled {
        format!("{name} is guarded: closed, except for leases.")
    } else {
        format!("{name} will be guarded once its firewalls have the rules.")
    }];
    lines.extend(guarded.ports.iter().map(|it| format!("  {}", ports::words(it))));
    lines.push(match guarded.confirm_by {
        Some(by) => {
            let until = moments::until(by, &client.out.now());
            format!(
                "If you still have access, run `portcullis confirm {name}` to keep the change; otherwise \
                it lapses ({until})."
            )
        }
        None => format!("Request a port with `portcullis request {name}`."),
    });
    output::printable(&lines.join("\n")).into_owned()
}

/// Names the machine of the command in what to do next.
fn naming(target: &NameView) -> impl Fn(Failure) -> Failure {
    |failure| failure.naming("TARGET", &target.name)
}

/// What was done before something failed: it stays done.
fn already(guarded: &[GuardedView]) {
    for done in guarded {
        output::note(format_args!("{} is guarded", names::short(&done.target)));
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        let warning = words::plain(warning, &ZonedDateTime::now());
        output::note(format_args!("warning: {warning}"));
    }
}
