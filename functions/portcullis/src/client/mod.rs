//! The thin client: one command line is a call or two of the API, and words around the answer.

pub mod adopt;
mod connection;
pub mod decide;
pub mod deployment;
mod doctor;
pub mod events;
pub mod export;
pub mod grants;
pub mod guard;
pub mod journal;
pub mod look;
mod lookup;
pub mod moments;
mod names;
mod ports;
pub mod request;
mod socket;
pub mod tokens;
mod wait;
mod words;

pub use connection::{Connection, is_usable, segment};

use crate::{
    cli::{Cli, Command, Globals},
    demo,
    failure::{Exit, Failure},
    log,
    output::{self, Output},
    profile, simcloud, up,
};
use clap::CommandFactory as _;

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let globals = cli.globals;
    let client = || Client::of(&globals);
    match cli.command {
        Command::Up(it) => {
            let _log = log::begin();
            up::run(&globals.data_dir(), &it).map(|()| Exit::Done)
        }
        Command::Demo => demo::run().map(|()| Exit::Done),
        Command::Simcloud(it) => {
            let _log = log::begin();
            simcloud::run(&globals.data_dir(), &it)
        }
        Command::Targets(it) => it.run(&client()?),
        Command::Plan(it) => it.run(&client()?),
        Command::Enable(it) => it.run(&client()?),
        Command::Confirm(it) => it.confirm(&client()?),
        Command::Edit(it) => it.run(&client()?),
        Command::Disable(it) => it.disable(&client()?),
        Command::Request(it) => it.run(&client()?),
        Command::Explain(it) => it.explain(&client()?),
        Command::Requests(it) => it.run(&client()?),
        Command::Approve(it) => it.run(&client()?),
        Command::Reject(it) => it.run(&client()?),
        Command::Grants(it) => it.run(&client()?),
        Command::Close(it) => it.run(&client()?),
        Command::Extend(it) => it.run(&client()?),
        Command::Check(it) => it.run(&client()?),
        Command::Activity(it) if it.is_csv() => it.run(&Client::faithful(&globals)?),
        Command::Activity(it) => it.run(&client()?),
        Command::Verify { export: Some(path) } => export::verify(&path, globals.json),
        Command::Verify { export: None } => match &globals.data {
            // Only who names the folder here means it: the environment names it for all commands.
            Some(data) => journal::verify_offline(data, globals.json),
            None => journal::verify(&client()?),
        },
        Command::Export(it) => it.run(&client()?),
        Command::Events(it) => it.run(&client()?),
        Command::Send(it) => it.run(&client()?),
        Command::Adopt(it) => it.run(&client()?),
        Command::Doctor => doctor::run(&client()?),
        Command::DeployCheck(it) => it.run(&globals),
        Command::Profiles => profile::list(&globals),
        Command::Whoami => look::whoami(&client()?),
        Command::Token(it) => it.run(&globals, client),
        Command::Role(it) => it.print(),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end())?;
            Ok(Exit::Done)
        }
    }
}

/// What every command works with.
#[derive(Debug)]
pub struct Client {
    http: Connection,
    out: Output,
}

impl Client {
    fn of(globals: &Globals) -> Result<Self, Failure> {
        let http = Connection::to(globals)?;
        // For a person every answer is made fit for a terminal at once; a script gets it as it is, and escaped.
        let http = if globals.json { http } else { http.tame() };
        Ok(Self { http, out: Output::here(globals.json) })
    }

    /// With every text as it was stored, for whoever writes it down in a form that holds it.
    fn faithful(globals: &Globals) -> Result<Self, Failure> {
        Ok(Self { http: Connection::to(globals)?, out: Output::here(globals.json) })
    }
}

/// The path of a target, and of what can be done with it.
fn target_path(id: &str, rest: &str) -> String {
    format!("/v1/targets/{}{rest}", connection::segment(id))
}

/// Names this ask, so that asking twice is asking once.
fn new_key() -> Result<String, Failure> {
    let mut dice = [0_u8; 16];
    getrandom::fill(&mut dice)
        .map_err(|error| Failure::broken(format!("cannot roll dice for a key: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(dice)))
}
