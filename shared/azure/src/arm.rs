//! Azure Resource Manager, asked through the pipeline of `azure_core`.
//!
//! The pipeline brings tokens and ids of requests. It tries nothing twice: its own policy
//! sleeps for whatever `Retry-After` says, without an end, so the tries are made here, within [`BUDGET`].

use crate::{
    BUDGET, Credentials, Settings,
    answer::Answer,
    bearer::Bearer,
    endpoint::Endpoint,
    login::Login,
    operation::{Goal, Progress},
    refused::{Failure, OutOfTime, Said, UnderWay},
    retry::{VERIFY_MIN, next_read, next_try, next_turn},
    transport::Transport,
    turns::{Rank, Turns, changed},
};
use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    http::{
        ClientOptions, Context, HttpClient, Method, Pipeline, PipelineSendOptions, Request, RetryOptions,
        Url,
        headers::{ACCEPT, CONTENT_TYPE, IF_MATCH},
    },
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{BoxError, Error};
use portcullis_domain::{Cause, Delay, Hindrance};
use portcullis_outgoing::Proxies;
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};

/// What of Azure Resource Graph is asked. <https://learn.microsoft.com/rest/api/azureresourcegraph>
const GRAPH: (&str, &str) = ("/providers/Microsoft.ResourceGraph/resources", "2022-10-01");
/// How many rows a page of Azure Resource Graph has at most.
/// <https://learn.microsoft.com/azure/governance/resource-graph/concepts/paging-results>
const GRAPH_PAGE: usize = 1000;
/// How many pages a list may have. The time is over before most lists are this long.
const PAGES_MAX: usize = 500;
/// How often a write is sent over an etag that has changed without what it stands for.
const RENEWALS_MAX: usize = 3;
/// After how many reads a write that is still under way is asked about by its operation too.
const EXPLAINED_AFTER: u32 = 4;
/// An answer that takes longer than that is slow: what a closing may take, with all of its calls.
const LONG: Duration = Duration::from_secs(2);
/// Calls that meet the same within that time are one time in which they did.
const SAME: Duration = Duration::from_secs(30);
const READ: &str = "read from Azure";
const LIST: &str = "list in Azure";
const QUERY: &str = "query Azure Resource Graph";
const WRITE: &str = "write to Azure";
const DELETE: &str = "delete from Azure";

impl fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, condition, rank, .. } = self;
        let mut shown = f.debug_struct("Write");
        shown.field("path", path).field("condition", condition).field("rank", rank).finish_non_exhaustive()
    }
}

/// Asks Azure Resource Manager. Clones are cheap, and share connections, tokens and turns.
#[derive(Clone)]
pub struct Arm(Arc<Inner>);

struct Inner {
    pipeline: Pipeline,
    endpoint: Endpoint,
    /// Azure takes one operation at a time on a resource: a writer keeps its turn until its write is done.
    turns: Turns,
    heard: Mutex<Heard>,
}

/// What a write demands of what is there.
///
/// A try whose answer was lost may have been done. It is made again all the same, and where it was
/// conditional, it may then meet what it did itself: [`Error::Conflict`], and whoever looks again sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// That it still has this etag.
    Match(String),
    /// That it is not there.
    Absent,
}

/// What a write finds whose condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What it was to make.
    Done,
    /// What was read before it, by another etag: where rules share their group's, any write changes it.
    AsRead(Option<String>),
    /// Something else: somebody was there.
    Other,
}

/// Says what is made of what is there; nothing where there is nothing.
pub type Judge<'a> = &'a (dyn Fn(Option<&Value>) -> Found + Sync);

/// When a write was first sent: nothing before its turn.
pub type Sent = OnceLock<Instant>;

/// A write of one resource.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// Absolute below the endpoint, such as `/subscriptions/…`.
    pub path: &'a str,
    /// The version of that part of the API.
    pub api: &'static str,
    /// What it shall say; none to delete it.
    pub body: Option<&'a Value>,
    /// What it demands of what is there.
    pub condition: &'a Condition,
    /// Says what to make of what is there instead, where the condition does not hold. Without it that is
    /// [`Error::Conflict`].
    pub judge: Option<Judge<'a>>,
    /// Which writes to the same resource, or to its children, wait for this one.
    pub rank: Rank,
}

impl Arm {
    /// A client. Nothing is asked yet.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let endpoint = |text: &str| Endpoint::of(text).map_err(unusable);
        let metadata = match &settings.credentials {
            Credentials::ManagedIdentity { metadata: Some(metadata), .. } => Some(endpoint(metadata)?),
            Credentials::ManagedIdentity { metadata: None, .. }
            | Credentials::Assertion { .. }
            | Credentials::WorkloadIdentity { .. }
            | Credentials::ClientSecret { .. }
            | Credentials::DeveloperTools => None,
        };
        let (arm, authority) = (endpoint(&settings.endpoints.arm)?, endpoint(&settings.endpoints.authority)?);
        let clear = [&arm, &authority].into_iter().filter_map(Endpoint::clear).collect();
        let metadata = metadata.map(|it| {
            it.clear().ok_or_else(|| {
                unusable(
                    "tokens of managed identities are requested over \
                `http://`",
                )
            })
        });
        let transport =
            Transport::new(clear, metadata.transpose()?, &settings.roots, Proxies::of_environment());
        Self::over(settings, arm, &authority, Arc::new(transport.map_err(unusable)?))
    }

    fn over(
        settings: &Settings,
        endpoint: Endpoint,
        authority: &Endpoint,
        http: Arc<dyn HttpClient>,
    ) -> Result<Self, Error> {
        let mut cloud = CustomConfiguration::default();
        authority.shown().as_str().clone_into(&mut cloud.authority_host);
        let options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(azure_core::http::Transport::new(http)),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        };
        let login = Login::new(settings.credentials.clone(), options.clone());
        let bearer = Bearer::new(login, settings.endpoints.scope());
        let bearer = bearer.map_err(|it| Failure::unanswered(&it).into_error("log in to Azure"))?;
        let (name, version) = (Some(env!("CARGO_PKG_NAME")), Some(env!("CARGO_PKG_VERSION")));
        let pipeline = Pipeline::new(name, version, options, vec![], vec![Arc::new(bearer)], None);
        let (turns, heard) = (Turns::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { pipeline, endpoint, turns, heard })))
    }

    /// GET; none for 404. `path` is absolute below the endpoint, such as `/subscriptions/…`.
    pub async fn get(&self, path: &str, api: &'static str) -> Result<Option<Value>, Error> {
        let request = self.request(Method::Get, path, api, READ)?;
        let answer = self.ask(&request, in_budget()).await.map_err(|it| it.into_error(READ))?;
        if answer.status == 404 { Ok(None) } else { body(answer, READ).map(Some) }
    }

    /// All pages of a list.
    pub async fn list(&self, path: &str, api: &'static str) -> Result<Vec<Value>, Error> {
        let until = in_budget();
        let mut request = self.request(Method::Get, path, api, LIST)?;
        let mut all = vec![];
        for _ in 0..PAGES_MAX {
            let answer = self.ask(&request, until).await.map_err(|it| it.into_error(LIST))?;
            if answer.status == 404 {
                return Err(Error::NotFound { what: "resource in Azure", name: path.to_owned() });
            }
            let mut page = body(answer, LIST)?;
            all.extend(items(&mut page, "value").ok_or_else(|| odd(LIST, "`value`"))?);
            match page["nextLink"].as_str().filter(|it| !it.is_empty()) {
                Some(next) => request = asking(Method::Get, self.link(next, LIST)?),
                None => return Ok(all),
            }
        }
        Err(too_long(LIST))
    }

    /// All pages of a list that is asked for by POST, with the token of the next page in the body.
    pub async fn list_by_post(&self, path: &str, api: &'static str) -> Result<Vec<Value>, Error> {
        let until = in_budget();
        let (mut asked, mut all) = (json!({}), vec![]);
        for _ in 0..PAGES_MAX {
            let mut request = self.request(Method::Post, path, api, LIST)?;
            set_body(&mut request, &asked);
            let answer = self.ask(&request, until).await.map_err(|it| it.into_error(LIST))?;
            if answer.status == 404 {
                return Err(Error::NotFound { what: "resource in Azure", name: path.to_owned() });
            }
            let mut page = body(answer, LIST)?;
            all.extend(items(&mut page, "value").ok_or_else(|| odd(LIST, "`value`"))?);
            match page["skipToken"].as_str().filter(|it| !it.is_empty()) {
                Some(token) => asked["skipToken"] = json!(token),
                None => return Ok(all),
            }
        }
        Err(too_long(LIST))
    }

    /// All rows of a query of Azure Resource Graph, as objects; no subscription means every one that the
    /// identity sees. The query orders by `id`, so that no row is missed between pages.
    pub async fn graph(&self, subscriptions: &[String], query: &str) -> Result<Vec<Value>, Error> {
        let until = in_budget();
        let (path, api) = GRAPH;
        let mut asked = json!({
            "query": query, "options": { "resultFormat": "objectArray", "$top": GRAPH_PAGE },
        });
        if !subscriptions.is_empty() {
            asked["subscriptions"] = json!(subscriptions);
        }
        let mut all = vec![];
        for _ in 0..PAGES_MAX {
            let mut request = self.request(Method::Post, path, api, QUERY)?;
            set_body(&mut request, &asked);
            let answer = self.ask(&request, until).await.map_err(|it| it.into_error(QUERY))?;
            let mut page = body(answer, QUERY)?;
            all.extend(items(&mut page, "data").ok_or_else(|| odd(QUERY, "`data`"))?);
            match page["$skipToken"].as_str().filter(|it| !it.is_empty()) {
                Some(token) => asked["options"]["$skipToken"] = json!(token),
                // Rows are missing that cannot be asked for: the query has a limit, or no `id`.
                None if page["resultTruncated"] == "true" => return Err(too_long(QUERY)),
                None => return Ok(all),
            }
        }
        Err(too_long(QUERY))
    }

    /// PUT as [`Arm::write`] does it.
    pub async fn put(
        &self,
        path: &str,
        api: &'static str,
        body: &Value,
        condition: &Condition,
    ) -> Result<(), Error> {
        let write = Write { path, api, body: Some(body), condition, judge: None, rank: Rank::Opens };
        self.write(&write, &Sent::new()).await
    }

    /// DELETE as [`Arm::write`] does it.
    pub async fn delete(&self, path: &str, api: &'static str, condition: &Condition) -> Result<(), Error> {
        let write = Write { path, api, body: None, condition, judge: None, rank: Rank::Opens };
        self.write(&write, &Sent::new()).await
    }

    /// Writes, and waits until a read of the resource shows that it is done; the absent is deleted already. Writes
    /// to one and the same resource, or to its children, are made one after another, by their rank.
    pub async fn write(&self, write: &Write<'_>, sent: &Sent) -> Result<(), Error> {
        let until = in_budget();
        let (method, goal, doing) = match write.body {
            Some(_) => (Method::Put, Goal::There, WRITE),
            None => (Method::Delete, Goal::Gone, DELETE),
        };
        let mut request = self.request(method, write.path, write.api, doing)?;
        if let Some(body) = write.body {
            set_body(&mut request, body);
        }
        match write.condition {
            Condition::None => {}
            Condition::Match(etag) => request.insert_header(IF_MATCH, etag.clone()),
            Condition::Absent => request.insert_header("if-none-match", "*"),
        }
        let turn = timeout_at(until, self.0.turns.take(&changed(write.path), write.rank)).await;
        let too_late = || Error::Unavailable { doing, source: OutOfTime.into() };
        let _turn = turn.map_err(|_| too_late())?;
        if until <= Instant::now() {
            return Err(too_late());
        }
        let began = Instant::now();
        let until = until.max(began + VERIFY_MIN);
        let accepted = self.send(request.clone(), write.judge, until).await;
        // The cloud's own write begins with the try that it took: those that it refused before are told as that.
        sent.get_or_init(|| accepted.as_ref().ok().and_then(|it| it.as_ref()?.asked).unwrap_or(began));
        let Some(accepted) = accepted.map_err(|it| it.into_error(doing))? else { return Ok(()) };
        if accepted.status == 404 {
            return match goal {
                Goal::There => Err(Error::NotFound { what: "resource in Azure", name: changed(write.path) }),
                Goal::Gone => Ok(()),
            };
        }
        if !accepted.is_success() {
            return Err(Said::of(&accepted).into_error(doing));
        }
        self.verify(request.url(), &accepted, goal, until, doing).await
    }

    /// What the last answers said.
    pub fn vitals(&self) -> Vitals {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let date = heard.date.map(|(date, at)| (date, at.elapsed()));
        Vitals { date, reads_left: heard.reads_left, writes_left: heard.writes_left }
    }

    /// When calls last went unanswered, were put off or took long, with whom that was: as far back from `now` as it was.
    pub fn hindrance(&self, now: Timestamp) -> Option<Hindrance> {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let Slow { from, to, delay } = heard.slow.clone()?;
        let before = |at: Instant| {
            now.saturating_sub(SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX))
                .unwrap_or(Timestamp::MIN)
        };
        Some(Hindrance { from: before(from), to: before(to), delay })
    }

    /// Sends a write until its condition holds or is seen not to; no answer where it was done before.
    async fn send(
        &self,
        mut request: Request,
        judge: Option<Judge<'_>>,
        until: Instant,
    ) -> Result<Option<Answer>, Failure> {
        for _ in 0..RENEWALS_MAX {
            let answer = self.ask(&request, until).await?;
            let Some(judge) = judge.filter(|_| answer.status == 412) else { return Ok(Some(answer)) };
            let there = self.ask(&asking(Method::Get, request.url().clone()), until).await?;
            if there.status != 404 && !there.is_success() {
                // Nobody knows what is there.
                return Ok(Some(there));
            }
            match judge(Some(&there.body).filter(|_| there.is_success())) {
                Found::Done => return Ok(None),
                Found::AsRead(etag) => {
                    request.insert_header(IF_MATCH, etag.unwrap_or_else(|| "*".to_owned()));
                }
                Found::Other => return Ok(Some(answer)),
            }
        }
        self.ask(&request, until).await.map(Some)
    }

    /// Reads the resource until it shows that the write is done, or the time is over. `Retry-After` of a write that
    /// was accepted asks to leave its *operation* alone, which takes far less time than that.
    async fn verify(
        &self,
        resource: &Url,
        accepted: &Answer,
        goal: Goal,
        until: Instant,
        doing: &'static str,
    ) -> Result<(), Error> {
        let under_way = || Error::Unavailable { doing, source: UnderWay.into() };
        let mut progress = Progress::accepted(accepted, goal);
        let began = Instant::now();
        for reads in 1.. {
            match progress {
                Progress::Done => return Ok(()),
                Progress::Failed(said) => {
                    let why = match self.explained(accepted, until).await {
                        Some(Progress::Failed(why)) => why,
                        Some(Progress::Done | Progress::UnderWay) | None => said,
                    };
                    return Err(why.into_failed(doing));
                }
                Progress::UnderWay => {}
            }
            let wait = next_read(began.elapsed(), left(until)).ok_or_else(under_way)?;
            sleep(wait).await;
            let read = self.ask(&asking(Method::Get, resource.clone()), until).await;
            let read = read.map_err(|failure| match failure {
                Failure::Passing { .. } => under_way(),
                Failure::Lasting(source) => Error::Broken { doing, source },
            })?;
            progress = Progress::read(&read, goal);
            if EXPLAINED_AFTER <= reads && progress == Progress::UnderWay {
                // It takes long: it may have come to nothing, or be done and not to be seen yet.
                progress = self.explained(accepted, until).await.unwrap_or(progress);
            }
        }
        Err(under_way())
    }

    /// What the operation of a write says of it, if there is one that answers.
    async fn explained(&self, accepted: &Answer, until: Instant) -> Option<Progress> {
        let link = accepted.operation.as_ref().or(accepted.location.as_ref())?;
        let url = self.0.endpoint.link(link).ok()?;
        let answer = self.ask(&asking(Method::Get, url), until).await.ok()?;
        answer.is_success().then(|| Progress::explained(&answer))
    }

    /// Asks until there is an answer that another try would not change.
    async fn ask(&self, request: &Request, until: Instant) -> Result<Answer, Failure> {
        let (mut failed, began) = (0, Instant::now());
        let mut last = Failure::Passing { source: OutOfTime.into(), after: None };
        loop {
            let Ok(tried) = timeout_at(until, self.once(request)).await else { return Err(last) };
            last = match tried {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failed += 1;
            if let Failure::Passing { source, .. } = &last
                && !last.is_another_operation()
            {
                self.remember(began, Delay::of(Cause::CloudUnavailable, &source.to_string()));
            }
            let wait = match &last {
                // Another process is at it: it is done long before `Retry-After` is over.
                Failure::Passing { .. } if last.is_another_operation() => next_turn(left(until)),
                Failure::Passing { after, .. } => next_try(*after, failed, left(until)),
                Failure::Lasting(_) => None,
            };
            match wait {
                Some(wait) => sleep(wait).await,
                None => return Err(last),
            }
        }
    }

    async fn once(&self, request: &Request) -> Result<Answer, Failure> {
        let at = Instant::now();
        let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let sent = self.0.pipeline.send(&Context::new(), &mut request.clone(), Some(options)).await;
        let answer = sent.map(|it| Answer { asked: Some(at), ..Answer::of(&it) });
        let status = answer.as_ref().map_or(0, |it| it.status);
        let (method, path, millis) = (request.method(), request.url().path(), at.elapsed().as_millis());
        tracing::debug!(%method, path, status, millis, "A call of Azure Resource Manager ended");
        let answer = answer.map_err(|it| Failure::unanswered(&it))?;
        if LONG <= at.elapsed() {
            let why = format!("Azure took {millis} ms to answer");
            self.remember(at, Delay::of(Cause::CloudSlow, &why));
        }
        self.hear(&answer);
        Failure::answered(&answer).map_or(Ok(answer), Err)
    }

    /// Remembers what a call that began then has met by now.
    fn remember(&self, began: Instant, delay: Delay) {
        let to = Instant::now();
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = heard.slow.take();
        let is_same = |it: &Slow| it.delay.cause == delay.cause && began.duration_since(it.to) < SAME;
        let from = last.filter(is_same).map_or(began, |it| it.from.min(began));
        heard.slow = Some(Slow { from, to, delay });
    }

    fn hear(&self, answer: &Answer) {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.date = answer.date.map(|it| (it, Instant::now())).or(heard.date);
        heard.reads_left = answer.reads_left.or(heard.reads_left);
        heard.writes_left = answer.writes_left.or(heard.writes_left);
    }

    fn request(&self, method: Method, path: &str, api: &str, doing: &'static str) -> Result<Request, Error> {
        let url = self.0.endpoint.path(path, api);
        let url = url.map_err(|it| Error::Broken { doing, source: it.into() })?;
        Ok(asking(method, url))
    }

    fn link(&self, link: &str, doing: &'static str) -> Result<Url, Error> {
        self.0.endpoint.link(link).map_err(|it| Error::Broken { doing, source: it.into() })
    }
}

impl fmt::Debug for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm").field("endpoint", &self.0.endpoint).finish_non_exhaustive()
    }
}

/// What answers said, the newest of each.
#[derive(Default)]
struct Heard {
    date: Option<(Timestamp, Instant)>,
    reads_left: Option<u64>,
    writes_left: Option<u64>,
    slow: Option<Slow>,
}

/// A time in which Azure did not answer, or took long.
#[derive(Debug, Clone)]
struct Slow {
    from: Instant,
    to: Instant,
    delay: Delay,
}

/// What the last answers said about Azure and us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vitals {
    /// What time it was at Azure, and how long ago it said so.
    pub date: Option<(Timestamp, Duration)>,
    /// How many reads are left to us, in the subscription that was asked about last.
    pub reads_left: Option<u64>,
    /// How many writes are left to us, in the subscription that was asked about last.
    pub writes_left: Option<u64>,
}

impl Vitals {
    /// How far our clock is ahead of Azure's, to about a second: `Date` has no fractions.
    pub fn skew(&self, now: Timestamp) -> Option<SignedDuration> {
        let (date, ago) = self.date?;
        let there = date.saturating_add(SignedDuration::try_from(ago).ok()?).ok()?;
        Some(now.duration_since(there))
    }
}

fn in_budget() -> Instant {
    Instant::now() + BUDGET
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn asking(method: Method, url: Url) -> Request {
    let mut request = Request::new(url, method);
    request.insert_header(ACCEPT, "application/json");
    request
}

fn set_body(request: &mut Request, body: &Value) {
    request.insert_header(CONTENT_TYPE, "application/json");
    request.set_body(body.to_string());
}

/// The JSON of an answer that is a yes.
fn body(answer: Answer, doing: &'static str) -> Result<Value, Error> {
    if !answer.is_success() {
        return Err(Said::of(&answer).into_error(doing));
    }
    if answer.body.is_null() { Err(odd(doing, "JSON")) } else { Ok(answer.body) }
}

/// Takes the items out of a page.
fn items(page: &mut Value, name: &str) -> Option<Vec<Value>> {
    page.get_mut(name)?.as_array_mut().map(std::mem::take)
}

fn unusable(source: impl Into<BoxError>) -> Error {
    Error::Broken { doing: "use these settings for Azure", source: source.into() }
}

fn odd(doing: &'static str, what: &str) -> Error {
    Error::Broken { doing, source: format!("the answer has no {what}").into() }
}

fn too_long(doing: &'static str) -> Error {
    Error::Broken { doing, source: "the list has more pages than may be read".into() }
}

#[cfg(test)]
mod tests;
