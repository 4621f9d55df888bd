//! Tables as the template defines them, each test with one of its own.

use super::{Ministack, install, process::Process};
use portcullis_tests::needs::lacking;
use serde_json::{Value, json};
use std::{
    fmt,
    path::Path,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where the table is defined, seen from the workspace.
const TEMPLATE: &str = "template.yaml";
/// What an emulator wants to see of a signature that it does not verify.
const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
                        SignedHeaders=host, Signature=0";

/// DynamoDB Local: in memory, on loopback, on any port.
#[derive(Debug)]
pub struct Local {
    process: Process,
    url: String,
}

/// A fresh table, as the template defines it; the log of where it is is shown when its test fails.
pub struct Table {
    endpoint: String,
    name: String,
    kept_by: &'static Process,
}

impl Local {
    /// The one of this program.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Local, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| install::dynamodb_local().map(Self::start));
        shared.as_ref().unwrap_or_else(|why| lacking(install::NPM, why))
    }

    /// Started by Jetty's configuration and not by its own main, which would listen on every interface.
    fn start(folder: &Path) -> Self {
        let mut java = Command::new("java");
        java.args([
            "-Xmx1g",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.eclipse.jetty.xml.XmlParser.Validating=false",
        ])
        .args(["-Djava.library.path=DynamoDBLocal_lib", "-cp", "DynamoDBLocal.jar:DynamoDBLocal_lib/*"])
        .arg("org.eclipse.jetty.xml.XmlConfiguration")
        .arg(install::scripts().join("local.xml"))
        .current_dir(folder);
        let url = |it: &Process| {
            let log = it.log();
            let url = log.lines().find(|line| line.starts_with("http://127.0.0.1:"))?;
            Some(url.trim_end_matches('/').to_owned())
        };
        let (process, url) = Process::up("dynamodb", &java, url).unwrap_or_else(|why| panic!("{why}"));
        Self { process, url }
    }

    /// Where it is heard.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Table {
    /// In DynamoDB Local.
    pub fn local() -> Self {
        let local = Local::shared();
        Self::create(&local.url, &local.process, definition())
    }

    /// In ministack.
    pub fn ministack() -> Self {
        let ministack = Ministack::shared();
        Self::create(ministack.url(), ministack.process(), definition())
    }

    fn create(endpoint: &str, kept_by: &'static Process, definition: &Value) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("table-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut wanted = definition.clone();
        wanted["TableName"] = json!(name);
        let made = dynamodb(endpoint, "CreateTable", &wanted).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made["TableDescription"]["TableStatus"], "ACTIVE", "no emulator takes its time");
        Self { endpoint: endpoint.to_owned(), name, kept_by }
    }

    /// Where its calls go.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it is called there.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.endpoint)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.kept_by.show_if_failing();
    }
}

/// A call of DynamoDB, not signed. `Err` is what was refused, or why there is no answer.
pub fn dynamodb(endpoint: &str, operation: &str, with: &Value) -> Result<Value, Value> {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = agent
        .post(endpoint)
        .header("Authorization", UNSIGNED)
        .header("X-Amz-Target", format!("DynamoDB_20120810.{operation}"))
        .content_type("application/x-amz-json-1.0")
        .send(with.to_string());
    let mut answer = answer.map_err(|error| json!(error.to_string()))?;
    let body = answer.body_mut().read_json().map_err(|error| json!(error.to_string()))?;
    if answer.status().is_success() { Ok(body) } else { Err(body) }
}

/// What `CreateTable` is told.
fn definition() -> &'static Value {
    static DEFINITION: OnceLock<Result<Value, String>> = OnceLock::new();
    let read = || {
        let template = portcullis_tests::root().join(TEMPLATE);
        install::programs()?;
        let printed = install::script("table.py", &[&template]).unwrap_or_else(|why| panic!("{why}"));
        Ok(serde_json::from_str(&printed).expect("JSON"))
    };
    DEFINITION.get_or_init(read).as_ref().unwrap_or_else(|why| lacking(install::PYPI, why))
}
