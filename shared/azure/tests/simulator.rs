//! The client against the simulated Azure, over the wire.

use azure_core::credentials::Secret;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::Error;
use portcullis_azure::{Arm, Condition, Credentials, Endpoints, FileAssertion, Forbidden, Settings};
use portcullis_outgoing::Roots;
use portcullis_simcloud::{Fault, Faults, On, Permissions, Planned, Simcloud, Tls, serve};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::Write as _, sync::Arc};
use tokio::{net::TcpListener, sync::oneshot, time::Instant};

const API: &str = "2024-05-01";

/// The simulated Azure, until it is dropped.
struct Azure {
    cloud: Arc<Simcloud>,
    url: String,
    start: (Timestamp, Instant),
    _stop: oneshot::Sender<()>,
}

impl Azure {
    async fn new() -> Self {
        Self::over(None, "http", "127.0.0.1").await
    }

    async fn over(tls: Option<Tls>, scheme: &str, host: &str) -> Self {
        let start = ("2026-01-01T00:00:00Z".parse().expect("a time"), Instant::now());
        let cloud = Arc::new(Simcloud::new(1, Arc::new(move || now(start))));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(Arc::clone(&cloud), listener, tls, async { drop(stopped.await) }));
        let faults = Faults::quick();
        cloud.plan(faults);
        Self { cloud, url: format!("{scheme}://{host}:{port}"), start, _stop: stop }
    }

    fn settings(&self) -> Settings {
        let (tenant, client) = (self.cloud.tenant(), "client".to_owned());
        self.settings_as(Credentials::ClientSecret { tenant, client, secret: Secret::new("the-secret") })
    }

    fn settings_as(&self, credentials: Credentials) -> Settings {
        Settings { endpoints: Endpoints::at(&self.url), credentials, roots: Roots::default() }
    }

    fn arm(&self) -> Arm {
        Arm::new(&self.settings()).expect("good settings")
    }

    fn path(&self, rest: &str) -> String {
        let subscription = self.cloud.subscription();
        format!("/subscriptions/{subscription}/resourceGroups/demo/providers/Microsoft.Network{rest}")
    }

    fn rule(&self, name: &str) -> String {
        self.path(&format!("/networkSecurityGroups/build-1-nsg/securityRules/{name}"))
    }

    fn plan(&self, on: On, fault: Fault) {
        let planned = vec![Planned { on, skip: 0, times: 1, fault }];
        self.cloud.plan(Faults { planned, ..Faults::quick() });
    }

    /// How often a method was answered.
    fn count(&self, method: &str) -> usize {
        self.cloud.calls().iter().filter(|it| it.method == method).count()
    }
}

fn now((at, since): (Timestamp, Instant)) -> Timestamp {
    at + SignedDuration::try_from(since.elapsed()).expect("a short test")
}

fn allow(priority: u16) -> Value {
    json!({ "properties": {
        "protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": priority,
        "sourceAddressPrefix": "203.0.113.7", "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": "22",
    } })
}

async fn etag(arm: &Arm, path: &str) -> String {
    let there = arm.get(path, API).await.expect("an answer").expect("it is there");
    there["etag"].as_str().expect("an etag").to_owned()
}

#[tokio::test]
async fn reads_pages_and_queries() {
    let azure = Azure::new().await;
    azure.cloud.plan(Faults { page_size: 4, ..Faults::quick() });
    let arm = azure.arm();
    let group = azure.path("/networkSecurityGroups/web-1-nsg");
    let found = arm.get(&group, API).await.expect("an answer").expect("it is there");
    assert_eq!(found["name"], "web-1-nsg");
    assert_eq!(arm.get(&azure.rule("nobody"), API).await.expect("an answer"), None);

    let groups = arm.list(&azure.path("/networkSecurityGroups"), API).await.expect("all pages");
    let names: BTreeSet<&str> = groups.iter().filter_map(|it| it["name"].as_str()).collect();
    assert!(8 < groups.len() && names.len() == groups.len(), "{names:?}");
    let nowhere = format!(
        "/subscriptions/{}/resourceGroups/none/providers/Microsoft.Network/networkSecurityGroups",
        azure.cloud.subscription()
    );
    assert!(matches!(arm.list(&nowhere, API).await, Err(Error::NotFound { .. })));

    let query = "Resources | where type =~ 'Microsoft.Network/networkSecurityGroups' | project id, name | order by id asc";
    let own = [azure.cloud.subscription()];
    for subscriptions in [&own[..], &[]] {
        let rows = arm.graph(subscriptions, query).await.expect("all pages");
        let found: BTreeSet<&str> = rows.iter().filter_map(|it| it["name"].as_str()).collect();
        assert_eq!(found, names);
    }
    assert!(arm.graph(&["other".to_owned()], query).await.expect("no rows").is_empty());
    assert!(matches!(arm.graph(&own, "drop all").await, Err(Error::Broken { .. })));

    let vitals = arm.vitals();
    let skew = vitals.skew(now(azure.start)).expect("answers have a date");
    assert!(skew.abs() < SignedDuration::from_secs(2), "{skew}");
    assert!(vitals.reads_left.is_some() && vitals.writes_left.is_none(), "{vitals:?}");
}

#[tokio::test]
async fn writes_hold_their_conditions() {
    let azure = Azure::new().await;
    let (arm, path) = (azure.arm(), azure.rule("Ours"));
    arm.put(&path, API, &allow(100), &Condition::Absent).await.expect("it was not there");
    let again = arm.put(&path, API, &allow(100), &Condition::Absent).await;
    assert!(matches!(again, Err(Error::Conflict)), "{again:?}");

    let seen = etag(&arm, &path).await;
    arm.put(&path, API, &allow(101), &Condition::Match(seen.clone())).await.expect("as seen");
    let stale = arm.put(&path, API, &allow(102), &Condition::Match(seen.clone())).await;
    assert!(matches!(stale, Err(Error::Conflict)), "{stale:?}");
    let stale = arm.delete(&path, API, &Condition::Match(seen)).await;
    assert!(matches!(stale, Err(Error::Conflict)), "{stale:?}");

    let taken = arm.put(&azure.rule("Other"), API, &allow(101), &Condition::None).await;
    assert!(matches!(taken, Err(Error::Conflict)), "its priority is taken: {taken:?}");
    let wrong = arm.put(&azure.rule("Other"), API, &allow(7), &Condition::None).await;
    assert!(matches!(wrong, Err(Error::Broken { .. })), "{wrong:?}");
    let nowhere = path.replace("build-1-nsg", "none");
    let nowhere = arm.put(&nowhere, API, &allow(100), &Condition::None).await;
    assert!(matches!(nowhere, Err(Error::NotFound { .. })), "{nowhere:?}");

    let seen = etag(&arm, &path).await;
    arm.delete(&path, API, &Condition::Match(seen)).await.expect("as seen");
    assert_eq!(arm.get(&path, API).await.expect("an answer"), None);
    arm.delete(&path, API, &Condition::None).await.expect("gone already");
}

#[tokio::test]
async fn throttling_is_waited_out_if_it_is_short() {
    let azure = Azure::new().await;
    let (arm, path) = (azure.arm(), azure.rule("Ours"));
    azure.plan(On::Write, Fault::Throttled { retry_after_secs: 1 });
    arm.put(&path, API, &allow(100), &Condition::None).await.expect("the second try");
    assert_eq!(azure.count("PUT"), 2);
    azure.plan(On::Write, Fault::Throttled { retry_after_secs: 60 });
    let start = Instant::now();
    let error = arm.put(&path, API, &allow(101), &Condition::None).await.expect_err("a minute");
    assert!(start.elapsed().as_secs() < 1, "it says so at once");
    assert!(error.full().contains("Retry-After: 60 s"), "{}", error.full());
    assert!(matches!(error, Error::Unavailable { .. }));
}

#[tokio::test]
async fn writes_without_an_answer_are_made_again() {
    let azure = Azure::new().await;
    let (arm, path) = (azure.arm(), azure.rule("Ours"));
    for (done, priority) in [(false, 100), (true, 101)] {
        azure.plan(On::Write, Fault::Unanswered { done });
        arm.put(&path, API, &allow(priority), &Condition::None).await.expect("the second try");
    }
    azure.plan(On::Write, Fault::Broken);
    arm.put(&path, API, &allow(102), &Condition::None).await.expect("the second try");
    let seen = Condition::Match(etag(&arm, &path).await);
    azure.plan(On::Write, Fault::Unanswered { done: true });
    let met = arm.put(&path, API, &allow(103), &seen).await;
    assert!(matches!(met, Err(Error::Conflict)), "it meets what it did itself: {met:?}");
    azure.plan(On::Write, Fault::Unanswered { done: true });
    arm.delete(&path, API, &Condition::None).await.expect("the second try finds nothing");
    azure.plan(On::Read, Fault::Unanswered { done: false });
    assert_eq!(arm.get(&path, API).await.expect("the second try"), None);
}

#[tokio::test]
async fn every_kind_of_login_has_its_token() {
    let azure = Azure::new().await;
    let (tenant, client) = (azure.cloud.tenant(), "client".to_owned());
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "a.jwt.of-somebody").expect("writes");
    let path = file.path().to_owned();
    for credentials in [
        Credentials::Assertion {
            tenant: tenant.clone(),
            client: client.clone(),
            assertion: Arc::new(FileAssertion::new(path.clone())),
        },
        Credentials::WorkloadIdentity {
            tenant: Some(tenant.clone()),
            client: Some(client.clone()),
            token_file: Some(path),
        },
        Credentials::ManagedIdentity { client: Some(client), metadata: Some(azure.url.clone()) },
    ] {
        let arm = Arm::new(&azure.settings_as(credentials.clone())).expect("good settings");
        let found = arm.list("/subscriptions", API).await;
        assert_eq!(found.expect("a token").len(), 1, "{credentials:?}");
    }
    let (client, assertion) = ("client".to_owned(), FileAssertion::new("/nowhere/token"));
    let missing = Credentials::Assertion { tenant, client, assertion: Arc::new(assertion) };
    let arm = Arm::new(&azure.settings_as(missing)).expect("good settings");
    let error = arm.list("/subscriptions", API).await.expect_err("no file");
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    assert!(error.full().contains("`/nowhere/token`"), "{}", error.full());
}

#[tokio::test]
async fn a_token_of_somebody_else_needs_a_person() {
    let azure = Azure::new().await;
    let other = Azure::new().await;
    let mut settings = azure.settings();
    settings.endpoints.authority.clone_from(&other.url);
    other.cloud.issue_token();
    let forgets = Arm::new(&settings).expect("good settings").list("/subscriptions", API).await;
    let error = forgets.expect_err("its tokens are not known here");
    assert!(matches!(&error, Error::Broken { .. }) && error.full().contains("401"), "{}", error.full());
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let azure = Azure::new().await;
    let (arm, path) = (azure.arm(), azure.rule("Ours"));
    azure.cloud.permit(Permissions { actions: Some(vec!["Microsoft.Network/*/read".to_owned()]) });
    let error = arm.put(&path, API, &allow(100), &Condition::None).await.expect_err("only reads");
    let Error::Broken { source, .. } = error else { panic!("{error:?}") };
    let forbidden = source.downcast::<Forbidden>().expect("typed");
    let write = "Microsoft.Network/networkSecurityGroups/securityRules/write";
    assert_eq!(forbidden.action.as_deref(), Some(write));
    let scope = forbidden.scope.as_deref().expect("a scope");
    assert!(scope.eq_ignore_ascii_case(&path), "{scope}");
}

#[tokio::test]
async fn no_token_goes_to_another_machine_in_clear() {
    let azure = Azure::new().await;
    for (arm, authority) in [("http://example.com", &*azure.url), (&*azure.url, "http://10.0.0.4:80")] {
        let mut settings = azure.settings();
        settings.endpoints.arm = arm.to_owned();
        settings.endpoints.authority = authority.to_owned();
        let error = Arm::new(&settings).expect_err("in clear");
        assert!(matches!(&error, Error::Broken { .. }), "{error:?}");
        assert!(error.full().contains("`http://") && error.full().contains("loopback"), "{}", error.full());
    }
    let metadata = Some("http://10.0.0.4".to_owned());
    let settings = azure.settings_as(Credentials::ManagedIdentity { client: None, metadata });
    assert!(matches!(Arm::new(&settings), Err(Error::Broken { .. })));
}

#[tokio::test]
async fn tls_is_trusted_by_its_root_only() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (root, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let tls = Tls::of(root.clone(), key).expect("serves");
    let azure = Azure::over(Some(tls), "https", "localhost").await;
    let trusting = Settings { roots: Roots::default().and_one(root), ..azure.settings() };
    let found = Arm::new(&trusting).expect("a root").list("/subscriptions", API).await;
    assert_eq!(found.expect("trusted").len(), 1);
    let path = azure.rule("Ours");
    let written = Arm::new(&trusting).expect("a root").put(&path, API, &allow(100), &Condition::None).await;
    written.expect("links are followed over TLS");

    let start = Instant::now();
    let error = azure.arm().list("/subscriptions", API).await.expect_err("not trusted");
    assert!(matches!(error, Error::Broken { .. }) && start.elapsed().as_secs() < 5, "{}", error.full());
    assert!(error.full().contains("`localhost` has no trusted certificate"), "{}", error.full());

    let rubbish = Settings { roots: Roots::default().and_one(vec![1, 2, 3]), ..azure.settings() };
    assert!(matches!(Arm::new(&rubbish), Err(Error::Broken { .. })));
}
