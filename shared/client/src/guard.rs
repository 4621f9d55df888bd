//! Guarding: plan, enable, confirm, edit, disable.

use crate::{
    client::Client,
    complete,
    lookup::Among,
    moments, names,
    path::target_path,
    ports,
    several::Outcomes,
    table::{Mark, Table},
    url::is_here,
    wait, words,
};
use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCandidates;
use jiff::{SignedDuration, ZonedDateTime};
use portcullis_domain::{BadName, Gate};
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{AcceptBody, EditBody, EnableBody, GuardedView, NameView, PlanView, PortRuleBody};
use serde::{Serialize, de::DeserializeOwned};

/// What would be written.
#[derive(Debug, Args)]
#[command(after_help = PLAN)]
pub struct Plan {
    /// The machine: any unique part of its name
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    target: String,
    /// Plan with these ports. Default: those of the policy, or the default ports
    #[arg(long = "port", value_name = "PORT", value_parser = ports::rules, allow_negative_numbers = true)]
    ports: Vec<ports::Rules>,
}

const PLAN: &str = "\
Writes no rule.

Examples:
  portcullis plan web-1
  portcullis plan web-1 --port 22 --port 8443,from=10.0.0.0/8";

/// To guard machines.
#[derive(Debug, Args)]
#[command(after_help = ENABLE, group = ArgGroup::new("machines").args(["targets", "all_recommended"]).required(true))]
pub struct Enable {
    /// The machines: any unique part of each name
    #[arg(value_name = "TARGET", add = ArgValueCandidates::new(complete::machines))]
    targets: Vec<String>,
    /// Every machine that could be guarded and is not
    #[arg(long)]
    all_recommended: bool,
    /// A port to guard, with settings after commas. Default: SSH on Linux, RDP on Windows
    #[arg(long = "port", value_name = "PORT", value_parser = ports::rules, allow_negative_numbers = true)]
    ports: Vec<ports::Rules>,
    /// Revert the change after this time unless `portcullis confirm` keeps it
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
    confirm_within: Option<SignedDuration>,
    /// Guard it although it has rules of another Portcullis, such as one whose table was lost
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    accepting: Accepting,
}

/// Foreign rules to accept.
#[derive(Debug, Args)]
struct Accepting {
    /// Accept a foreign rule that lets sources in without a lease, as it is now: it is no longer reported as a defeat
    #[arg(long, value_name = "RULE")]
    accept: Vec<String>,
    /// The reason for --accept
    #[arg(long, value_name = "REASON", requires = "accept")]
    why: Option<String>,
}

const ENABLE: &str = "\
A port is PORT[/PROTOCOL][,SETTING]...; the protocol is tcp (the default), udp or *. In place of PORT,
`recommended` is 22, 3389, 5985 and 5986: SSH, RDP and WinRM. Settings:
  from=RANGE         sources must be within this range; may be given several times (default: anywhere)
  max=TIME           how far ahead of now a lease may end (default: 3h)
  approval           another person has to approve
  approver=PERSON    this person has to approve; may be given several times
  break-glass=PERSON this person may open without approval in an emergency, which is published; may be given
                     several times, `*` is every person
  foreign-denies=override
                     a lease wins over foreign rules that deny single sources (default: respect, they win)

RULE is as `plan` prints it, or any unique part of that, and is accepted as it is now (see `edit`).

Examples:
  portcullis enable web-1
  portcullis enable web-1 db-1 --confirm-within 60s
  portcullis enable web-1 --port recommended,max=1h
  portcullis enable --all-recommended
  portcullis enable web-1 --accept AllowBastion --why 'the bastion of the platform team'
  portcullis enable db-1 --port 22/tcp,from=10.0.0.0/8,max=2h --port 5432,approver=ann";

/// One machine.
#[derive(Debug, Args)]
pub struct One {
    /// The machine: any unique part of its name
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    target: String,
}

/// Machines that are guarded no longer.
#[derive(Debug, Args)]
pub struct Disable {
    /// The machines: any unique part of each name
    #[arg(required = true, value_name = "TARGET", add = ArgValueCandidates::new(complete::machines))]
    targets: Vec<String>,
}

/// To change what is guarded.
#[derive(Debug, Args)]
#[command(after_help = EDIT)]
pub struct Edit {
    /// The machines: any unique part of each name
    #[arg(required = true, value_name = "TARGET", add = ArgValueCandidates::new(complete::machines))]
    targets: Vec<String>,
    /// Guard this port too
    #[arg(long = "add-port", value_name = "PORT", value_parser = ports::rules, allow_negative_numbers = true)]
    add: Vec<ports::Rules>,
    /// Change settings of a guarded port; other settings stay as they are
    #[arg(long, value_name = "PORT,SETTING", value_parser = ports::rule, allow_negative_numbers = true)]
    set: Vec<PortRuleBody>,
    /// Stop guarding this port; its grants end
    #[arg(long = "remove-port", value_name = "PORT[/PROTOCOL]", allow_negative_numbers = true)]
    remove: Vec<Gate>,
    #[command(flatten)]
    accepting: Accepting,
    /// Report this rule again
    #[arg(long, value_name = "RULE")]
    no_longer_accept: Vec<String>,
    /// Revert the change after this time unless `portcullis confirm` keeps it
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
    confirm_within: Option<SignedDuration>,
}

const EDIT: &str = "\
RULE is as `plan` and `check` print it, or any unique part of that. An acceptance writes no rule.
It is for the rule as it is now: a rule that is changed later is reported again, and so is each
other rule that lets sources in.

Examples:
  portcullis edit web-1 --add-port 8443,max=1h
  portcullis edit web-1 --set 22,approver=ann,approver=bob
  portcullis edit web-1 --set 22,break-glass=carol
  portcullis edit web-1 db-1 --set 22,no-approval --remove-port 8443
  portcullis edit web-1 --accept AllowBastion --why 'the bastion of the platform team'";

impl Plan {
    /// Shows what would be written.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let target = client.named(&self.target, Among::All)?;
        let body = EnableBody { ports: ports::Rules::all(&self.ports), ..EnableBody::default() };
        let plan = client.http.post(&target_path(&target.id, "/plan"), Some(&body));
        let plan: PlanView = plan.map_err(naming(&target))?;
        client.out.show(&plan, || planned(client, &target, &plan))?;
        warn(&plan.warnings);
        Ok(Exit::Done)
    }
}

impl Enable {
    /// Guards them once all of them were checked, and waits for their firewalls.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let targets = if self.all_recommended {
            client.unguarded()?
        } else {
            found(client, &self.targets, Among::All)?
        };
        if targets.is_empty() {
            let none: Vec<GuardedView> = vec![];
            client.out.show(&none, || "Every machine that could be guarded is guarded.".to_owned())?;
            return Ok(Exit::Done);
        }
        let body = EnableBody {
            ports: ports::Rules::all(&self.ports),
            confirm_within: self.confirm_within,
            take_over: self.take_over,
            accept: self.accepting.bodies()?,
        };
        if let [_, _, ..] = targets.as_slice() {
            Self::check(client, &targets, &body)?;
        }
        let outcomes = Outcomes::of(MACHINES, &targets, name, |target| {
            post::<GuardedView>(client, target, "/enable", Some(&body))
        });
        tell(client, outcomes, Shape::List)
    }

    /// A machine that cannot be guarded so keeps the others as they are.
    fn check(client: &Client, targets: &[NameView], body: &EnableBody) -> Result<(), Failure> {
        let (ports, accept) = (body.ports.clone(), body.accept.clone());
        let asked = EnableBody { ports, accept, ..EnableBody::default() };
        let checked = Outcomes::of(MACHINES, targets, name, |target| {
            post::<PlanView>(client, target, "/plan", Some(&asked))
        });
        checked.ended().map_err(|failure| failure.saying("the command changed nothing, since it would fail:"))
    }
}

impl Accepting {
    fn bodies(&self) -> Result<Vec<AcceptBody>, Failure> {
        let why = self.why.as_ref().map(|it| it.parse()).transpose();
        let justification = why.map_err(|it: BadName| Failure::usage(it.to_string()))?;
        let body = |rule: &String| AcceptBody { rule: rule.clone(), justification: justification.clone() };
        Ok(self.accept.iter().map(body).collect())
    }
}

impl One {
    /// Keeps the change that would lapse.
    pub fn confirm(&self, client: &Client) -> Result<Exit, Failure> {
        let target = client.named(&self.target, Among::Guarded)?;
        let guarded: GuardedView = post(client, &target, "/confirm", None::<&()>)?;
        client.out.show(&guarded, || {
            format!("The change of {} is confirmed and stays.", names::short(&guarded.target))
        })?;
        Ok(Exit::Done)
    }
}

impl Disable {
    /// Guards them no longer, and waits for their firewalls.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let targets = found(client, &self.targets, Among::Guarded)?;
        let outcomes = Outcomes::of(MACHINES, &targets, name, |target| {
            post::<GuardedView>(client, target, "/disable", None::<&()>)
        });
        // A machine that never had a policy has no rules to wait for.
        let was_ever_guarded = |it: &&GuardedView| it.changed || 0 < it.policy_version;
        let settle = |it: &GuardedView| match Some(it).filter(was_ever_guarded) {
            Some(it) => wait::until_settled(client, &it.target),
            None => Ok(()),
        };
        tell_each(client, outcomes, Shape::of(&self.targets), settle, |guarded, is_settled| {
            let name = output::printable(names::short(&guarded.target)).into_owned();
            if !guarded.changed {
                return format!("{name} was not guarded, and is unchanged.");
            }
            let firewalls = if is_settled { "are" } else { "become" };
            format!("{name} is no longer guarded: its firewalls {firewalls} as before, and its grants end.")
        })
    }
}

impl Edit {
    /// Changes them once all of them were checked, and waits for their firewalls.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let names_no_port = self.add.is_empty() && self.set.is_empty() && self.remove.is_empty();
        if names_no_port && self.accepting.accept.is_empty() && self.no_longer_accept.is_empty() {
            return Err(Failure::usage("the command names no change").next(
                "name a change with --add-port, --set, --remove-port, --accept or --no-longer-accept",
            ));
        }
        let targets = found(client, &self.targets, Among::Guarded)?;
        let add = ports::Rules::all(&self.add);
        let checked = Outcomes::of(MACHINES, &targets, name, |target| self.check(&add, target));
        checked.ended()?;
        let ports = add.iter().chain(&self.set).cloned().collect();
        let body = EditBody {
            ports,
            remove: self.remove.clone(),
            accept: self.accepting.bodies()?,
            no_longer_accept: self.no_longer_accept.clone(),
            confirm_within: self.confirm_within,
        };
        let outcomes = Outcomes::of(MACHINES, &targets, name, |target| {
            post::<GuardedView>(client, target, "/edit", Some(&body))
        });
        tell(client, outcomes, Shape::of(&self.targets))
    }

    fn check(&self, add: &[PortRuleBody], target: &NameView) -> Result<(), Failure> {
        if let Some(rule) = add.iter().find(|it| is_guarded(target, it)) {
            let said = format!("port `{}` of `{}` is guarded already", rule.port, target.name);
            return Err(
                Failure::usage(said).next(format!("change its settings with `--set {},…`", rule.port))
            );
        }
        if let Some(rule) = self.set.iter().find(|it| !is_guarded(target, it)) {
            let said = format!("port `{}` of `{}` is not guarded", rule.port, target.name);
            return Err(Failure::usage(said).next(format!("guard it with `--add-port {}`", rule.port)));
        }
        Ok(())
    }
}

/// What a command about several of them calls them.
const MACHINES: &str = "machines";

fn name(target: &NameView) -> String {
    target.name.clone()
}

/// The machines that are named, each once. A typo in the last name changes nothing of the others.
fn found(client: &Client, texts: &[String], among: Among) -> Result<Vec<NameView>, Failure> {
    let known = client.names(texts, among)?;
    let mut found: Vec<NameView> = vec![];
    for text in texts {
        let target = known.find(text)?;
        if found.iter().all(|it| it.id != target.id) {
            found.push(target.clone());
        }
    }
    Ok(found)
}

fn post<T: DeserializeOwned>(
    client: &Client,
    target: &NameView,
    rest: &str,
    body: Option<&impl Serialize>,
) -> Result<T, Failure> {
    client.http.post(&target_path(&target.id, rest), body).map_err(naming(target))
}

fn planned(client: &Client, target: &NameView, plan: &PlanView) -> String {
    let now = client.out.now();
    let heads =
        ["PORT", "ADMITS NOW", "RULES THAT WOULD NO LONGER DECIDE", "RULES THAT WOULD DEFEAT THE LOCK"];
    let mut gates = Table::prose(&heads);
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
    text.push_str(&accepted(plan));
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

/// The accepted rules by which sources get in without a lease, with the people who accepted them.
fn accepted(plan: &PlanView) -> String {
    let mut text = String::new();
    for (gate, it) in plan.gates.iter().flat_map(|gate| gate.accepted.iter().map(move |it| (gate, it))) {
        let why = it.justification.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let (rule, port, by) = (ports::accepted(it), &gate.gate, &it.by);
        let line = format!("\n{rule} lets sources into {port} without a lease, as {by} accepted{why}");
        text.push_str(&output::printable(&line));
    }
    text
}

/// The foreign denies that a lease would meet, and which of the two would win.
fn denies(plan: &PlanView, now: &ZonedDateTime) -> String {
    let mut text = String::new();
    for (gate, it) in plan.gates.iter().flat_map(|gate| gate.denies.iter().map(move |it| (gate, it))) {
        text.push_str(&output::printable(&format!("\n{}", words::met(it, &gate.gate, now))));
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

/// What a script gets of one machine that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// An object, as ever.
    One,
    /// A list, as where several are named.
    List,
}

impl Shape {
    fn of(targets: &[String]) -> Self {
        if targets.len() == 1 { Self::One } else { Self::List }
    }
}

fn tell(client: &Client, outcomes: Outcomes<GuardedView>, shape: Shape) -> Result<Exit, Failure> {
    let settle = |it: &GuardedView| wait::until_settled(client, &it.target);
    tell_each(client, outcomes, shape, settle, |it, is_settled| said(client, it, is_settled))
}

/// Waits for the firewalls of what was done, shows that, and fails with what was not.
fn tell_each(
    client: &Client,
    outcomes: Outcomes<GuardedView>,
    shape: Shape,
    settle: impl Fn(&GuardedView) -> Result<(), Failure>,
    words: impl Fn(&GuardedView, bool) -> String,
) -> Result<Exit, Failure> {
    let done = &outcomes.done;
    let settled: Vec<Result<(), Failure>> = done.iter().map(&settle).collect();
    if !done.is_empty() {
        let all = || done.iter().zip(&settled).map(|(it, settled)| words(it, settled.is_ok()));
        let text = || all().collect::<Vec<_>>().join("\n");
        match (shape, done.as_slice()) {
            (Shape::One, [one]) => client.out.show(one, text)?,
            (Shape::One | Shape::List, _) => client.out.show(done, text)?,
        }
    }
    for it in done {
        warn(&it.warnings);
    }
    let names: Vec<String> = done.iter().map(|it| names::short(&it.target).to_owned()).collect();
    outcomes.ended()?;
    Outcomes::gathered(MACHINES, names.into_iter().zip(settled)).ended().map(|()| Exit::Done)
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
        // A server on this machine sees no address of the caller that another machine could know.
        None if is_here(client.http.url()) => {
            format!("Request a port with `portcullis request {name} --from ADDRESS`.")
        }
        None => format!("Request a port with `portcullis request {name}`."),
    });
    output::printable(&lines.join("\n")).into_owned()
}

/// Names the machine of the command in what to do next.
fn naming(target: &NameView) -> impl Fn(Failure) -> Failure {
    |failure| failure.naming("TARGET", &target.name)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        let warning = words::plain(warning, &ZonedDateTime::now());
        output::note(format_args!("warning: {warning}"));
    }
}
