//! The options of every command, and the folders that they name.

use crate::auth::Auth;
use clap::Args;
use std::{
    env,
    path::{Path, PathBuf},
};

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Where Portcullis answers. Not `clap`'s to read from the environment: a profile has to know who says it.
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE, help = URL)]
    pub url: Option<String>,
    #[arg(long, global = true, value_name = "NAME", help_heading = EVERYWHERE, conflicts_with = "url")]
    #[arg(help = PROFILE)]
    /// The name of a profile in the configuration file.
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
    /// For people: print whole ids and whole values, also where they are wider than the terminal
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub wide: bool,
}

const EVERYWHERE: &str = "Everywhere";
const URL: &str = "The URL of Portcullis: `https://HOST`, `http://127.0.0.1:7422`, or `unix:PATH` for a socket. Default: that \
    of the default profile, else the socket in the data folder, else http://127.0.0.1:7422 [env: PORTCULLIS_URL]";
const AUTH: &str =
    "The kind of credentials: a token, AWS keys, or a log-in at an identity provider [env: PORTCULLIS_AUTH]";
const PROFILE: &str = "The profile of ~/.config/portcullis/config.toml to use [env: PORTCULLIS_PROFILE]";
const DATA: &str =
    "The folder with the file `token`, used where PORTCULLIS_TOKEN is not set [env: PORTCULLIS_DATA]";

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

/// Where log-ins are kept: `portcullis` in the folder for state.
pub fn state_dir() -> PathBuf {
    let home = folder("HOME").map(|it| it.join(".local/state"));
    let state = folder("XDG_STATE_HOME").filter(|it| it.is_absolute()).or(home);
    state.unwrap_or_else(|| PathBuf::from(".")).join("portcullis")
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
