//! All of `template.yaml`, deployed, with a simulated Azure to guard.

use super::{Auth, Key, Ministack, Wire, function};
use jiff::Timestamp;
use portcullis_app::ports::Tokens as _;
use portcullis_aws::{Cloud, DynamoStore, Keys, TokenBook};
use portcullis_simcloud::{Faults, Packet, PacketProtocol, Simcloud};
use portcullis_tests::{azure::Azure, built::FUNCTIONS, commands::BOTS, given, root};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, sync::Arc};
use tempfile::TempDir;

/// A deployment.
#[derive(Debug)]
pub struct Stack {
    /// Where it is deployed.
    pub aws: Ministack,
    /// What it guards.
    pub azure: Azure,
    outputs: BTreeMap<String, String>,
    token: String,
    _code: TempDir,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// Null where there is none.
    pub body: Value,
}

impl Stack {
    /// A deployment of its own.
    pub fn deploy(auth: Auth) -> Self {
        Self::on(Ministack::start(auth), "debug")
    }

    /// One whose functions call AWS over this wire, and log what they do by default.
    pub fn deploy_behind(wire: &Wire) -> Self {
        Self::on(Ministack::behind(wire), "info")
    }

    fn on(aws: Ministack, log_level: &str) -> Self {
        let azure = Azure::with(|_| Simcloud::new(1, Arc::new(Timestamp::now)));
        azure.cloud.plan(Faults { operation_millis: 100, ..Faults::quick() });
        let code = tempfile::tempdir().expect("a folder");
        for name in FUNCTIONS {
            let folder = code.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            fs::copy(function(name), folder.join("bootstrap")).expect("copied");
        }
        let template = root().join("template.yaml");
        let tenant = azure.cloud.tenant();
        let parameters = [
            ("Architecture", "x86_64"),
            ("DeletionProtection", "false"),
            ("EventArchiveDays", "0"),
            ("ExpireConcurrency", "0"),
            ("LeaseMin", "1s"),
            ("LogLevel", log_level),
            ("Bots", BOTS),
            ("AzureLogin", "client-secret"),
            ("AzureClientSecret", "simulated"),
            ("AzureTenant", tenant.as_str()),
            ("AzureClient", "portcullis"),
            ("AzureArm", azure.url.as_str()),
            ("AzureAuthority", azure.url.as_str()),
            ("AzureAudience", azure.url.as_str()),
        ];
        let outputs = aws.deploy(&template, "portcullis", code.path(), &parameters);
        let token = first_token(aws.url(), &outputs["TableName"]);
        Self { aws, azure, outputs, token, _code: code }
    }

    /// An output of the template.
    pub fn output(&self, name: &str) -> &str {
        &self.outputs[name]
    }

    /// A function as it is called there.
    pub fn function(name: &str) -> String {
        format!("portcullis-{name}")
    }

    /// Where the API is heard.
    pub fn api(&self) -> String {
        self.aws.api(self.output("Url"))
    }

    /// The operator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// From now on callers of the API sign with AWS keys, and are told to it: as at the output `SignedUrl`, where the
    /// emulator does not tell who signed. Gives the key of a user of this name, who may call it.
    pub fn let_callers_sign(&self, user: &str) -> Key {
        let id = self.output("Url").trim_start_matches("http://").split('.').next().expect("an id");
        let routes = self.aws.call("apigatewayv2", "get_routes", &json!({ "ApiId": id })).expect("listed");
        let routes = routes["Items"].as_array().expect("routes");
        let route = routes.iter().find(|it| text(&it["RouteKey"]).contains("/v1/")).expect("it is explicit");
        let signed = json!({ "ApiId": id, "RouteId": route["RouteId"], "AuthorizationType": "AWS_IAM" });
        self.aws.call("apigatewayv2", "update_route", &signed).expect("updated");
        let named = json!({ "UserName": user });
        self.aws.call("iam", "create_user", &named).expect("made");
        let statement = json!({ "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let may = json!({ "UserName": user, "PolicyName": "ask", "PolicyDocument": policy });
        self.aws.call("iam", "put_user_policy", &may).expect("made");
        let made = self.aws.call("iam", "create_access_key", &named).expect("made");
        let of = |name: &str| text(&made["AccessKey"][name]);
        Key { id: of("AccessKeyId"), secret: of("SecretAccessKey"), session: None }
    }

    /// The table, as whoever owns the account.
    pub fn store(&self) -> DynamoStore {
        store(self.aws.url(), &self.outputs["TableName"])
    }

    /// Asks the API as the operator.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answered {
        let url = format!("{}{path}", self.api());
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(body.to_string()).expect("a request"))
            }
            None => agent.run(request.body(()).expect("a request")),
        };
        let mut answer = answer.expect("answers");
        let text = answer.body_mut().read_to_string().expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answered { status: answer.status().as_u16(), body }
    }

    /// Puts an event on the bus as a bot does.
    pub fn put(&self, source: &str, kind: &str, detail: &Value) {
        let entry = json!({ "Source": source, "DetailType": kind, "Detail": detail.to_string(),
                            "EventBusName": self.output("BusName") });
        let put = self.aws.call("events", "put_events", &json!({ "Entries": [entry] })).expect("put");
        assert_eq!(put["FailedEntryCount"], 0, "{put}");
    }

    /// Invokes a function as a schedule does: nobody waits for it.
    pub fn invoke(&self, function: &str) {
        let call =
            json!({ "FunctionName": Self::function(function), "Payload": "{}", "InvocationType": "Event" });
        self.aws.call("lambda", "invoke", &call).expect("invoked");
    }

    /// From now on nobody tells the bus what is committed.
    pub fn stop_the_relay(&self) {
        let mine = json!({ "FunctionName": Self::function("relay") });
        let found = self.aws.call("lambda", "list_event_source_mappings", &mine).expect("listed");
        for mapping in found["EventSourceMappings"].as_array().expect("a list") {
            let off = json!({ "UUID": mapping["UUID"], "Enabled": false });
            self.aws.call("lambda", "update_event_source_mapping", &off).expect("updated");
        }
    }

    /// Kills a function's process at whatever it does.
    pub fn kill(&self, function: &str) {
        let mut killed = 0;
        for (pid, _) in self.processes(function) {
            rustix::process::kill_process(pid, Signal::KILL).expect("killed");
            killed += 1;
        }
        assert!(0 < killed, "no process runs {function}");
    }

    /// The keys that a function was given, as it has them in its environment, once it runs.
    pub fn key_of(&self, function: &str) -> Option<Key> {
        let (_, environment) = self.processes(function).next()?;
        let variable = |name: &str| environment.get(name).cloned();
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        Some(Key { id, secret, session: variable("AWS_SESSION_TOKEN") })
    }

    /// The processes that run a function, with their environments.
    fn processes(&self, function: &str) -> impl Iterator<Item = (Pid, BTreeMap<String, String>)> {
        let of_it = [
            ("AWS_LAMBDA_FUNCTION_NAME", Self::function(function)),
            ("AWS_ENDPOINT_URL", self.aws.url().to_owned()),
        ];
        let all = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        all.filter_map(move |it| {
            let pid = Pid::from_raw(it.file_name().to_str()?.parse().ok()?)?;
            let environment = fs::read(it.path().join("environ")).ok()?;
            let environment = String::from_utf8_lossy(&environment).into_owned();
            let pairs = environment.split('\0').filter_map(|it| it.split_once('='));
            let environment: BTreeMap<String, String> =
                pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let is_it = of_it.iter().all(|(name, value)| environment.get(*name) == Some(value));
            is_it.then_some((pid, environment))
        })
    }

    /// Sends what every function asks of some services to another place, such as a [`super::Proxy`]: by the
    /// names that the SDKs have for them, `DYNAMODB`.
    pub fn reroute(&self, services: &[&str], endpoint: &str) {
        for function in FUNCTIONS {
            let name = json!(Self::function(function));
            let known = json!({ "FunctionName": name });
            let known = self.aws.call("lambda", "get_function_configuration", &known).expect("there");
            let mut variables = known["Environment"]["Variables"].clone();
            for service in services {
                variables[format!("AWS_ENDPOINT_URL_{service}")] = json!(endpoint);
            }
            let changed = json!({ "FunctionName": name, "Environment": { "Variables": variables } });
            self.aws.call("lambda", "update_function_configuration", &changed).expect("updated");
            let known = json!({ "FunctionName": name });
            self.aws.wait("a function is as it was changed", |aws| {
                let known = aws.call("lambda", "get_function_configuration", &known).expect("there");
                (known["LastUpdateStatus"] == "Successful").then_some(())
            });
        }
    }

    /// What was put into the archive under a path that begins and ends so.
    pub fn archived(&self, beginning: &str, ending: &str) -> Option<String> {
        let bucket = self.output("ArchiveName");
        let found = self.aws.call("s3", "list_objects_v2", &json!({ "Bucket": bucket })).expect("listed");
        let mut keys = found["Contents"].as_array().into_iter().flatten().map(|it| text(&it["Key"]));
        let key = keys.find(|it| it.starts_with(beginning) && it.ends_with(ending))?;
        let url = format!("{}/{bucket}/{key}", self.aws.url());
        Some(ureq::get(url).call().ok()?.body_mut().read_to_string().expect("text"))
    }

    // What people do and see.

    /// Guards a machine and waits until it is shut; gives its id.
    pub fn enable(&self, machine: &str) -> String {
        self.enable_with(machine, &json!({}))
    }

    /// The same with ports of one's own.
    pub fn enable_with(&self, machine: &str, body: &Value) -> String {
        let id = self.azure.machine(machine).to_string();
        self.ask("POST", &format!("{}/enable", path(&id)), Some(body)).done();
        self.wait_until("it is shut", || self.ask("GET", &path(&id), None).done()["settled"] == true);
        id
    }

    /// Asks for SSH for this long; gives the grant's id.
    pub fn request(&self, machine: &str, from: &str, length: &str) -> String {
        let id = self.azure.machine(machine).to_string();
        let ask = json!({ "target": id, "port": 22, "sources": [from], "for": length });
        let answer = self.ask("POST", "/v1/requests", Some(&json!({ "asks": [ask] }))).done();
        text(&answer["grants"][0]["id"])
    }

    /// Where a grant is in its life.
    pub fn state(&self, grant: &str) -> String {
        text(&self.ask("GET", &format!("/v1/grants/{grant}"), None).done()["state"])
    }

    /// Waits until a grant is there in its life.
    pub fn wait_for(&self, grant: &str, state: &str) {
        self.wait_until(&format!("{grant} is {state}"), || self.state(grant) == state);
    }

    /// A machine's journal.
    pub fn activity(&self, machine: &str) -> Vec<Value> {
        let id = self.azure.machine(machine).to_string();
        let found = self.ask("GET", &format!("{}/activity?limit=200", path(&id)), None).done();
        found["items"].as_array().or(found.as_array()).expect("entries").clone()
    }

    /// How late a grant was seen to be shut, after its end.
    pub fn late_ms(&self, machine: &str, grant: &str) -> i64 {
        let closed = self.activity(machine).into_iter().map(|it| it["fact"].clone());
        let mut closed = closed.filter(|it| it["what"] == "closed" && it["grant"] == grant);
        closed.next().expect("closed")["late_ms"].as_i64().expect("a number")
    }

    /// How much of that is ours: without the cloud's own write.
    pub fn own_late_ms(&self, machine: &str, grant: &str) -> i64 {
        let closed = self.activity(machine).into_iter().map(|it| it["fact"].clone());
        let mut closed = closed.filter(|it| it["what"] == "closed" && it["grant"] == grant);
        let closed = closed.next().expect("closed");
        self.late_ms(machine, grant) - closed["cloud_ms"].as_i64().unwrap_or(0)
    }

    /// Does SSH get through, by the cloud's own oracle?
    pub fn passes(&self, machine: &str, from: &str) -> bool {
        let packet =
            Packet { from: from.parse().expect("an address"), protocol: PacketProtocol::Tcp, port: 22 };
        self.azure.cloud.passes(machine, packet).expect("decided").passes
    }

    /// Lets each write of the cloud take this long.
    pub fn slow_down(&self, operation_millis: u32) {
        self.azure.cloud.plan(Faults { operation_millis, ..Faults::quick() });
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        self.aws.wait(what, |_| is_so().then_some(()));
    }
}

fn path(target: &str) -> String {
    format!("/v1/targets/{}", target.replace('/', "%2F"))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl Answered {
    /// The body of a success.
    pub fn done(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }
}

/// An emulator, or whoever stands before it, as whoever owns the account.
pub fn cloud(endpoint: &str) -> Cloud {
    let keys = Keys { id: "test".to_owned(), secret: "test".to_owned(), session: None };
    Cloud::at("us-east-1".to_owned(), keys, Some(endpoint.to_owned())).expect("certificates")
}

fn store(endpoint: &str, table: &str) -> DynamoStore {
    let writer = format!("tests {} {}", std::process::id(), Timestamp::now().as_nanosecond());
    DynamoStore::new(cloud(endpoint).dynamodb(), table, writer, Arc::new(Timestamp::now))
}

fn first_token(endpoint: &str, table: &str) -> String {
    let tokens = TokenBook::of(&Arc::new(store(endpoint, table)), given::dice);
    let operator = "operator".parse().expect("a person");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let made = runtime.block_on(tokens.issue(
        &operator,
        &portcullis_domain::TokenTerms::default(),
        (&operator).into(),
        Timestamp::now(),
    ));
    made.unwrap_or_else(|error| panic!("{}", error.full()))
}
