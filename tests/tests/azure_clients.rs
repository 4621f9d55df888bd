//! Microsoft's own clients, pinned and unmodified, on `portcullis simcloud --tls`. They are installed
//! into the target folder; where that is not possible, the test says `skipped` and why.

use portcullis_tests::{
    binary::{program, text},
    network::skipped,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// How many lines of the greeting are read for where and what it serves.
const GREETING_LINES: usize = 5;

#[test]
fn microsofts_clients_list_machines_and_change_rules() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&why),
    };
    let data = tempfile::tempdir().expect("a folder");
    let cloud = Simcloud::start(data.path());
    let run = Command::new(python)
        .arg(folder().join("clients.py"))
        .args([&cloud.url, &cloud.tenant, &cloud.subscription])
        .env("REQUESTS_CA_BUNDLE", data.path().join("simcloud.pem"))
        .env("NO_PROXY", "localhost")
        .output()
        .expect("runs");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let seen: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(seen["machines"].as_array().map(Vec::len), Some(15), "{seen}");
    assert_eq!(seen["put"], json!(["From-Python", "Succeeded"]), "polled until it was done");
    assert_eq!(seen["read"], json!([100, ["203.0.113.9"]]));
    assert_eq!(seen["listed"], json!(["From-Python"]));
    assert_eq!(seen["clash"], "SecurityRuleConflict");
    assert_eq!(seen["gone"], "ResourceNotFound");
}

/// A Python with the clients; installed once, and anew when the pins change.
fn python() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azure_clients");
    let (python, installed) = (place.join("bin/python"), place.join("installed"));
    let pins = folder().join("requirements.txt");
    let wanted = fs::read_to_string(&pins).expect("reads");
    if fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(install).arg(&pins))?;
    fs::write(installed, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = || format!("{command:?}: {}", text(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(told()) }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("azure_clients")
}

/// `portcullis simcloud`, killed when it is dropped.
struct Simcloud {
    process: Child,
    url: String,
    tenant: String,
    subscription: String,
}

impl Simcloud {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(program())
            .args(["simcloud", "--listen", "127.0.0.1:0", "--tls", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let greeting = BufReader::new(process.stdout.take().expect("piped")).lines();
        let greeting: Vec<String> = greeting.take(GREETING_LINES).map_while(Result::ok).collect();
        let after = |word: &str| {
            let found = greeting.iter().find_map(|line| line.split_once(word));
            found.unwrap_or_else(|| panic!("no `{word}` in {greeting:?}")).1.trim().to_owned()
        };
        // Clients check the name that they call.
        let url = after(" is up at ").replace("127.0.0.1", "localhost");
        let (tenant, subscription) = (after("  tenant "), after("  subscription "));
        Self { process, url, tenant, subscription }
    }
}

impl Drop for Simcloud {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
