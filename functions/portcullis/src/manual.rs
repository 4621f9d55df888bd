//! The commands as shells and `man` know them.

use clap_complete::{Shell, env::Shells};
use clap_mangen::Man;
use portcullis_program::{Exit, Failure, output};
use std::{fs, io, path::Path};

/// The program's name.
pub const NAME: &str = "portcullis";
/// The variable by which a shell asks how a word may go on.
const VARIABLE: &str = "COMPLETE";

/// Prints a script that makes a shell ask this program.
pub fn completions(shell: Shell) -> Result<Exit, Failure> {
    let shells = Shells::builtins();
    let known = shells.completer(&shell.to_string());
    let known = known.ok_or_else(|| Failure::broken(format!("no completions are known for `{shell}`")))?;
    let mut script = vec![];
    known
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .map_err(|error| Failure::cannot("write the completions", error))?;
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

/// Prints the page of a command, or the one that lists all.
pub fn print(mut all: clap::Command, names: &[String]) -> Result<Exit, Failure> {
    all.build();
    let found = names.iter().try_fold(&all, |command, name| command.find_subcommand(name));
    let command = found.ok_or_else(|| {
        let none = Failure::not_found(format!("there is no command `{}`", names.join(" ")));
        none.next("`portcullis --help` lists the commands")
    })?;
    let page = page(command).map_err(|error| Failure::cannot("write the page", error))?;
    output::print(&page)?;
    Ok(Exit::Done)
}

/// Writes the page of each command, and the one that lists all.
pub fn write(mut all: clap::Command, folder: &Path) -> Result<Exit, Failure> {
    all.build();
    let cannot = |error| Failure::cannot(&format!("write the pages into `{}`", folder.display()), error);
    fs::create_dir_all(folder).map_err(cannot)?;
    let mut left = vec![all];
    while let Some(command) = left.pop() {
        let page = page(&command).map_err(cannot)?;
        let name = command.get_display_name().unwrap_or(NAME);
        fs::write(folder.join(format!("{name}.1")), page).map_err(cannot)?;
        left.extend(command.get_subcommands().filter(|it| it.get_name() != "help").cloned());
    }
    output::note(format_args!("The pages are in `{}`.", folder.display()));
    Ok(Exit::Done)
}

fn page(command: &clap::Command) -> io::Result<String> {
    let mut page = vec![];
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
