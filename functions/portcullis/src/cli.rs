//! The command line: what can be said.

use crate::{
    client::{adopt, decide, deployment, events, export, grants, guard, journal, look, request, tokens},
    profile::Auth,
    role, simcloud, up,
};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::{
    env,
    path::{Path, PathBuf},
};

/// Keeps management ports shut, and opens one just in time: for you, from where you are, for as long as
/// its policy allows.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = START, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const START: &str = "\
To begin with:
  portcullis demo                      see what it does
  portcullis up                        serve everything on this machine; then, in another terminal:
  portcullis targets                   what there is, and what is guarded
  portcullis enable web-1              guard a machine
  portcullis request web-1 --for 1h    ask for its port

Exit codes: 0 done, 1 broken, 2 usage, 3 refused, 4 not found, 5 unavailable.";

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Where Portcullis answers. Not `clap`'s to read from the environment: a profile has to know who says it.
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE, help = URL)]
    pub url: Option<String>,
    #[arg(long, global = true, value_name = "NAME", help_heading = EVERYWHERE, conflicts_with = "url")]
    #[arg(help = PROFILE)]
    pub profile: Option<String>,
    /// How the person says who they are. Not `clap`'s to read from the environment either.
    #[arg(long, global = true, value_enum, help_heading = EVERYWHERE, help = AUTH)]
    pub auth: Option<Auth>,
    /// The data folder. Not `clap`'s to read from the environment: `verify` has to know who names it.
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERYWHERE, help = DATA)]
    pub data: Option<PathBuf>,
    /// For scripts: print JSON, an array for a list
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
}

const EVERYWHERE: &str = "Everywhere";
const URL: &str = "Where Portcullis answers, as `http://…`, or `unix:PATH` for its socket [env: PORTCULLIS_URL] [default: \
    the data folder's portcullis.sock, else http://127.0.0.1:7422]";
const AUTH: &str = "How you say who you are: with a token, or with AWS keys [env: PORTCULLIS_AUTH]";
const PROFILE: &str =
    "The Portcullis that ~/.config/portcullis/config.toml calls so [env: PORTCULLIS_PROFILE]";
const DATA: &str =
    "The folder with the file `token`, for where PORTCULLIS_TOKEN is not set [env: PORTCULLIS_DATA]";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve everything on this machine, and open and close on the clock
    Up(up::Args),
    /// Play the whole story on a simulated Azure, in a few seconds
    Demo,
    /// Serve a simulated Azure alone, for clients of Azure
    Simcloud(simcloud::Args),
    /// List machines, guarded or not
    Targets(look::Targets),
    /// Show what guarding would write, and which rules of others it would shadow or be defeated by
    Plan(guard::Plan),
    /// Guard machines: their ports are shut, but for leases
    Enable(guard::Enable),
    /// Keep a change that would lapse
    Confirm(guard::One),
    /// Change what is guarded
    Edit(guard::Edit),
    /// Guard a machine no longer: its firewalls become what they were before
    Disable(guard::One),
    /// Ask for ports
    Request(request::Request),
    /// Say what the answer to a request would be, and why; nothing is written
    Explain(request::Asking),
    /// List requests
    Requests(decide::Requests),
    /// Say yes to somebody's request
    Approve(decide::Approve),
    /// Say no to somebody's request
    Reject(decide::Reject),
    /// List grants: who may pass where, until when
    Grants(grants::Grants),
    /// End leases now
    Close(grants::Close),
    /// Ask for a later end of a lease
    Extend(grants::Extend),
    /// Say whether a packet gets through, and which rule decides
    Check(look::Check),
    /// Show what happened to a machine
    Activity(journal::Activity),
    /// Recompute the journal: was anything changed, dropped or reordered? With --data in that folder,
    /// while nobody serves it
    Verify {
        /// A folder that `export` filled: it is checked by itself
        #[arg(value_name = "PATH", conflicts_with = "data")]
        export: Option<PathBuf>,
    },
    /// Take the journal of some time away as evidence
    Export(export::Export),
    /// Show what happens, as it happens
    Events(events::Events),
    /// Send an event, as bots do
    Send(events::Send),
    /// List what Microsoft's own just-in-time access guards, or take it over
    Adopt(adopt::Adopt),
    /// Look whether all is as it should be, and what to do where it is not
    Doctor,
    /// Look whether a deployment in AWS lacks anything, and what to do about it
    DeployCheck(deployment::DeployCheck),
    /// Say who you are there, and from where you call
    Whoami,
    /// List the profiles of the configuration file
    Profiles,
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(tokens::Token),
    /// Print what Portcullis has to be allowed to do in a cloud
    #[command(subcommand)]
    Role(role::Role),
    /// Print what makes your shell complete these commands
    #[command(after_help = "Example:\n  source <(portcullis completions bash)")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Globals {
    /// The data folder: named here, else by `PORTCULLIS_DATA`, else where it is by default.
    pub fn data_dir(&self) -> PathBuf {
        self.named_data_dir().unwrap_or_else(default_data_dir)
    }

    /// The data folder, where somebody names one.
    pub fn named_data_dir(&self) -> Option<PathBuf> {
        self.data.clone().or_else(|| folder("PORTCULLIS_DATA"))
    }
}

/// Where the table, the journal and the operator's token live where nobody says otherwise.
pub fn default_data_dir() -> PathBuf {
    data_dir_of(folder("XDG_DATA_HOME").as_deref(), folder("HOME").as_deref())
}

/// Where profiles are: `PORTCULLIS_CONFIG`, else `portcullis/config.toml` in the folder for configuration.
pub fn config_file() -> PathBuf {
    let home = folder("HOME").map(|it| it.join(".config"));
    let folder_of_all = folder("XDG_CONFIG_HOME").filter(|it| it.is_absolute()).or(home);
    let by_default = || folder_of_all.unwrap_or_else(|| PathBuf::from(".")).join("portcullis/config.toml");
    folder("PORTCULLIS_CONFIG").unwrap_or_else(by_default)
}

/// By the XDG Base Directory Specification: a relative path counts as none.
fn data_dir_of(xdg: Option<&Path>, home: Option<&Path>) -> PathBuf {
    let xdg = xdg.filter(|it| it.is_absolute()).map(Path::to_owned);
    let share = xdg.or_else(|| home.map(|it| it.join(".local/share")));
    share.unwrap_or_else(|| PathBuf::from(".")).join("portcullis")
}

fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_token() {
        // Whatever is an argument stands in every process list.
        for command in Cli::command().get_subcommands() {
            assert!(
                command.get_arguments().all(|it| it.get_long() != Some("token")),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn the_data_folder_is_where_xdg_says() {
        let dir = |xdg: &str, home: &str| {
            let path = |text| Some(Path::new(text)).filter(|it| !it.as_os_str().is_empty());
            data_dir_of(path(xdg), path(home)).display().to_string()
        };
        assert_eq!(dir("/x", "/home/ann"), "/x/portcullis");
        assert_eq!(dir("x", "/home/ann"), "/home/ann/.local/share/portcullis");
        assert_eq!(dir("", ""), "./portcullis");
    }
}
