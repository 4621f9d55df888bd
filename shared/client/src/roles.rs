//! Roles: who may do what, on which machines.

use crate::{
    client::Client,
    lookup::Among,
    names,
    output::Output,
    table::{Mark, Table},
    unpermitted::unpermitted,
};
use clap::{Args, Subcommand};
use portcullis_domain::{Member, Role, Scope};
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{RoleBody, RoleView, RolesView};

/// What to do about roles.
#[derive(Debug, Subcommand)]
pub enum Roles {
    /// List who has which role on which machines
    List,
    /// List the roles of one member, and what they permit
    Show {
        /// The member: a person, `group:NAME`, `workload:NAME` or `everyone`
        #[arg(value_parser = member)]
        member: Member,
    },
    /// Grant a role to a member
    #[command(after_help = GRANT)]
    Grant(Given),
    /// Revoke a role of a member, as `role list` shows it
    #[command(after_help = REVOKE)]
    Revoke(Given),
}

/// A role, its member, and the machines.
#[derive(Debug, Args)]
pub struct Given {
    /// The member: a person, `group:NAME`, `workload:NAME` or `everyone`
    #[arg(value_parser = member)]
    member: Member,
    /// The role: reader, requester, approver, configurator, auditor or operator
    role: Role,
    /// The machines: `everything`, `account:ID`, `group:ACCOUNT/NAME`, `tag:KEY=VALUE`, or the name of a machine
    #[arg(long, value_name = "SCOPE")]
    on: String,
}

const GRANT: &str = "\
Examples:
  portcullis role grant group:ops requester --on everything
  portcullis role grant group:dba approver --on tag:team=data
  portcullis role grant ann configurator --on web-1

At first everyone has every role but the operator's. To permit only what you grant, revoke those:
  portcullis role revoke everyone configurator --on everything";

const REVOKE: &str = "\
Example:
  portcullis role revoke everyone approver --on everything";

/// How the scope of one machine begins.
const MACHINE: &str = "target:";

/// A member; a name alone is a person's.
fn member(text: &str) -> Result<Member, String> {
    const KINDS: [&str; 3] = ["person:", "group:", "workload:"];
    let is_whole = text == "everyone" || KINDS.iter().any(|it| text.starts_with(it));
    let whole = if is_whole { text.to_owned() } else { format!("person:{text}") };
    whole.parse().map_err(|error: portcullis_domain::BadName| error.to_string())
}

impl Roles {
    /// Lists or changes them.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        match self {
            Self::List => {
                let found: RolesView = client.http.get("/v1/roles")?;
                listed(&client.out, &found)?;
                if found.version == 0 && !client.out.is_json() {
                    output::note(
                        "No role was changed yet: everyone whose identity is proven has every role but the operator's.",
                    );
                }
            }
            Self::Show { member } => {
                let found: RolesView = client.http.get("/v1/roles")?;
                let is_theirs = |it: &RoleView| {
                    it.member.parse().is_ok_and(|it: Member| it == *member || it == Member::Everyone)
                };
                let roles = found.roles.into_iter().filter(is_theirs).collect();
                let is_theirs = |it: &String| it.parse().is_ok_and(|it| *member == Member::Person(it));
                let operator = found.operator.filter(is_theirs);
                listed(&client.out, &RolesView { roles, operator, ..found })?;
            }
            Self::Grant(given) => {
                let body = given.body(client)?;
                let after: RolesView = client.http.post("/v1/roles", Some(&body))?;
                let RoleBody { role, member, on } = &body;
                let on = scope(&on.to_string());
                client.out.show(&after, || format!("{member} has the role {role} on {on}."))?;
            }
            Self::Revoke(given) => {
                let body = given.body(client)?;
                let revoked = client.http.post("/v1/roles/revoke", Some(&body));
                let after: RolesView = revoked.map_err(|it| {
                    let is_none = it.exit() == Exit::NotFound;
                    if is_none {
                        it.next("`portcullis role list` lists the roles as they were granted")
                    } else {
                        it
                    }
                })?;
                let RoleBody { role, member, on } = &body;
                let on = scope(&on.to_string());
                client.out.show(&after, || {
                    let ended = unpermitted(&after.ended);
                    format!("{member} no longer has the role {role} on {on}.{ended}")
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Given {
    fn body(&self, client: &Client) -> Result<RoleBody, Failure> {
        let Self { member, role, on } = self;
        let is_name = on != "everything" && !on.contains(':');
        let on = if is_name {
            let names = client.names(std::slice::from_ref(on), Among::All)?;
            format!("{MACHINE}{}", names.find(on)?.id)
        } else {
            on.clone()
        };
        let on: Scope = on.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        Ok(RoleBody { role: *role, member: member.clone(), on })
    }
}

/// A scope as a person says it after `--on`: a machine by its name.
fn scope(on: &str) -> String {
    match on.strip_prefix(MACHINE) {
        Some(id) => names::short(id).to_owned(),
        None => on.to_owned(),
    }
}

fn listed(out: &Output, found: &RolesView) -> Result<(), Failure> {
    let machines = out.ids(found.roles.iter().filter_map(|it| it.on.strip_prefix(MACHINE)));
    let scope = |on: &str| on.strip_prefix(MACHINE).map_or_else(|| on.to_owned(), |id| machines.of(id));
    let table = || {
        let mut table = Table::of(&["ROLE", "MEMBER", "ON", "PERMITS"]);
        if let Some(operator) = &found.operator {
            let on = Scope::Everything.to_string();
            let by = format!("person:{operator}");
            table.row(Mark::Good, [Role::Operator.to_string(), by, on, "all; cannot be revoked".to_owned()]);
        }
        for it in &found.roles {
            table.row(Mark::Good, [it.role.clone(), it.member.clone(), scope(&it.on), it.rights.join(", ")]);
        }
        table
    };
    out.show(found, || out.table(&table()))
}
