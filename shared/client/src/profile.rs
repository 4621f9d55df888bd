//! Profiles: which Portcullis, and who we are there, by a name. They are in a file that the person writes.

use crate::{
    account::Named,
    auth::Auth,
    globals::{Globals, config_file},
    network,
    oidc::Oidc,
    output::Output,
    table::{Mark, Table},
    url::is_usable,
};
use clap::ValueEnum as _;
use portcullis_domain::said::unmarked;
use portcullis_outgoing::Roots;
use portcullis_program::{Exit, Failure, output, private};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where Portcullis answers where nobody says otherwise: as `portcullis up` serves it.
const HERE: &str = "http://127.0.0.1:7422";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One Portcullis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Where it answers.
    pub url: String,
    /// Does anybody say where, or is it where it is by default?
    #[serde(skip, default = "yes")]
    pub is_said: bool,
    /// Is it one of the file, and so has credentials of its own or none?
    #[serde(skip, default = "yes")]
    pub is_named: bool,
    /// How we say who we are there.
    #[serde(default)]
    pub auth: Auth,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// A command that prints the token.
    pub token_command: Option<String>,
    /// A file with the certificates that are trusted there, in PEM, in place of all others.
    pub ca_file: Option<PathBuf>,
    /// The profile of the AWS tools.
    #[serde(rename = "aws-profile")]
    pub aws: Option<String>,
    /// The region of AWS.
    pub region: Option<String>,
    /// The stack that is deployed there.
    pub stack: Option<String>,
    /// The provider at which people log in for it.
    pub oidc: Option<Oidc>,
}

/// A profile as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    url: String,
    auth: Auth,
    is_default: bool,
}

/// What the command line, the environment and the file say, in this order.
pub fn chosen(globals: &Globals) -> Result<Profile, Failure> {
    let set = |name: &str| env::var(name).ok().filter(|it| !it.is_empty());
    let (url, named) = (set("PORTCULLIS_URL"), set("PORTCULLIS_PROFILE"));
    let mut profile = match (&globals.profile, &globals.url, named, url) {
        (Some(name), _, _, _) => found(read()?, name)?,
        (None, None, Some(name), None) => found(read()?, &name)?,
        (None, Some(url), _, _) => at(url),
        (None, None, Some(_), Some(_)) => {
            return Err(Failure::usage("PORTCULLIS_URL and PORTCULLIS_PROFILE both name a Portcullis")
                .next("unset one of them, or give --url or --profile"));
        }
        (None, None, None, Some(url)) => at(&url),
        (None, None, None, None) => {
            let file = read()?;
            match file.default.clone() {
                Some(name) => found(file, &name)?,
                None => Profile { is_said: false, ..at(HERE) },
            }
        }
    };
    match (globals.auth, set("PORTCULLIS_AUTH")) {
        (Some(auth), _) => profile.auth = auth,
        (None, Some(auth)) if !profile.is_named => {
            profile.auth = Auth::from_str(&auth, false).map_err(|_| {
                Failure::usage(format!("`{auth}` in PORTCULLIS_AUTH is none of `bearer`, `sigv4` and `oidc`"))
            })?;
        }
        (None, Some(_) | None) => {}
    }
    Ok(profile)
}

/// The file that has the profiles.
pub fn file() -> PathBuf {
    config_file()
}

/// Lists what the file has.
pub fn list(globals: &Globals) -> Result<Exit, Failure> {
    let File { default, profiles } = read()?;
    let missing: Vec<String> = profiles
        .iter()
        .filter_map(|(name, it)| Some(format!("profile `{name}`: {}", it.lacks_file()?)))
        .collect();
    let list = profiles.into_iter().map(|(name, Profile { url, auth, .. })| {
        let is_default = default.as_ref() == Some(&name);
        Listed { name, url, auth, is_default }
    });
    let list: Vec<Listed> = list.collect();
    let path = config_file();
    let empty = format!("`{}` has no profiles. docs/cli.md shows an example.", path.display());
    Output::of(globals).list(&list, &empty, || {
        let mut table = Table::of(&["PROFILE", "URL", "AUTH"]);
        for it in &list {
            let mark = if it.is_default { Mark::Good } else { Mark::Plain };
            let auth = match it.auth {
                Auth::Bearer => "bearer",
                Auth::Sigv4 => "sigv4",
                Auth::Oidc => "oidc",
            };
            table.row(mark, [it.name.clone(), it.url.clone(), auth.to_owned()]);
        }
        table
    })?;
    for it in missing {
        output::note(format_args!("warning: {it}"));
    }
    Ok(Exit::Done)
}

/// As when nobody is known by a profile of the file.
fn without_token() -> Failure {
    Failure::usage(format!("`{}` has a `token-file` that cannot be read", config_file().display()))
        .next("name a file that holds the token, or set `token-command`")
}

impl Profile {
    /// As whom AWS is asked.
    pub fn named(&self) -> Named {
        Named { profile: self.aws.clone(), region: self.region.clone() }
    }

    /// The token that it names, if it names one.
    pub fn token(&self) -> Result<Option<String>, Failure> {
        if let Some(file) = &self.token_file {
            let file = placed(file);
            private::check_file(&file)?;
            if let Some(warning) = private::readable_by_others(&file) {
                output::note(format_args!("warning: {warning}"));
            }
        }
        match (self.token_in_file(), &self.token_command) {
            (None, None) => Ok(None),
            (Some(token), _) => token.map(Some).map_err(|why| without_token().because([why])),
            (None, Some(command)) => printed(command).map(Some),
        }
    }

    /// The certificates that are trusted there.
    pub fn roots(&self) -> Result<Roots, Failure> {
        network::roots(self.ca_file.as_deref().map(placed).as_deref())
    }

    /// The place that its token is from: a file, or the output of a command.
    pub fn token_place(&self) -> String {
        match (&self.token_file, &self.token_command) {
            (Some(file), _) => placed(file).display().to_string(),
            (None, command) => command.clone().unwrap_or_default(),
        }
    }

    /// What its file holds, or why it cannot be read; nothing where it names none.
    fn token_in_file(&self) -> Option<Result<String, String>> {
        let file = placed(self.token_file.as_ref()?);
        Some(fs::read_to_string(&file).map(unmarked).map_err(|error| unreadable(&file, &error)))
    }

    /// Why its file cannot be found, if it names one that cannot. It is not read: it may be a pipe.
    fn lacks_file(&self) -> Option<String> {
        let file = placed(self.token_file.as_ref()?);
        fs::metadata(&file).err().map(|error| unreadable(&file, &error))
    }
}

fn unreadable(file: &Path, error: &io::Error) -> String {
    format!("`token-file` is `{}`: {error}", file.display())
}

/// A path as the file has it: `~` is home, and what is relative is beside the file.
fn placed(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), env::var_os("HOME").filter(|it| !it.is_empty())) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        (Ok(_) | Err(_), _) => config_file().with_file_name("").join(path),
    }
}

fn at(url: &str) -> Profile {
    Profile { url: url.to_owned(), is_said: true, ..Profile::default() }
}

fn yes() -> bool {
    true
}

fn found(mut file: File, name: &str) -> Result<Profile, Failure> {
    file.profiles.remove(name).ok_or_else(|| {
        let path = config_file();
        let names = file.profiles.into_keys().map(|it| format!("there is `{it}`"));
        Failure::usage(format!("`{}` has no profile `{name}`", path.display())).because(names)
    })
}

/// No file is a file without profiles.
fn read() -> Result<File, Failure> {
    let path = config_file();
    // It says where a token is sent, and which command is run for one.
    private::check_file(&path)?;
    let text = match fs::read_to_string(&path).map(unmarked) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(Failure::usage(format!("cannot read `{}`: {error}", path.display()))),
    };
    parsed(&text, &path.display().to_string())
}

fn parsed(text: &str, path: &str) -> Result<File, Failure> {
    let file: File = toml::from_str(text).map_err(|error| {
        // In its own words an error quotes the line, which may hold a secret.
        let before = error.span().and_then(|it| text.get(..it.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::usage(format!("`{path}` cannot be read: line {line}: {}", error.message()))
            .next("docs/cli.md shows an example of a profile")
    })?;
    if let Some(name) = file.default.as_ref().filter(|it| !file.profiles.contains_key(*it)) {
        let names = file.profiles.keys().map(|it| format!("there is `{it}`"));
        return Err(Failure::usage(format!(
            "`{path}`: `default` is `{name}`, and there is no profile of that name"
        ))
        .because(names));
    }
    for (name, it) in &file.profiles {
        if !is_usable(&it.url) {
            let said = format!("`{path}`: `url` of profile `{name}` is `{}`", it.url);
            return Err(Failure::usage(said).next(
                "a URL begins with `http://` or `https://`, such as `https://portcullis.example`, or \
                    is `unix:PATH`",
            ));
        }
        if (it.auth == Auth::Oidc) != it.oidc.is_some() {
            let said = format!(
                "`{path}`: profile `{name}` needs both `auth = \"oidc\"` and a table `oidc`, or neither"
            );
            return Err(Failure::usage(said).next("docs/identity.md shows such a profile"));
        }
        if it.token_file.is_some() && it.token_command.is_some() {
            let said = format!("`{path}`: profile `{name}` has both `token-file` and `token-command`");
            return Err(Failure::usage(said).next("leave one of them out"));
        }
    }
    Ok(file)
}

fn printed(command: &str) -> Result<String, Failure> {
    let mut shell = Command::new("sh");
    let run = shell.args(["-c", command]).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let failed = |why: &dyn std::fmt::Display| Failure::usage(format!("`{command}` printed no token: {why}"));
    let run = run.map_err(|error| failed(&error))?;
    if !run.status.success() {
        return Err(failed(&run.status));
    }
    String::from_utf8(run.stdout).map_err(|_| failed(&"its output is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_named_with_what_is_wrong() {
        let text = "default = 'prod'\n[profiles.prod]\nurl = 'https://a.example'\nauth = \
            'sigv4'\naws-profile = 'ops'\n";
        let file = parsed(text, "f").expect("sound");
        assert_eq!(file.profiles["prod"].auth, Auth::Sigv4);
        let said = |text: &str| format!("{:?}", parsed(text, "f").expect_err("unsound"));
        let told = said("[profiles.a]\nurl = 'x'\ntoken = 'hush'");
        assert!(told.contains("line 3: unknown field `token`") && !told.contains("hush"), "{told}");
        assert!(said("[profiles.a]\n").contains("missing field `url`"));
        let basic = said("[profiles.a]\nurl = 'x'\nauth = 'basic'");
        assert!(basic.contains("`bearer`, `sigv4`, `oidc`"), "{basic}");
        let half = "[profiles.a]\nurl = 'http://a'\nauth = 'oidc'";
        assert!(said(half).contains("needs both"), "{}", said(half));
        let whole = format!("{half}\n[profiles.a.oidc]\nissuer = 'https://idp.example'\nclient-id = 'cli'");
        assert_eq!(
            parsed(&whole, "f").expect("sound").profiles["a"].oidc.as_ref().expect("there").client_id,
            "cli"
        );
        assert!(said(&whole.replace("client-id", "client_id")).contains("unknown field `client_id`"));
        let both = "[profiles.a]\nurl = 'http://a'\ntoken-file = 'a'\ntoken-command = 'b'";
        assert!(said(both).contains("both"), "{}", said(both));
        for url in ["x", "ftp://a.example", "https://", ""] {
            let told = said(&format!("[profiles.a]\nurl = '{url}'"));
            let is_named = told.contains("`f`: `url` of profile `a`") && told.contains("`https://`");
            assert!(is_named, "{told}");
        }
        let told = said("default = 'b'\n[profiles.a]\nurl = 'http://a'");
        assert!(told.contains("`f`: `default` is `b`") && told.contains("there is `a`"), "{told}");
    }

    #[test]
    fn an_unknown_profile_is_refused_with_the_known_ones() {
        let file = parsed("[profiles.prod]\nurl = 'http://a'", "f").expect("sound");
        let said = format!("{:?}", found(file, "test").expect_err("not there"));
        assert!(said.contains("no profile `test`") && said.contains("there is `prod`"), "{said}");
    }

    #[test]
    fn a_command_that_fails_gives_no_token() {
        let of = |command: &str| Profile { token_command: Some(command.to_owned()), ..at(HERE) }.token();
        assert_eq!(of("echo hush"), Ok(Some("hush\n".to_owned())));
        assert!(of("exit 3").is_err());
        let of = |file: &str| Profile { token_file: Some(file.into()), ..at(HERE) }.token();
        let told = format!("{:?}", of("/nowhere/token").expect_err("is not there"));
        assert!(told.contains("config.toml") && told.contains("`token-file` is `/nowhere/token`"), "{told}");
    }
}
