//! `portcullis role`: what Portcullis has to be allowed to do, for whoever gives it its rights.

use clap::Subcommand;
use portcullis_program::{Exit, Failure, output};

/// In which cloud.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Print the permissions that Portcullis needs in Azure, as a custom role
    #[command(after_help = AZURE)]
    Azure {
        /// What an identity needs that only looks and asks
        #[arg(long)]
        request_only: bool,
        /// Where the role can be given; may be given several times
        #[arg(long, value_name = "SCOPE", value_parser = scope, default_value = ANYWHERE)]
        scope: Vec<String>,
    },
}

const AZURE: &str = "\
Examples:
  portcullis role azure --scope /subscriptions/SUBSCRIPTION | az role definition create --role-definition @-
  portcullis role azure --request-only --scope /subscriptions/SUBSCRIPTION";

/// A subscription that nobody has: to be filled in.
const ANYWHERE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000";

impl Role {
    /// Prints it.
    pub fn print(self) -> Result<Exit, Failure> {
        let Self::Azure { request_only, scope } = self;
        let role =
            if request_only { portcullis_azure::Role::asks() } else { portcullis_azure::Role::guards() };
        let text = serde_json::to_string_pretty(&role.definition(&scope));
        output::line(&text.map_err(|error| Failure::broken(format!("cannot write JSON: {error}")))?)?;
        if scope.iter().any(|it| it == ANYWHERE) {
            output::note(
                "note: give --scope, the place where the role can be assigned, or fill in AssignableScopes",
            );
        }
        Ok(Exit::Done)
    }
}

/// A subscription, a resource group or a management group.
fn scope(text: &str) -> Result<String, String> {
    let words: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["", "subscriptions", id] if !id.is_empty() => Ok(text.to_owned()),
        ["", "subscriptions", id, "resourcegroups", group] if !id.is_empty() && !group.is_empty() => {
            Ok(text.to_owned())
        }
        ["", "providers", "microsoft.management", "managementgroups", id] if !id.is_empty() => {
            Ok(text.to_owned())
        }
        _ => Err("not a scope such as `/subscriptions/ID`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_given_in_subscriptions_and_groups() {
        for good in [
            ANYWHERE,
            "/subscriptions/s/resourceGroups/g",
            "/providers/Microsoft.Management/managementGroups/m",
        ] {
            assert_eq!(scope(good).as_deref(), Ok(good));
        }
        for bad in ["/", "", "s", "/subscriptions/", "/subscriptions/s/", "/subscriptions/s/resourceGroups"] {
            assert!(scope(bad).is_err(), "{bad}");
        }
    }
}
