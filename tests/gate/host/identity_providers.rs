//! Logging in by identity providers of others, with the real program on both sides: npm's `oidc-provider` and Debian's `glewlwyd`, as
//! scripts of these tests (`identity_providers`) set them up, and a browser without a window.

use portcullis_tests::{
    binary::{Up, program, text},
    needs::lacking,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

const AUDIENCE: &str = "https://portcullis.example.com";
const ALGORITHMS: [&str; 4] = ["ES256", "RS256", "PS256", "EdDSA"];

/// The program behind a provider.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    OidcProvider,
    Glewlwyd,
}

/// A provider, which ends when it is dropped.
struct Provider {
    made: Made,
    process: Child,
    issuer: String,
    rotation: String,
    /// Where it sends browsers back to.
    port: u16,
    _folder: tempfile::TempDir,
}

/// A person's machine: its folders, and an `up` that believes the provider.
struct Place {
    provider: Provider,
    up: Up,
    home: tempfile::TempDir,
    _data: tempfile::TempDir,
}

/// The folder of the scripts with the package that they need, installed once.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("identity_providers");
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("identity_providers");
        fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        for name in ["package.json", "package-lock.json", "provider.mjs", "glewlwyd.mjs", "browser.mjs"] {
            fs::copy(scripts.join(name), place.join(name)).map_err(|error| format!("{name}: {error}"))?;
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let output = Command::new("npm").args(install).current_dir(&place).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(place) } else { Err(text(&output.stderr)) }
    });
    made.as_deref().unwrap_or_else(|why| lacking("npm", why))
}

impl Provider {
    fn start(made: Made) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let mut node = Command::new("node");
        match made {
            Made::OidcProvider => node.arg("provider.mjs"),
            Made::Glewlwyd => node.arg("glewlwyd.mjs").arg(folder.path()).arg(port.to_string()),
        };
        node.current_dir(installed()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = node.spawn().unwrap_or_else(|error| lacking("npm", &error.to_string()));
        let mut said = String::new();
        let mut out = BufReader::new(process.stdout.take().expect("piped"));
        out.read_line(&mut said).expect("a line");
        // A script whose notices nobody reads would end.
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(drop));
        let Some((issuer, rotation)) = said.trim().split_once(' ') else {
            lacking("glewlwyd", "its script says why")
        };
        let (issuer, rotation) = (issuer.to_owned(), rotation.to_owned());
        Self { made, process, issuer, rotation, port, _folder: folder }
    }

    fn rotate(&self) {
        let rotated = ureq::post(&self.rotation).send_empty().expect("answers");
        assert_eq!(rotated.status(), 200);
    }

    /// The token that a program gets for itself.
    fn of_robot(&self) -> String {
        let fields = format!(
            "grant_type=client_credentials&client_id=robot&client_secret=for-tests-only&scope=ask&resource={AUDIENCE}"
        );
        let request = ureq::post(format!("{}/token", self.issuer));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let mut answer = request.send(fields).expect("answers");
        let given: Value = answer.body_mut().read_json().expect("JSON");
        given["access_token"].as_str().expect("a token").to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // The script ends what it started, and then itself.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Place {
    fn new(made: Made) -> Self {
        let provider = Provider::start(made);
        let (home, data) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let issuer = &provider.issuer;
        let clients: Vec<String> = ALGORITHMS.iter().map(|it| format!("'cli-{it}'")).collect();
        let issuers = format!(
            "[[issuer]]\nurl = '{issuer}'\naudiences = ['{AUDIENCE}', {}]\nalgorithms = ['ES256', 'RS256', 'PS256', 'EdDSA']\n\
             [issuer.people]\nprefix = 'corp:'\nname = 'preferred_username'\ngroups = 'groups'\n\
             [[issuer.workload]]\nname = 'ci:robot'\nsubject = 'robot'\naudience = '{AUDIENCE}'\n",
            clients.join(", ")
        );
        let file = home.path().join("issuers.toml");
        fs::write(&file, issuers).expect("written");
        let up = Up::start(data.path(), &["--issuers", &file.display().to_string()], &[]);
        let own = match made {
            Made::OidcProvider => {
                "scopes = ['openid', 'profile', 'groups', 'offline_access']\nprompt = 'consent'".to_owned()
            }
            Made::Glewlwyd => {
                format!(
                    "scopes = ['openid', 'ask']\nredirect = 'http://127.0.0.1:{}/callback'",
                    provider.port
                )
            }
        };
        let profile = |name: &str, client: &str, rest: &str| {
            format!(
                "[profiles.{name}]\nurl = '{}'\nauth = 'oidc'\n[profiles.{name}.oidc]\nissuer = '{issuer}'\nclient-id = '{client}'\n\
                 {own}\n{rest}\n",
                up.url()
            )
        };
        let mut profiles: Vec<String> =
            ALGORITHMS.iter().map(|it| profile(it, &format!("cli-{it}"), "")).collect();
        profiles.push(profile("access", "cli-ES256", &format!("audience = '{AUDIENCE}'")));
        fs::write(home.path().join("config.toml"), profiles.concat()).expect("written");
        Self { provider, up, home, _data: data }
    }

    fn command(&self, profile: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["--profile", profile]).args(words);
        command.env("PORTCULLIS_CONFIG", self.home.path().join("config.toml"));
        command.env("XDG_STATE_HOME", self.home.path()).env("HOME", self.home.path());
        command.env_remove("PORTCULLIS_TOKEN").env_remove("PORTCULLIS_URL");
        command
    }

    fn run(&self, profile: &str, words: &[&str]) -> Output {
        self.command(profile, words).output().expect("runs")
    }

    fn whoami(&self, profile: &str) -> Value {
        let me = self.run(profile, &["whoami", "--json"]);
        assert!(me.status.success(), "{}", text(&me.stderr));
        serde_json::from_slice(&me.stdout).expect("JSON")
    }

    /// Logs in, and does something else once the address is printed, before a browser goes there.
    fn log_in(&self, profile: &str, words: &[&str], meanwhile: impl FnOnce(&Provider)) -> String {
        let words = [&["login"][..], words].concat();
        let mut command = self.command(profile, &words);
        let mut login = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        let mut lines = BufReader::new(login.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let url = lines.by_ref().find(|it| it.trim().starts_with("http")).expect("an address");
        meanwhile(&self.provider);
        let mut browser = Command::new("node");
        browser.args(["browser.mjs", url.trim()]).current_dir(installed());
        match self.provider.made {
            Made::OidcProvider => {}
            Made::Glewlwyd => drop(browser.arg(&self.provider.issuer)),
        }
        let browser = browser.output().expect("runs");
        let told: String = lines.collect::<Vec<_>>().join("\n");
        let status = login.wait().expect("ends");
        assert!(status.success(), "{told}\n{}{}", text(&browser.stdout), text(&browser.stderr));
        let mut said = String::new();
        login.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        said
    }

    /// The file of the only log-in that there is.
    fn kept(&self) -> PathBuf {
        let folder = fs::read_dir(self.home.path().join("portcullis")).expect("a folder");
        let files = folder.map(|it| it.expect("an entry").path());
        let mut files: Vec<PathBuf> =
            files.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

/// With a key of each kind. The first token has one that was made while its person was on the way, and that `up` does not know yet.
fn logs_in_with_each_key(made: Made) {
    let it = Place::new(made);
    for (n, profile) in ALGORITHMS.iter().enumerate() {
        let said = it.log_in(profile, &["--no-browser"], |provider| {
            if n == 0 {
                provider.rotate();
            }
        });
        assert!(said.starts_with("corp:ann"), "{said}");
        assert!(said.contains("groups corp:dba, corp:ops"), "{said}");
        let me = it.whoami(profile);
        assert_eq!((&me["kind"], &me["issuer"]), (&json!("person"), &json!(it.provider.issuer)));
        assert_eq!(me["groups_known"], "all");
    }
}

/// By a code that is typed elsewhere; and a program by its own token.
fn logs_in_without_a_browser(made: Made) {
    let it = Place::new(made);
    let said = it.log_in("ES256", &["--device"], |_| {});
    assert!(said.starts_with("corp:ann"), "{said}");
    let mut command = Command::new(program());
    command.args(["--url", it.up.url(), "whoami", "--json"]).env("PORTCULLIS_TOKEN", it.provider.of_robot());
    let robot = command.output().expect("runs");
    let robot: Value =
        serde_json::from_slice(&robot.stdout).unwrap_or_else(|_| panic!("{}", text(&robot.stderr)));
    assert_eq!((&robot["person"], &robot["kind"]), (&json!("ci:robot"), &json!("workload")));
}

#[test]
#[ignore = "needs npm"]
fn person_logs_in_with_a_key_of_each_kind_also_while_keys_are_rotated_at_oidc_provider() {
    logs_in_with_each_key(Made::OidcProvider);
}

#[test]
#[ignore = "needs npm and glewlwyd"]
fn person_logs_in_with_a_key_of_each_kind_also_while_keys_are_rotated_at_glewlwyd() {
    logs_in_with_each_key(Made::Glewlwyd);
}

#[test]
#[ignore = "needs npm"]
fn person_logs_in_by_a_device_code_and_a_program_by_its_own_token_at_oidc_provider() {
    logs_in_without_a_browser(Made::OidcProvider);
}

#[test]
#[ignore = "needs npm and glewlwyd"]
fn person_logs_in_by_a_device_code_and_a_program_by_its_own_token_at_glewlwyd() {
    logs_in_without_a_browser(Made::Glewlwyd);
}

#[test]
#[ignore = "needs npm"]
fn log_in_is_renewed_when_it_is_over_and_forgotten_on_demand() {
    let it = Place::new(Made::OidcProvider);
    let nobody = it.run("ES256", &["whoami"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody.stderr).contains("run `portcullis login`"), "{}", text(&nobody.stderr));
    it.log_in("ES256", &["--no-browser"], |_| {});
    let kept: Value = serde_json::from_slice(&fs::read(it.kept()).expect("reads")).expect("JSON");
    let mut over = kept.clone();
    over["until"] = json!("2026-01-01T00:00:00Z");
    fs::write(it.kept(), over.to_string()).expect("written");
    assert_eq!(it.whoami("ES256")["person"], "corp:ann");
    let renewed: Value = serde_json::from_slice(&fs::read(it.kept()).expect("reads")).expect("JSON");
    assert!(renewed["token"] != kept["token"] && renewed["until"] != over["until"]);
    // One that the server refuses is renewed too, whatever its end is.
    let mut refused = renewed.clone();
    let token = renewed["token"].as_str().expect("a token");
    refused["token"] = json!(format!("{}AAAA", &token[..token.len() - 4]));
    fs::write(it.kept(), refused.to_string()).expect("written");
    assert_eq!(it.whoami("ES256")["person"], "corp:ann");
    let out = it.run("ES256", &["logout"]);
    assert!(out.status.success() && !text(&out.stderr).contains("warning"), "{}", text(&out.stderr));
    assert_eq!(it.run("ES256", &["whoami"]).status.code(), Some(3));
    assert!(text(&it.run("ES256", &["logout"]).stderr).contains("There was no log-in"));
}

#[test]
#[ignore = "needs npm"]
fn access_token_is_sent_where_the_profile_names_its_audience() {
    let it = Place::new(Made::OidcProvider);
    let said = it.log_in("access", &["--no-browser"], |_| {});
    assert!(said.starts_with("corp:ann") && said.contains("groups corp:dba, corp:ops"), "{said}");
}

/// It renews access tokens alone.
#[test]
#[ignore = "needs npm and glewlwyd"]
fn log_in_that_its_provider_does_not_renew_ends_with_the_command_that_helps() {
    let it = Place::new(Made::Glewlwyd);
    it.log_in("ES256", &["--no-browser"], |_| {});
    let mut over: Value = serde_json::from_slice(&fs::read(it.kept()).expect("reads")).expect("JSON");
    over["until"] = json!("2026-01-01T00:00:00Z");
    fs::write(it.kept(), over.to_string()).expect("written");
    let ended = it.run("ES256", &["whoami"]);
    assert_eq!(ended.status.code(), Some(3));
    let told = text(&ended.stderr);
    assert!(told.contains("the log-in is over") && told.contains("run `portcullis login`"), "{told}");
    // Nor does it let a client without a secret say that a token is not used any more.
    let out = it.run("ES256", &["logout"]);
    assert!(out.status.success() && text(&out.stderr).contains("did not revoke"), "{}", text(&out.stderr));
}
