//! The command line: what can be said.

use crate::{demo, manual};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, builder::Resettable};
use clap_complete::{CompleteEnv, Shell};
use portcullis_client::{self as client, Client, Globals, Output};
use portcullis_host::{log, role, simcloud, up};
use portcullis_program::{Exit, Failure};
use std::{env, ffi::OsStr, path::PathBuf, process};

/// Keeps management ports closed, and opens one just in time: for you, from where you are, for as long as
/// its policy allows.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = START, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const START: &str = "\
First steps:
  portcullis demo                      watch a demonstration
  portcullis up                        serve everything on this machine; then, in another terminal:
  portcullis targets                   list the machines
  portcullis enable web-1              guard a machine
  portcullis request web-1 --for 1h    request its port

Exit codes: 0 done, 1 broken, 2 usage, 3 refused, 4 not found, 5 unavailable.";

const COMPLETIONS: &str = "\
Names are asked of the server that the command line or the environment names, for a second at
most. A profile with a `token-command`, or with AWS keys, completes no names.

Examples:
  source <(portcullis completions bash)
  portcullis completions fish >~/.config/fish/completions/portcullis.fish";

const MAN: &str = "\
Examples:
  portcullis man | man -l -
  portcullis man request | man -l -
  portcullis man --out ~/.local/share/man/man1";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve everything on this machine, and open and close on the clock
    Up(up::Args),
    /// Show a demonstration on a simulated Azure, in a few seconds
    Demo,
    /// Serve a simulated Azure alone, for clients of Azure
    Simcloud(simcloud::Args),
    /// List machines, guarded or not
    Targets(client::Targets),
    /// Preview the rules that guarding would write, and the foreign rules that they shadow or that defeat them
    Plan(client::Plan),
    /// Guard machines: their ports are closed, except for leases
    Enable(client::Enable),
    /// Keep a change that lapses unless it is confirmed
    Confirm(client::One),
    /// Change the guarded ports of machines
    Edit(client::Edit),
    /// Stop guarding machines: their firewalls become as they were before
    Disable(client::Disable),
    /// Request ports
    Request(client::Request),
    /// Preview the answer to a request, with every reason, without making the request
    Explain(client::Asking),
    /// List requests
    Requests(client::Requests),
    /// Approve the request of another person
    Approve(client::Approve),
    /// Reject a request
    Reject(client::Reject),
    /// Withdraw a request of one's own that waits for an approval
    Withdraw(client::Withdraw),
    /// List grants: person, port, sources and end
    Grants(client::Grants),
    /// End leases now
    Close(client::Close),
    /// Request a later end of a lease
    Extend(client::Extend),
    /// Test a packet against the firewalls, and print the rule that decides
    Check(client::Check),
    /// Print the journal of a machine
    Activity(client::Activity),
    /// Verify the journal: find entries that were changed, dropped or reordered. With --data in that
    /// folder, while no server uses it
    Verify {
        /// A folder of an export, which is verified by itself
        #[arg(value_name = "PATH", conflicts_with = "data")]
        export: Option<PathBuf>,
    },
    /// Export the journal of a period as evidence
    Export(client::Export),
    /// Print events, with --follow as they happen
    Events(client::Events),
    /// Send an event, as bots do
    Send(client::Send),
    /// List the policies of Microsoft's just-in-time access, or take over one of them
    Adopt(client::Adopt),
    /// Check the installation, and print a remedy for each fault
    Doctor,
    /// Check a deployment in AWS, and print a remedy for each fault
    DeployCheck(client::DeployCheck),
    /// Print the name and the address of the caller, as the server sees them
    Whoami,
    Login(client::Login),
    /// Forget the log-in of the profile
    Logout,
    /// List the profiles of the configuration file
    Profiles,
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(client::Token),
    /// Check, test and search policy files, and make them those of the installation
    #[command(subcommand)]
    Policy(client::Policy),
    /// List, grant and revoke roles, or print the permissions that Portcullis needs in a cloud
    #[command(subcommand)]
    Role(Role),
    /// Print completions of these commands for your shell, which also know the names of machines
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of these commands, or write the pages of all
    #[command(after_help = MAN)]
    Man {
        /// The command, such as `token create`. Default: the page that lists all
        command: Vec<String>,
        /// Write the page of each command into this folder
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        out: Option<PathBuf>,
    },
}

/// Roles of callers, and of Portcullis itself in a cloud.
#[derive(Debug, Subcommand)]
pub enum Role {
    #[command(flatten)]
    OfCallers(client::Roles),
    #[command(flatten)]
    OfCloud(role::Role),
}

impl Cli {
    /// The command line of this process.
    ///
    /// Where a shell asks how a word may go on, it is answered, and the process ends.
    pub fn of_process() -> Self {
        CompleteEnv::with_factory(Self::command).bin(manual::NAME).completer(manual::NAME).complete();
        let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|it| it.is_empty());
        let command = without_variables(Self::command(), &is_empty);
        let read = command.clone().try_get_matches();
        read.and_then(|it| Self::from_arg_matches(&it).map_err(|it| it.format(&mut Self::command())))
            .unwrap_or_else(|error| unread(&error))
    }

    /// Does what the command line says.
    pub fn run(self) -> Result<Exit, Failure> {
        let globals = self.globals;
        let asked = || Client::of(&globals);
        match self.command {
            Command::Up(it) => {
                let _log = log::begin(it.log);
                up::run(&globals.data_dir(), &it).map(|()| Exit::Done)
            }
            Command::Demo => demo::run().map(|()| Exit::Done),
            Command::Simcloud(it) => {
                let _log = log::begin(None);
                simcloud::run(&globals.data_dir(), &it)
            }
            Command::Targets(it) => it.run(&asked()?),
            Command::Plan(it) => it.run(&asked()?),
            Command::Enable(it) => it.run(&asked()?),
            Command::Confirm(it) => it.confirm(&asked()?),
            Command::Edit(it) => it.run(&asked()?),
            Command::Disable(it) => it.run(&asked()?),
            Command::Request(it) => it.run(&asked()?),
            Command::Explain(it) => it.explain(&asked()?),
            Command::Requests(it) => it.run(&asked()?),
            Command::Approve(it) => it.run(&asked()?),
            Command::Reject(it) => it.run(&asked()?),
            Command::Withdraw(it) => it.run(&asked()?),
            Command::Grants(it) => it.run(&asked()?),
            Command::Close(it) => it.run(&asked()?),
            Command::Extend(it) => it.run(&asked()?),
            Command::Check(it) => it.run(&asked()?),
            Command::Activity(it) if it.is_csv() => it.run(&Client::faithful(&globals)?),
            Command::Activity(it) => it.run(&asked()?),
            Command::Verify { export: Some(path) } => client::verify_export(&path, &globals),
            Command::Verify { export: None } => match &globals.data {
                // Only who names the folder here means it: the environment names it for all commands.
                Some(data) => client::verified(&up::verify_offline(data)?, &Output::of(&globals)),
                None => client::verify(&asked()?),
            },
            Command::Export(it) => it.run(&asked()?),
            Command::Events(it) => it.run(&asked()?),
            Command::Send(it) => it.run(&asked()?),
            Command::Adopt(it) => it.run(&asked()?),
            Command::Doctor => client::doctor(&asked()?),
            Command::DeployCheck(it) => it.run(&globals),
            Command::Profiles => client::profiles(&globals),
            Command::Whoami => client::whoami(&asked()?),
            Command::Login(it) => it.run(&globals),
            Command::Logout => client::log_out(&globals),
            Command::Token(it) => it.run(&globals, asked),
            Command::Policy(it) => it.run(&globals),
            Command::Role(Role::OfCallers(it)) => it.run(&asked()?),
            Command::Role(Role::OfCloud(it)) => it.print(),
            Command::Completions { shell } => manual::completions(shell),
            Command::Man { command: _, out: Some(folder) } => manual::write(Cli::command(), &folder),
            Command::Man { command, out: None } => manual::print(Cli::command(), &command),
        }
    }
}

/// Ends with what is wrong with the command line, or with the help or the version that it asks for.
fn unread(error: &clap::Error) -> ! {
    let is_json = env::args_os().skip(1).take_while(|it| it != "--").any(|it| it == "--json");
    if !error.use_stderr() || !is_json {
        error.exit()
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    let message = lines.next().unwrap_or_default().trim_start_matches("error: ");
    let exit = Failure::usage(message).because(lines.map(str::to_owned)).tell(true);
    process::exit(exit as i32)
}

/// The same with the variables of the environment left out that are set but empty: those count as not set, as for the rest of
/// the program.
fn without_variables(command: clap::Command, is_empty: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    let command = command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg });
    names
        .iter()
        .fold(command, |command, name| command.mut_subcommand(name, |it| without_variables(it, is_empty)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn empty_variable_of_the_environment_counts_as_not_set() {
        let command = without_variables(Cli::command(), &|it| it == "PORTCULLIS_LEASE_MIN");
        let up = command.find_subcommand("up").expect("a command");
        let variable = |id: &str| {
            let arg = up.get_arguments().find(|it| it.get_id() == id).expect("an argument");
            arg.get_env().map(OsStr::to_owned)
        };
        assert_eq!(variable("lease_min"), None);
        assert_eq!(variable("pending_for"), Some("PORTCULLIS_PENDING_FOR".into()));
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
}
