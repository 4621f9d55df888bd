//! The client against a script, in time that passes by itself: how long everything takes is exact.

use super::*;
use crate::{Busy, Endpoints, Forbidden, NoToken, Refused};
use azure_core::{
    credentials::Secret,
    error::ErrorKind,
    http::{AsyncRawResponse, headers::Headers},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;

const API: &str = "2024-05-01";
const GROUP: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n";

/// What is answered after a while; no status is no answer.
struct Scripted {
    millis: u64,
    status: Option<u16>,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

fn says(status: u16, body: Value) -> Scripted {
    Scripted { millis: 0, status: Some(status), headers: vec![], body }
}

impl Scripted {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn taking(self, millis: u64) -> Self {
        Self { millis, ..self }
    }
}

fn refuses(status: u16, code: &str) -> Scripted {
    says(status, json!({ "error": { "code": code, "message": "no" } }))
}

fn silence(millis: u64) -> Scripted {
    Scripted { millis, status: None, ..says(0, Value::Null) }
}

fn token() -> Scripted {
    says(200, json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": "the-token" }))
}

/// A request: when it was sent, when it was answered, and what it was.
type Seen = (u64, u64, String);

/// Answers as it is told: `answers` gets what is asked, and how often the same was asked before.
struct Script<F> {
    start: Instant,
    answers: F,
    counts: Mutex<std::collections::BTreeMap<String, usize>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl<F> fmt::Debug for Script<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait::async_trait]
impl<F: Fn(&str, usize) -> Scripted + Send + Sync> HttpClient for Script<F> {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let asked = format!("{} {}", request.method(), request.url().path());
        let nth = {
            let mut counts = self.counts.lock().expect("not poisoned");
            let count = counts.entry(asked.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let millis = || u64::try_from(self.start.elapsed().as_millis()).expect("fits");
        let sent = millis();
        let Scripted { millis: takes, status, headers, body } = (self.answers)(&asked, nth);
        sleep(Duration::from_millis(takes)).await;
        if !asked.contains("/oauth2/") {
            self.seen.lock().expect("not poisoned").push((sent, millis(), asked));
        }
        let nobody = || azure_core::Error::with_message(ErrorKind::Io, "nobody answered");
        let status = status.ok_or_else(nobody)?;
        let mut all = Headers::new();
        for (name, value) in headers {
            all.insert(name, value);
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), all, body.to_string()))
    }
}

fn settings() -> Settings {
    let (tenant, client) = ("tenant".to_owned(), "client".to_owned());
    Settings {
        endpoints: Endpoints::public(),
        credentials: Credentials::ClientSecret { tenant, client, secret: Secret::new("the-secret") },
        extra_root: None,
    }
}

/// A client over this.
fn over(http: Arc<dyn HttpClient>) -> Arm {
    let settings = settings();
    let endpoint = |text: &str| Endpoint::of(text).expect("an endpoint");
    let (arm, authority) = (endpoint(&settings.endpoints.arm), endpoint(&settings.endpoints.authority));
    Arm::over(&settings, arm, &authority, http).expect("good settings")
}

/// A client of a script, and what the script saw. Tokens are always to be had.
fn scripted(
    answers: impl Fn(&str, usize) -> Scripted + Send + Sync + 'static,
) -> (Arm, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::default();
    let answers =
        move |asked: &str, nth| if asked.contains("/oauth2/") { token() } else { answers(asked, nth) };
    let script = Script { start: Instant::now(), answers, counts: Mutex::default(), seen: Arc::clone(&seen) };
    (over(Arc::new(script)), seen)
}

fn rule(name: &str) -> String {
    format!("{GROUP}/securityRules/{name}")
}

fn source(error: Error) -> BoxError {
    match error {
        Error::Unavailable { source, .. } | Error::Broken { source, .. } => source,
        Error::Refused(_) | Error::NotFound { .. } | Error::Conflict => panic!("{error:?}"),
    }
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. })
}

async fn put(arm: &Arm, name: &str) -> Result<(), Error> {
    arm.put(&rule(name), API, &json!({ "properties": {} }), &Condition::None).await
}

#[tokio::test(start_paused = true)]
async fn a_short_retry_after_is_waited_for() {
    let (arm, seen) = scripted(|_, nth| match nth {
        0 => refuses(429, "TooManyRequests").with("retry-after", "5"),
        _ => says(200, json!({ "name": "n" })),
    });
    let found = arm.get(GROUP, API).await.expect("the second try");
    assert_eq!(found, Some(json!({ "name": "n" })));
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 5000]);
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_ends_the_call_at_once() {
    let (arm, seen) = scripted(|_, _| refuses(429, "TooManyRequests").with("retry-after", "60"));
    let start = Instant::now();
    let error = arm.get(GROUP, API).await.expect_err("throttled");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);
    assert!(is_unavailable(&error));
    assert_eq!(error.full(), "could not read from Azure: 429 `TooManyRequests`: no (Retry-After: 60 s)");
    let busy = source(error).downcast::<Busy>().expect("typed");
    assert_eq!(busy.after, Some(Duration::from_mins(1)));
}

#[tokio::test(start_paused = true)]
async fn what_stays_broken_is_tried_until_the_time_is_over() {
    let (arm, seen) = scripted(|_, _| refuses(503, "ServerBusy"));
    let start = Instant::now();
    let error = arm.get(GROUP, API).await.expect_err("broken");
    assert!(is_unavailable(&error) && error.full().contains("503 `ServerBusy`"), "{}", error.full());
    assert!(start.elapsed() <= BUDGET);
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 200, 600, 1400, 3000, 5000, 7000, 9000, 11_000]);
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_is_left_when_the_time_is_over() {
    let (arm, _) = scripted(|_, _| silence(3_600_000));
    let start = Instant::now();
    let error = arm.get(GROUP, API).await.expect_err("no answer");
    assert_eq!(start.elapsed(), BUDGET);
    assert!(is_unavailable(&error) && source(error).is::<OutOfTime>());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again() {
    let (arm, seen) = scripted(|_, nth| if nth < 2 { silence(10) } else { says(200, json!({})) });
    arm.get(GROUP, API).await.expect("the third try");
    assert_eq!(seen.lock().expect("not poisoned").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn another_operation_is_waited_for() {
    let (arm, seen) = scripted(|_, nth| match nth {
        0 => refuses(409, "AnotherOperationInProgress").with("retry-after", "10"),
        1 => refuses(429, "RetryableError"),
        _ => says(200, json!({})),
    });
    put(&arm, "r").await.expect("the third try");
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 10_000, 10_400]);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_followed_to_its_end() {
    let operation = "/subscriptions/s/providers/Microsoft.Network/locations/l/operations/1";
    let link = format!("https://management.azure.com{operation}?api-version={API}");
    let (arm, seen) = scripted(move |asked, nth| match (asked.starts_with("PUT"), nth) {
        (true, _) => says(201, json!({ "properties": { "provisioningState": "Updating" } }))
            .with("azure-asyncoperation", &link),
        (false, 0) => says(200, json!({ "status": "InProgress" })),
        (false, 1) => says(200, json!({ "status": "InProgress" })).with("retry-after", "3"),
        (false, _) => says(200, json!({ "status": "Succeeded" })),
    });
    put(&arm, "r").await.expect("done");
    let seen = seen.lock().expect("not poisoned").clone();
    let times: Vec<u64> = seen.iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 50, 300, 3300]);
    assert!(seen[1..].iter().all(|it| it.2 == format!("GET {operation}")), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_link_is_followed_at_its_resource() {
    let (arm, seen) = scripted(|asked, nth| match (asked.starts_with("PUT"), nth) {
        (false, 0) => refuses(404, "ResourceNotFound"),
        (true, _) | (false, 1) => says(200, json!({ "properties": { "provisioningState": "Updating" } })),
        (false, _) => says(200, json!({ "properties": { "provisioningState": "Succeeded" } })),
    });
    put(&arm, "r").await.expect("done");
    assert_eq!(seen.lock().expect("not poisoned").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_followed_at_its_location() {
    let link = "https://management.azure.com/subscriptions/s/operationResults/1";
    let (arm, seen) = scripted(move |asked, nth| match (asked.starts_with("DELETE"), nth) {
        (true, _) => says(202, Value::Null).with("location", link).with("retry-after", "1"),
        (false, 0) => says(202, Value::Null).with("retry-after", "1"),
        (false, _) => says(204, Value::Null),
    });
    arm.delete(&rule("r"), API, &Condition::None).await.expect("done");
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 1000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn the_absent_is_deleted_already() {
    for status in [204, 404] {
        let (arm, _) = scripted(move |_, _| refuses(status, "ResourceNotFound"));
        arm.delete(&rule("r"), API, &Condition::None).await.expect("gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_slow_is_still_under_way() {
    let (arm, seen) = scripted(|asked, _| {
        if asked.starts_with("PUT") {
            says(200, json!({ "properties": { "provisioningState": "Updating" } }))
        } else {
            {
                says(200, json!({ "properties": { "provisioningState": "Updating" } }))
                    .with("retry-after", "10")
            }
        }
    });
    let start = Instant::now();
    let error = put(&arm, "r").await.expect_err("slow");
    assert!(start.elapsed() <= BUDGET);
    assert!(is_unavailable(&error), "{error:?}");
    assert_eq!(
        error.full(),
        "could not write to Azure: the write was accepted and is still under way after 12 s"
    );
    assert!(source(error).is::<UnderWay>());
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 50, 10_050, 11_500], "the last look leaves time for an answer");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_comes_to_nothing_says_who_acts_next() {
    let outcome = async |code: &'static str| {
        let (arm, _) = scripted(move |asked, _| {
            if asked.starts_with("PUT") {
                return says(201, Value::Null).with("azure-asyncoperation", "https://management.azure.com/o");
            }
            says(200, json!({ "status": "Failed", "error": { "code": code, "message": "no" } }))
        });
        put(&arm, "r").await.expect_err("failed")
    };
    assert!(is_unavailable(&outcome("RetryableError").await));
    assert!(matches!(outcome("SecurityRuleConflict").await, Error::Conflict));
    let refused = source(outcome("InvalidSomething").await).downcast::<Refused>().expect("typed");
    assert_eq!(refused.code, "InvalidSomething");
    assert!(source(outcome("AuthorizationFailed").await).is::<Forbidden>());
}

/// When each write to `a` and `b` of one group, begun together, was sent and answered, and each look at it; `c`
/// is of another group.
async fn written_together(is_busy_at_first: bool) -> impl Fn(&str) -> Vec<(u64, u64)> {
    let (arm, seen) = scripted(move |asked, nth| match (asked.starts_with("PUT"), nth) {
        (true, 0) if is_busy_at_first && asked.ends_with("/a") => {
            refuses(409, "AnotherOperationInProgress").taking(1000)
        }
        (true, _) => says(201, json!({ "properties": { "provisioningState": "Updating" } }))
            .with("retry-after", "2")
            .taking(1000),
        (false, _) => says(200, json!({ "properties": { "provisioningState": "Succeeded" } })).taking(1000),
    });
    let elsewhere = rule("c").replace("/n/", "/other/");
    let body = json!({});
    let c = arm.put(&elsewhere, API, &body, &Condition::None);
    let (a, b, c) = tokio::join!(put(&arm, "a"), put(&arm, "b"), c);
    a.and(b).and(c).expect("all done");
    let seen = seen.lock().expect("not poisoned").clone();
    move |what: &str| seen.iter().filter(|it| it.2.contains(what)).map(|it| (it.0, it.1)).collect()
}

#[tokio::test(start_paused = true)]
async fn writes_to_one_parent_are_sent_one_after_another_and_watched_side_by_side() {
    let of = written_together(false).await;
    assert_eq!(of(&format!("PUT {}", rule("a"))), [(0, 1000)]);
    assert_eq!(of(&format!("PUT {}", rule("b"))), [(1000, 2000)], "after the first was accepted");
    assert_eq!(of("/other/"), [(0, 1000), (3000, 4000)], "another group is nobody's business");
    assert_eq!(of(&format!("GET {}", rule("a"))), [(3000, 4000)]);
    assert_eq!(of(&format!("GET {}", rule("b"))), [(4000, 5000)], "the waits overlap");
}

#[tokio::test(start_paused = true)]
async fn where_one_operation_at_a_time_is_taken_a_turn_lasts_until_it_is_done() {
    let of = written_together(true).await;
    assert_eq!(of(&format!("PUT {}", rule("a"))), [(0, 1000), (1200, 2200)], "with its second try");
    assert_eq!(of(&format!("GET {}", rule("a"))), [(4200, 5200)]);
    assert_eq!(of(&format!("PUT {}", rule("b"))), [(5200, 6200)], "once, and not before the first is done");
    assert_eq!(of("/other/"), [(0, 1000), (3000, 4000)]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_counts() {
    let (arm, _) = scripted(|_, _| silence(3_600_000));
    let start = Instant::now();
    let (a, b) = tokio::join!(put(&arm, "a"), put(&arm, "b"));
    assert!(is_unavailable(&a.expect_err("silence")) && is_unavailable(&b.expect_err("no turn")));
    assert_eq!(start.elapsed(), BUDGET);
}

#[tokio::test(start_paused = true)]
async fn no_link_leads_away() {
    let (arm, _) = scripted(|asked, _| {
        if asked.starts_with("PUT") {
            says(201, Value::Null).with("azure-asyncoperation", "https://example.com/o")
        } else {
            says(200, json!({ "value": [1], "nextLink": "https://example.com/next" }))
        }
    });
    let error = arm.list(GROUP, API).await.expect_err("a foreign link");
    assert!(error.full().contains("`https://example.com/next`"), "{}", error.full());
    let error = put(&arm, "r").await.expect_err("a foreign link");
    assert!(matches!(&error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_have_an_end() {
    let (arm, seen) =
        scripted(|_, _| says(200, json!({ "value": [1], "nextLink": "https://management.azure.com/next" })));
    assert!(matches!(arm.list(GROUP, API).await, Err(Error::Broken { .. })));
    assert_eq!(seen.lock().expect("not poisoned").len(), PAGES_MAX);
    let (arm, _) = scripted(|_, _| says(200, json!({ "data": [1], "resultTruncated": "true" })));
    assert!(matches!(arm.graph(&[], "Resources").await, Err(Error::Broken { .. })), "rows are missing");
}

#[tokio::test(start_paused = true)]
async fn what_is_odd_is_said() {
    let (arm, _) = scripted(|_, _| says(200, Value::Null));
    for error in [
        arm.get(GROUP, API).await.map(drop).expect_err("no JSON"),
        arm.list(GROUP, API).await.map(drop).expect_err("no JSON"),
        arm.graph(&[], "Resources").await.map(drop).expect_err("no JSON"),
    ] {
        assert!(error.full().contains("has no JSON"), "{}", error.full());
    }
    let (arm, _) = scripted(|_, _| says(200, json!([1])));
    assert!(matches!(arm.list(GROUP, API).await, Err(Error::Broken { .. })), "no object");
    assert!(matches!(arm.graph(&[], "Resources").await, Err(Error::Broken { .. })), "no object");
    assert!(matches!(arm.get("/a/../b", API).await, Err(Error::Broken { .. })), "no path");
    let (arm, _) = scripted(|_, _| refuses(404, "ResourceNotFound"));
    assert_eq!(arm.get(GROUP, API).await.expect("nothing"), None);
    assert!(matches!(arm.list(GROUP, API).await, Err(Error::NotFound { .. })));
    let missing = put(&arm, "r").await.expect_err("no group");
    assert!(matches!(&missing, Error::NotFound { name, .. } if *name == GROUP.to_ascii_lowercase()));
}

#[tokio::test(start_paused = true)]
async fn vitals_are_what_was_heard_last() {
    let (arm, _) = scripted(|_, nth| match nth {
        0 => says(200, json!({}))
            .with("date", "Thu, 01 Jan 2026 00:00:00 GMT")
            .with("x-ms-ratelimit-remaining-subscription-reads", "249"),
        _ => says(200, json!({})).with("x-ms-ratelimit-remaining-subscription-writes", "99"),
    });
    assert_eq!(arm.vitals(), Vitals::default());
    arm.get(GROUP, API).await.expect("there");
    sleep(Duration::from_secs(10)).await;
    arm.get(GROUP, API).await.expect("there");
    let vitals = arm.vitals();
    assert_eq!((vitals.reads_left, vitals.writes_left), (Some(249), Some(99)));
    let now = "2026-01-01T00:00:13Z".parse().expect("a time");
    assert_eq!(vitals.skew(now), Some(SignedDuration::from_secs(3)));
    assert_eq!(Vitals::default().skew(now), None);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_refused_needs_a_person_and_one_that_is_busy_needs_time() {
    let login = async |status: u16| {
        let answers =
            move |_: &str, _| says(status, json!({ "error_codes": [7], "error_description": "no\nwords" }));
        let start = Instant::now();
        let script = Script { start, answers, counts: Mutex::default(), seen: Arc::default() };
        let arm = over(Arc::new(script));
        arm.get(GROUP, API).await.expect_err("no token")
    };
    let refused = login(401).await;
    assert!(matches!(&refused, Error::Broken { .. }), "{refused:?}");
    let line = refused.full();
    assert!(line.contains("no words") && !line.contains('\n') && !line.contains("the-secret"), "{line}");
    assert!(source(refused).is::<NoToken>());
    assert!(is_unavailable(&login(503).await));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_printed_has_a_secret() {
    let (arm, _) = scripted(|_, _| says(200, json!({})));
    arm.get(GROUP, API).await.expect("there");
    for shown in [format!("{:?}", settings()), format!("{arm:?}")] {
        assert!(!shown.contains("the-secret") && !shown.contains("the-token"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_once() {
    static TOKENS: AtomicUsize = AtomicUsize::new(0);
    let answers = |asked: &str, _| {
        if asked.contains("/oauth2/") {
            TOKENS.fetch_add(1, Ordering::SeqCst);
            return token();
        }
        says(200, json!({}))
    };
    let start = Instant::now();
    let script = Script { start, answers, counts: Mutex::default(), seen: Arc::default() };
    let arm = over(Arc::new(script));
    let asked = tokio::join!(arm.get(GROUP, API), arm.get(GROUP, API));
    assert!(asked.0.is_ok() && asked.1.is_ok());
    arm.clone().get(GROUP, API).await.expect("there");
    assert_eq!(TOKENS.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_gives_up_the_turn() {
    let (arm, _) = scripted(|_, nth| if nth == 0 { silence(3_600_000) } else { says(200, json!({})) });
    assert!(timeout(Duration::from_secs(1), put(&arm, "a")).await.is_err(), "its worker died");
    put(&arm, "a").await.expect("nobody is in the way");
}
