//! Taking over what somebody else's just-in-time access guards.

use crate::{
    client::Client,
    moments, names,
    output::Output,
    table::{Mark, Table},
    wait,
};
use clap::Args;
use jiff::ZonedDateTime;
use portcullis_domain::Action;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{
    AdoptBody, AdoptableMachineView, AdoptablePortView, AdoptableRuleView, AdoptableView, AdoptedView,
    PageQuery,
};

/// What to take over.
#[derive(Debug, Args)]
#[command(after_help = ADOPT)]
pub struct Adopt {
    /// The policy or machine: any unique part of its name. Default: list all
    name: Option<String>,
    /// Delete the policy and its rules, once a read-back has confirmed our own lock
    #[arg(long, requires = "name")]
    delete: bool,
    /// Do not ask for a confirmation before deleting
    #[arg(long, requires = "delete")]
    yes: bool,
}

const ADOPT: &str = "\
Microsoft's just-in-time access has policies, and writes rules for them. Taking over a policy guards its machines
with Portcullis, with the same ports. The policy and its rules are deleted only with --delete.

Examples:
  portcullis adopt
  portcullis adopt default
  portcullis adopt default --delete --yes";

/// What can be named: a policy, or a machine.
#[derive(Debug)]
struct Thing {
    id: String,
    name: String,
}

impl names::Named for Thing {
    const WHAT: &'static str = "policy or machine to take over";
    const SEVERAL: &'static str = "policies and machines";
    const LIST: &'static str = "portcullis adopt";
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Adopt {
    /// Lists what there is, or takes it over.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let found: Vec<AdoptableView> = client.http.list("/v1/adoptable", &PageQuery::default(), None)?;
        let Some(name) = &self.name else {
            let empty =
                "There is nothing to take over: no policies of Microsoft's, and no rules left by them.";
            client.out.list(&found, empty, || table(&client.out, &found, &client.out.now()))?;
            return Ok(Exit::Done);
        };
        let things = things(&found);
        let thing = names::find(&things, name)?;
        if self.delete && !self.yes && !Self::is_meant(&thing.name)? {
            return Err(Failure::refused("the command changed nothing"));
        }
        let body = |delete| AdoptBody { what: thing.id.clone(), delete };
        let mut adopted: AdoptedView = client.http.post("/v1/adopt", Some(&body(false)))?;
        let guarded = adopted.machines.iter().filter(|it| it.guarded);
        let settled = guarded.map(|it| wait::until_settled(client, &it.target)).collect::<Vec<_>>();
        if self.delete {
            let done: AdoptedView = client.http.post("/v1/adopt", Some(&body(true)))?;
            adopted = AdoptedView { machines: adopted.machines, ..done };
        }
        let left: Vec<&AdoptableView> = left_of(&found, &thing.id).collect();
        let is_left_to_delete = adopted.deleted.is_empty() && adopted.kept.is_empty();
        client.out.show(&adopted, || {
            let mut lines = said(&adopted);
            if is_left_to_delete {
                lines.extend(still_there(&thing.name, &left, &client.out.now()));
            }
            output::printable(&lines.join("\n")).into_owned()
        })?;
        for warning in adopted.machines.iter().flat_map(|it| &it.warnings) {
            output::note(format_args!("warning: {warning}"));
        }
        // Who asked for more than could be done is told by the exit code too.
        let is_left = adopted.machines.iter().any(|it| !it.left.is_empty());
        let exit = if is_left || !adopted.kept.is_empty() { Exit::Refused } else { Exit::Done };
        // A lock that somebody else's rule defeats until that is deleted is no failure of the deletion.
        let settled = if adopted.deleted.is_empty() { settled.into_iter().collect() } else { Ok(()) };
        settled.map(|()| exit).map_err(|failure: Failure| {
            if is_left_to_delete { failure.next(to_delete(&thing.name)) } else { failure }
        })
    }

    /// Does the person mean it?
    fn is_meant(name: &str) -> Result<bool, Failure> {
        if !output::is_attended() {
            let next = "give --yes, since this terminal cannot ask for a confirmation";
            return Err(Failure::usage("the command would delete a policy or rules").next(next));
        }
        output::ask(&format!("Take over `{name}`, and then delete it with its rules?"))
    }
}

fn things(found: &[AdoptableView]) -> Vec<Thing> {
    let mut things: Vec<Thing> = vec![];
    let policies = found.iter().filter_map(|it| Some((it.policy.clone()?, it.name.clone())));
    let machines = found.iter().flat_map(|it| &it.machines).map(|it| it.target.clone());
    let machines = machines.map(|it| (it.clone(), names::short(&it).to_owned()));
    for (id, name) in policies.chain(machines) {
        if things.iter().all(|it| it.id != id) {
            things.push(Thing { id, name });
        }
    }
    things
}

/// The policies and rules that a name stands for.
fn left_of<'a>(found: &'a [AdoptableView], id: &'a str) -> impl Iterator<Item = &'a AdoptableView> {
    found.iter().filter(move |it| it.policy.as_deref() == Some(id) || targets(it).any(|it| it == id))
}

fn targets(it: &AdoptableView) -> impl Iterator<Item = &str> {
    let of_rules = it.rules.iter().filter_map(|it| it.target.as_deref());
    it.machines.iter().map(|it| it.target.as_str()).chain(of_rules)
}

/// What goes on beside our own lock, and how to end that.
fn still_there(name: &str, found: &[&AdoptableView], now: &ZonedDateTime) -> Vec<String> {
    let mut lines = vec![];
    if found.iter().any(|it| it.policy.is_some()) {
        lines.push("Microsoft's policy is still there: ports may still be opened by it.".to_owned());
    }
    let rules: Vec<&AdoptableRuleView> = found.iter().flat_map(|it| &it.rules).collect();
    if !rules.is_empty() {
        lines.push("Microsoft's rules are still in effect:".to_owned());
    }
    lines.extend(rules.into_iter().map(|it| {
        let (_, what) = done(it, now);
        format!("  {} in {} {what}", it.name, names::short(&it.firewall))
    }));
    lines.push(format!("To delete them, {}.", to_delete(name)));
    lines
}

fn to_delete(name: &str) -> String {
    format!(
        "run `portcullis adopt {name} --delete`: nothing is deleted before a read-back has confirmed our own lock"
    )
}

fn table(out: &Output, found: &[AdoptableView], now: &ZonedDateTime) -> Table {
    let mut table = Table::of(&["POLICY", "MACHINE", "EFFECT", "PLACE"]);
    let ids = out.ids(found.iter().flat_map(targets));
    for it in found {
        let policy = it.policy.as_ref().map_or_else(|| "-".to_owned(), |_| it.name.clone());
        for AdoptableMachineView { target, ports } in &it.machines {
            for port in ports {
                let machine = ids.of(target);
                table.row(Mark::Plain, [policy.clone(), machine, asked(port), "in the policy".to_owned()]);
            }
        }
        for rule in &it.rules {
            let machine = rule.target.as_deref().map_or_else(|| "?".to_owned(), |it| ids.of(it));
            let (mark, what) = done(rule, now);
            let place = format!("{} in {}", rule.name, names::short(&rule.firewall));
            table.row(mark, [policy.clone(), machine, what, place]);
        }
    }
    table
}

fn asked(it: &AdoptablePortView) -> String {
    let (port, protocol, from) = (it.port, it.protocol.to_ascii_lowercase(), who(&it.sources));
    let max =
        it.max.parse::<jiff::SignedDuration>().map_or_else(|_| it.max.clone(), |max| format!("{max:#}"));
    format!("permits requests for {port}/{protocol} from {from}, at most {max}")
}

fn done(it: &AdoptableRuleView, now: &ZonedDateTime) -> (Mark, String) {
    let (from, ports) = (who(&it.sources), it.ports.join(", "));
    let until = it.until.map(|it| format!(", {}", moments::until(it, now))).unwrap_or_default();
    match it.action {
        Action::Deny => (Mark::Good, format!("denies port {ports} from {from}")),
        Action::Allow => (Mark::Look, format!("allows port {ports} from {from}{until}")),
    }
}

fn who(sources: &[String]) -> String {
    if sources.iter().any(|it| it == "*") { "anywhere".to_owned() } else { sources.join(", ") }
}

fn said(adopted: &AdoptedView) -> Vec<String> {
    let mut lines = vec![];
    for it in &adopted.machines {
        let name = names::short(&it.target);
        lines.push(if it.guarded {
            format!("{name} is guarded by Portcullis.")
        } else {
            format!("{name} was not taken over.")
        });
        lines.extend(it.left.iter().map(|why| format!("  not taken over: {why}")));
    }
    lines.extend(adopted.deleted.iter().map(|it| format!("Deleted {it}.")));
    if !adopted.kept.is_empty() {
        lines.push("The following was not deleted:".to_owned());
        lines.extend(adopted.kept.iter().map(|why| format!("  {why}")));
    }
    lines
}
