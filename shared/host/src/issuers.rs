//! The file with the issuers whose tokens are accepted.

use portcullis_domain::{Person, said::unmarked};
use portcullis_identity::{Issuers, Settings};
use portcullis_outgoing::{Proxies, Roots};
use portcullis_program::{Failure, private};
use std::path::Path;

/// The settings in a file; without a file no issuer is believed.
pub fn settings(file: Option<&Path>, operator: &Person) -> Result<Settings, Failure> {
    let Some(file) = file else { return Ok(Settings::default()) };
    // Who writes it decides who is taken for whom.
    private::check_file(file)?;
    let cannot = |why: String| Failure::usage(format!("cannot use `{}`: {why}", file.display()));
    let text = private::read_regular(file).map(unmarked).map_err(|error| cannot(error.to_string()))?;
    let settings = Settings::read(&text, operator).map_err(|error| cannot(error.to_string()))?;
    Ok(settings.beside(file.parent().unwrap_or_else(|| Path::new(""))))
}

/// The issuers of the settings. Nothing is asked yet.
pub fn issuers(settings: Settings, operator: &Person) -> Result<Issuers, Failure> {
    let roots = Roots::of_environment().map_err(|error| Failure::usage(error.to_string()))?;
    let issuers = Issuers::of(settings, operator.clone(), &roots, Proxies::of_environment);
    issuers.map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn file_that_others_may_change_or_that_cannot_be_meant_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("issuers.toml");
        let operator: Person = "operator".parse().expect("a name");
        let read = || settings(Some(&file), &operator);
        let why = || read().expect_err("refused").message().to_owned();
        assert!(why().contains("issuers.toml"), "{}", why());
        fs::write(&file, "\u{feff}[[issuer]]\nurl = 'https://idp.example'\n").expect("written");
        assert!(why().contains("missing field `audiences`"), "{}", why());
        fs::write(&file, "\u{feff}").expect("written");
        assert!(read().expect("sound").is_empty());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set");
        assert!(why().contains("may be changed by other users"), "{}", why());
        assert!(settings(None, &operator).expect("none").is_empty());
    }
}
