//! The files of the real program: which it refuses to trust, which it never lends to somebody else, and what it says
//! where one of them is missing.

use portcullis_tests::binary::{Up, program, text};
use rustix::{
    fs::{Gid, Uid, chown},
    process::geteuid,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::{TempDir, tempdir};

/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;
/// The user that owns nothing.
const NOBODY: u32 = 65_534;

fn folder() -> TempDir {
    tempdir().expect("a folder")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permitted");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("is there").mode() & 0o7777
}

/// A command that ends by itself.
fn run(words: &[&str]) -> Output {
    let mut command = Command::new(program());
    let command = command.args(words).env_remove("PORTCULLIS_TOKEN").env_remove("PORTCULLIS_DATA");
    command.stdin(Stdio::null()).output().expect("runs")
}

/// `up`, served and stopped: what it makes is there.
fn served_once(data: &Path) {
    let up = Up::start(data, &[], &[]);
    // It listens for signals by the time that it waits for a second caller.
    assert_eq!((up.health(), up.health()), (200, 200));
    assert_eq!(up.stop().code(), Some(DONE));
}

/// `up` on a folder that it does not serve.
fn refused_up(data: &Path, options: &[&str]) -> (Option<i32>, String) {
    let data = data.display().to_string();
    let words = [&["up", "--listen", "127.0.0.1:0", "--data", &data], options].concat();
    let output = run(&words);
    (output.status.code(), told(&output))
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// The error names the path, its mode and the command that mends it.
fn assert_refused((code, told): &(Option<i32>, String), path: &Path, mode: &str, next: &str) {
    let path = path.display().to_string();
    assert_eq!(*code, Some(USAGE), "{told}");
    for word in [path.as_str(), mode, next] {
        assert!(told.contains(word), "`{word}` in: {told}");
    }
}

#[test]
fn the_operators_token_is_never_written_into_a_file_made_beforehand() {
    let (data, outside) = (folder(), folder());
    let trap = outside.path().join("trap");
    fs::write(&trap, "").expect("written");
    set_mode(&trap, 0o666);
    for name in ["token.new", "token.draft", "simcloud.json.draft"] {
        symlink(&trap, data.path().join(name)).expect("a link");
    }
    served_once(data.path());
    let token = data.path().join("token");
    assert_eq!(fs::read_to_string(&trap).expect("reads"), "", "nothing is written through a link");
    for file in [token, data.path().join("simcloud.json"), data.path().join("portcullis.redb")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_data_folder_that_others_may_change_is_refused() {
    let data = folder();
    for bits in [0o777, 0o770, 0o722] {
        set_mode(data.path(), bits);
        assert_refused(&refused_up(data.path(), &[]), data.path(), &format!("{bits:04o}"), "chmod go-w");
        assert_eq!(fs::read_dir(data.path()).expect("reads").count(), 0, "nothing is written there");
    }
    set_mode(data.path(), 0o700);
    // Who may write to the folder above may put another folder in the place of this one.
    let inner = data.path().join("inner");
    fs::create_dir(&inner).expect("made");
    set_mode(data.path(), 0o777);
    let seen = refused_up(&inner, &[]);
    set_mode(data.path(), 0o755);
    assert_refused(&seen, &inner, "0777", "chmod o-w");
    if geteuid().is_root() {
        chown(&inner, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).expect("given away");
        assert_refused(&refused_up(&inner, &[]), &inner, "belongs to user 65534", "chown");
    }
}

#[test]
fn a_secret_that_others_may_change_is_refused_and_one_that_they_may_read_is_told() {
    let data = folder();
    served_once(data.path());
    for name in ["token", "portcullis.redb", "simcloud.json"] {
        let file = data.path().join(name);
        set_mode(&file, 0o620);
        assert_refused(&refused_up(data.path(), &[]), &file, "0620", "chmod go-w");
        set_mode(&file, 0o600);
        if geteuid().is_root() {
            chown(&file, Some(Uid::from_raw(NOBODY)), None).expect("given away");
            assert_refused(&refused_up(data.path(), &[]), &file, "belongs to user 65534", "chown");
            chown(&file, Some(Uid::ROOT), None).expect("taken back");
        }
    }
    let token = data.path().join("token");
    let up = Up::start(data.path(), &[], &[]);
    assert!(!told(&up.ask(&["whoami"])).contains("warning"));
    set_mode(&token, 0o644);
    let warned = up.ask(&["whoami"]);
    assert_eq!(warned.status.code(), Some(DONE));
    assert!(told(&warned).contains("other users may read the token") && told(&warned).contains("chmod go-r"));
    set_mode(&token, 0o666);
    let refused = up.ask(&["whoami"]);
    assert_refused(&(refused.status.code(), told(&refused)), &token, "0666", "chmod go-w");
}

#[test]
fn settings_that_others_may_change_are_not_obeyed() {
    let place = folder();
    let (config, token) = (place.path().join("config.toml"), place.path().join("its-token"));
    let ran = place.path().join("ran");
    let text = format!(
        "[profiles.a]\nurl = 'http://127.0.0.1:9'\ntoken-command = 'touch {}'\n\
         [profiles.b]\nurl = 'http://127.0.0.1:9'\ntoken-file = 'its-token'\n",
        ran.display()
    );
    fs::write(&config, text).expect("written");
    fs::write(&token, "pct_x").expect("written");
    let ask = |profile: &str| {
        let output = Command::new(program())
            .args(["--profile", profile, "whoami"])
            .env("PORTCULLIS_CONFIG", &config)
            .env_remove("PORTCULLIS_URL")
            .output()
            .expect("runs");
        (output.status.code(), told(&output))
    };
    set_mode(&config, 0o664);
    assert_refused(&ask("a"), &config, "0664", "chmod go-w");
    assert!(!ran.exists(), "the command is not run");
    set_mode(&config, 0o644);
    set_mode(&token, 0o602);
    assert_refused(&ask("b"), &token, "0602", "chmod go-w");
    set_mode(&token, 0o640);
    assert!(ask("b").1.contains("other users may read the token"), "{}", ask("b").1);
    let bots = place.path().join("bots.json");
    fs::write(&bots, r#"[{"source": "chatops", "for": ["*"]}]"#).expect("written");
    set_mode(&bots, 0o666);
    let options = ["--bots", &bots.display().to_string()];
    assert_refused(&refused_up(&place.path().join("data"), &options), &bots, "0666", "chmod go-w");
    let federated =
        ["--guard", "azure", "--azure-login", "federated", "--azure-tenant", "t", "--azure-client", "c"];
    for option in ["--azure-ca", "--azure-token-file"] {
        let file = place.path().join(option);
        fs::write(&file, "-----BEGIN CERTIFICATE-----").expect("written");
        set_mode(&file, 0o606);
        let path = file.display().to_string();
        let options = [&federated, &[option, &path][..]].concat();
        assert_refused(&refused_up(&place.path().join("data"), &options), &file, "0606", "chmod go-w");
    }
}

#[test]
fn a_token_without_its_table_is_an_error_and_no_new_beginning() {
    let data = folder();
    served_once(data.path());
    let table = data.path().join("portcullis.redb");
    let whole = fs::read(&table).expect("reads");
    let is_lost = || {
        let (code, told) = refused_up(data.path(), &[]);
        assert_eq!(code, Some(BROKEN), "{told}");
        for word in ["portcullis.redb", "missing or empty", "restore", "remove"] {
            assert!(told.contains(word), "`{word}` in: {told}");
        }
    };
    fs::remove_file(&table).expect("removed");
    is_lost();
    assert!(!table.exists(), "no table is made");
    fs::write(&table, "").expect("written");
    is_lost();
    assert_eq!(fs::metadata(&table).expect("is there").len(), 0);
    // A table of another beginning, without an entry.
    fs::remove_file(&table).expect("removed");
    drop(portcullis_local::RedbStore::open(&table).expect("opens"));
    set_mode(&table, 0o600);
    is_lost();
    fs::write(&table, whole).expect("written");
    Up::start(data.path(), &[], &[]);
    // To begin anew the token is removed, as the error says.
    let other = folder();
    served_once(other.path());
    for name in ["portcullis.redb", "token"] {
        fs::remove_file(other.path().join(name)).expect("removed");
    }
    Up::start(other.path(), &[], &[]);
}

#[test]
fn verifying_nothing_is_no_success() {
    let data = folder();
    let seen = |words: &[&str]| {
        let output = run(words);
        let (code, told) = (output.status.code(), told(&output));
        assert!(matches!(code, Some(BROKEN | NOT_FOUND)), "{words:?} exits {code:?}: {told}");
        assert!(!told.contains("is whole"), "{told}");
        told
    };
    let path = data.path().display().to_string();
    assert!(seen(&["verify", "--data", &path]).contains("there is no table"));
    assert!(seen(&["verify", &path]).contains("manifest.json"));
    let table = data.path().join("portcullis.redb");
    fs::write(&table, "").expect("written");
    assert!(seen(&["verify", "--data", &path]).contains("is an empty file"));
    assert_eq!(fs::metadata(&table).expect("is there").len(), 0, "verifying makes no table");
    fs::remove_file(&table).expect("removed");
    drop(portcullis_local::RedbStore::open(&table).expect("opens"));
    assert!(seen(&["verify", "--data", &path]).contains("no entries"));
    let seen_json = run(&["verify", "--data", &path, "--json"]);
    assert_eq!(seen_json.status.code(), Some(NOT_FOUND));
    let manifest = data.path().join("manifest.json");
    fs::write(&manifest, "").expect("written");
    seen(&["verify", &path]);
    seen(&["verify", &manifest.display().to_string()]);
}

#[test]
fn verifying_an_export_without_records_is_no_success() {
    let (data, out) = (folder(), folder());
    let up = Up::start(data.path(), &[], &[]);
    let none = out.path().join("none").display().to_string();
    let words = ["export", "--from", "2020-01-01", "--to", "2020-01-02", "--out", &none];
    assert_eq!(up.ask(&words).status.code(), Some(DONE));
    let checked = run(&["verify", &none]);
    assert_eq!(checked.status.code(), Some(NOT_FOUND), "{}", told(&checked));
    assert!(told(&checked).contains("no records"), "{}", told(&checked));
    let all = out.path().join("all").display().to_string();
    assert_eq!(up.ask(&["export", "--out", &all]).status.code(), Some(DONE));
    assert_eq!(run(&["verify", &all]).status.code(), Some(DONE));
}
