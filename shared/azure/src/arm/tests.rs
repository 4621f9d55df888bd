//! The client against a script, in time that passes by itself: how long everything takes is exact.

use super::*;
use crate::{Busy, Endpoints, Forbidden, NoToken, Refused};
use azure_core::{
    credentials::Secret,
    error::ErrorKind,
    http::{AsyncRawResponse, headers::Headers},
};
use portcullis_outgoing::Roots;
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
        roots: Roots::default(),
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
async fn a_persistent_failure_is_retried_until_the_deadline() {
    let (arm, seen) = scripted(|_, _| refuses(503, "ServerBusy"));
    let start = Instant::now();
    let error = arm.get(GROUP, API).await.expect_err("broken");
    assert!(is_unavailable(&error) && error.full().contains("503 `ServerBusy`"), "{}", error.full());
    assert!(start.elapsed() <= BUDGET);
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 200, 600, 1400, 3000, 5000, 7000, 9000, 11_000]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
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
    assert_eq!(times, [0, 500, 1000], "whatever `Retry-After` says");
}

/// What a resource says while it is written, and after.
fn state(state: &str) -> Scripted {
    says(200, json!({ "properties": { "provisioningState": state } }))
}

/// An accepted write, as Azure answers it.
fn accepted(status: u16) -> Scripted {
    let body = json!({ "properties": { "provisioningState": "Updating" } });
    let link =
        "https://management.azure.com/subscriptions/s/providers/Microsoft.Network/locations/l/operations/1";
    says(status, body).with("azure-asyncoperation", link).with("retry-after", "10")
}

#[tokio::test(start_paused = true)]
async fn a_write_is_verified_by_reading_its_resource_whatever_retry_after_says() {
    let (arm, seen) = scripted(|asked, nth| match (asked.starts_with("PUT"), nth) {
        (true, _) => accepted(201),
        (false, 0) => refuses(404, "ResourceNotFound"),
        (false, 1) => state("Updating").with("retry-after", "10"),
        (false, _) => state("Succeeded"),
    });
    put(&arm, "r").await.expect("done");
    let seen = seen.lock().expect("not poisoned").clone();
    assert_eq!(seen.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 500, 1000, 2000]);
    assert!(seen[1..].iter().all(|it| it.2 == format!("GET {}", rule("r"))), "{seen:?}");
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
async fn a_delete_is_verified_by_reading_that_the_resource_is_gone() {
    let link = "https://management.azure.com/subscriptions/s/operationResults/1";
    let (arm, seen) = scripted(move |asked, nth| match (asked.starts_with("DELETE"), nth) {
        (true, _) => says(202, Value::Null).with("location", link).with("retry-after", "10"),
        (false, 0) => state("Succeeded"),
        (false, 1) => state("Deleting"),
        (false, _) => refuses(404, "ResourceNotFound"),
    });
    arm.delete(&rule("r"), API, &Condition::None).await.expect("done");
    let times: Vec<u64> = seen.lock().expect("not poisoned").iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 500, 1000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_long_is_asked_about_by_its_operation_too() {
    let (arm, seen) = scripted(|asked, _| {
        if asked.starts_with("PUT") {
            return accepted(201);
        }
        if asked.contains("/operations/") {
            says(200, json!({ "status": "Succeeded" }))
        } else {
            state("Updating")
        }
    });
    put(&arm, "r").await.expect("it says that it is done: what is there is for the read-back");
    let seen = seen.lock().expect("not poisoned").clone();
    assert_eq!(seen.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 500, 1000, 2000, 2500, 2500]);
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
    let (arm, seen) = scripted(|_, _| state("Updating").with("retry-after", "10"));
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
    assert_eq!(times[..7], [0, 500, 1000, 2000, 2500, 3000, 4000]);
    assert_eq!(times[7..], [6000, 8000, 10_000, 11_500], "the last read leaves time for an answer");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_comes_to_nothing_says_who_acts_next() {
    let outcome = async |code: &'static str| {
        let (arm, _) = scripted(move |asked, _| {
            if asked.starts_with("PUT") {
                return accepted(201);
            }
            if asked.contains("/operations/") {
                return says(200, json!({ "status": "Failed", "error": { "code": code, "message": "no" } }));
            }
            state("Failed")
        });
        put(&arm, "r").await.expect_err("failed")
    };
    assert!(is_unavailable(&outcome("RetryableError").await));
    assert!(matches!(outcome("SecurityRuleConflict").await, Error::Conflict));
    let refused = source(outcome("InvalidSomething").await).downcast::<Refused>().expect("typed");
    assert_eq!(refused.code, "InvalidSomething");
    assert!(source(outcome("AuthorizationFailed").await).is::<Forbidden>());
}

/// When each write to `a` and `b` of one group, begun together, was sent and answered, and each read of it; `c`
/// is of another group.
async fn written_together(is_busy_at_first: bool) -> impl Fn(&str) -> Vec<(u64, u64)> {
    let (arm, seen) = scripted(move |asked, nth| match (asked.starts_with("PUT"), nth) {
        (true, 0) if is_busy_at_first && asked.ends_with("/a") => {
            refuses(429, "RetryableError").with("retry-after", "10").taking(1000)
        }
        (true, _) => accepted(201).taking(1000),
        (false, _) => state("Succeeded").taking(1000),
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
async fn a_write_to_one_group_is_sent_once_the_one_before_it_is_done() {
    let of = written_together(false).await;
    assert_eq!(of(&format!("PUT {}", rule("a"))), [(0, 1000)]);
    assert_eq!(of(&format!("GET {}", rule("a"))), [(1500, 2500)]);
    assert_eq!(of(&format!("PUT {}", rule("b"))), [(2500, 3500)]);
    assert_eq!(of("/other/"), [(0, 1000), (1500, 2500)], "another group is nobody's business");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_meets_the_operation_of_another_process_keeps_its_turn() {
    let of = written_together(true).await;
    assert_eq!(of(&format!("PUT {}", rule("a"))), [(0, 1000), (1500, 2500)], "with its second try");
    assert_eq!(of(&format!("GET {}", rule("a"))), [(3000, 4000)]);
    assert_eq!(of(&format!("PUT {}", rule("b"))), [(4000, 5000)]);
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
    let (arm, seen) = scripted(|asked, _| {
        if asked.starts_with("PUT") {
            says(201, Value::Null).with("azure-asyncoperation", "https://example.com/o")
        } else {
            says(200, json!({ "value": [1], "nextLink": "https://example.com/next" }))
        }
    });
    let error = arm.list(GROUP, API).await.expect_err("a foreign link");
    assert!(error.full().contains("`https://example.com/next`"), "{}", error.full());
    put(&arm, "r").await.expect("its resource says that it is done");
    assert!(seen.lock().expect("not poisoned").iter().all(|it| !it.2.ends_with("/o")));
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
async fn an_answer_without_json_is_reported() {
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
async fn a_cancelled_caller_releases_its_turn() {
    let (arm, _) = scripted(|_, nth| if nth == 0 { silence(3_600_000) } else { says(200, json!({})) });
    assert!(timeout(Duration::from_secs(1), put(&arm, "a")).await.is_err(), "its worker died");
    put(&arm, "a").await.expect("nobody is in the way");
}

/// A client whose first token is refused, and how many tokens were asked for.
fn refused_once(is_new: bool) -> (Arm, Arc<AtomicUsize>) {
    let tokens: Arc<AtomicUsize> = Arc::default();
    let (asked_for, start) = (Arc::clone(&tokens), Instant::now());
    let answers = move |asked: &str, nth| {
        if asked.contains("/oauth2/") {
            let n = if is_new {
                asked_for.fetch_add(1, Ordering::SeqCst)
            } else {
                asked_for.load(Ordering::SeqCst)
            };
            let token = format!("token-{n}");
            return says(200, json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": token }));
        }
        if nth == 0 { refuses(401, "InvalidAuthenticationToken") } else { says(200, json!({})) }
    };
    let script = Script { start, answers, counts: Mutex::default(), seen: Arc::default() };
    (over(Arc::new(script)), tokens)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_before_its_end_is_replaced_and_the_call_made_once_more() {
    let (arm, tokens) = refused_once(true);
    let start = Instant::now();
    arm.get(GROUP, API).await.expect("the second token");
    assert_eq!((tokens.load(Ordering::SeqCst), start.elapsed()), (2, Duration::ZERO));
    arm.get(GROUP, API).await.expect("the same token");
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_the_same_again_is_not_sent_again() {
    let (arm, _) = refused_once(false);
    let refused = arm.get(GROUP, API).await.expect_err("nothing else is to be had");
    assert!(refused.full().contains("401 `InvalidAuthenticationToken`"), "{}", refused.full());
}
