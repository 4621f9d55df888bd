//! The wire between functions and an emulator: what is said there is passed on, and written down.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, OnceLock, mpsc::channel},
    thread,
};
use tokio::net::TcpListener;

/// How long a body may be, in bytes.
pub(super) const BODY_MAX: usize = 64 << 20;
/// What is said of a connection, and not of what is asked over it.
const OF_A_CONNECTION: [header::HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::EXPECT, header::HOST, header::TRANSFER_ENCODING];

/// See the module. It is heard as long as the program runs.
#[derive(Debug, Clone)]
pub struct Wire {
    url: String,
    line: Arc<Line>,
}

/// A call of AWS.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whom it is to, as AWS's signature names it: `dynamodb`, `events`, `sts`, `s3`.
    pub service: String,
    /// What is asked, such as `GetItem`; of S3 the method.
    pub operation: String,
    /// With what; null where that is no JSON.
    pub with: Value,
    /// The status of its answer.
    pub status: u16,
    /// What DynamoDB says that it consumed, in request units, where it was asked for that.
    pub consumed: f64,
}

#[derive(Debug, Default)]
struct Line {
    upstream: OnceLock<String>,
    agent: OnceLock<ureq::Agent>,
    asks_for_units: bool,
    heard: Mutex<Vec<Call>>,
}

impl Wire {
    /// On loopback, leading nowhere yet.
    pub fn listen() -> Self {
        Self::on(Line::default())
    }

    /// The same, on which DynamoDB is asked also what each call consumes. It changes what was signed, so nobody
    /// who verifies signatures can stand behind it.
    pub fn measuring() -> Self {
        Self::on(Line { asks_for_units: true, ..Line::default() })
    }

    fn on(line: Line) -> Self {
        let line = Arc::new(line);
        Self { url: serve(Router::new().fallback(pass).with_state(Arc::clone(&line))), line }
    }

    /// Where functions are to call.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on calls go there. Once.
    pub fn lead_to(&self, upstream: &str) {
        self.line.upstream.set(upstream.to_owned()).expect("it leads nowhere yet");
    }

    /// What was answered so far, in the order of the answers.
    pub fn calls(&self) -> Vec<Call> {
        self.line.heard.lock().expect("not poisoned").clone()
    }
}

/// On loopback, as long as the program runs; gives where.
pub(super) fn serve(router: Router) -> String {
    let (heard, address) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            heard.send(listener.local_addr().expect("an address")).expect("somebody waits");
            axum::serve(listener, router).await.expect("serves");
        });
    });
    format!("http://{}", address.recv().expect("it listens"))
}

async fn pass(State(line): State<Arc<Line>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let passed = tokio::task::spawn_blocking(move || line.pass(&head, &body));
    // Whoever calls tries again, as with any answer that is lost on the way.
    passed.await.ok().and_then(Result::ok).unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response())
}

impl Line {
    fn pass(&self, head: &Parts, body: &[u8]) -> Result<Response, ureq::Error> {
        let upstream = self.upstream.get().expect("it leads somewhere");
        let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
        let mut request =
            ureq::http::Request::builder().method(&head.method).uri(format!("{upstream}{path}"));
        for (name, value) in of_the_call(&head.headers) {
            request = request.header(name, value);
        }
        let agent = self.agent.get_or_init(|| {
            ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent()
        });
        let (service, operation) = asked(&head.headers, &head.method, body);
        let with: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut said = body.to_vec();
        if self.asks_for_units && service == "dynamodb" {
            let mut more = with.clone();
            more["ReturnConsumedCapacity"] = json!("TOTAL");
            said = more.to_string().into_bytes();
        }
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
        let mut answer = if has_body {
            agent.run(request.body(said).expect("it was a request"))?
        } else {
            agent.run(request.body(()).expect("it was a request"))?
        };
        let given = answer.body_mut().read_to_vec()?;
        let consumed = consumed(&serde_json::from_slice(&given).unwrap_or_default());
        let call = Call { service, operation, with, status: answer.status().as_u16(), consumed };
        self.heard.lock().expect("not poisoned").push(call);
        let mut response = Response::builder().status(answer.status());
        for (name, value) in of_the_call(answer.headers()) {
            response = response.header(name, value);
        }
        Ok(response.body(Body::from(given)).expect("it was a response"))
    }
}

/// By an answer: for one table, or for each.
fn consumed(answer: &Value) -> f64 {
    let all = &answer["ConsumedCapacity"];
    let tables = all.as_array().map_or(std::slice::from_ref(all), Vec::as_slice);
    tables.iter().filter_map(|it| it["CapacityUnits"].as_f64()).sum()
}

fn of_the_call(headers: &HeaderMap) -> impl Iterator<Item = (&header::HeaderName, &header::HeaderValue)> {
    headers.iter().filter(|(name, _)| !OF_A_CONNECTION.contains(name))
}

/// The service, as the signature names it, and the operation.
pub(super) fn asked(headers: &HeaderMap, method: &Method, body: &[u8]) -> (String, String) {
    let text =
        |name| headers.get(name).and_then(|it: &header::HeaderValue| it.to_str().ok()).unwrap_or_default();
    // `AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/dynamodb/aws4_request, …`
    let service = text("authorization").split('/').nth(3).unwrap_or_default().to_owned();
    if let Some((_, operation)) = text("x-amz-target").rsplit_once('.') {
        return (service, operation.to_owned());
    }
    let form = String::from_utf8_lossy(body);
    let action = form.split('&').find_map(|it| it.strip_prefix("Action="));
    (service, action.unwrap_or(method.as_str()).to_owned())
}
