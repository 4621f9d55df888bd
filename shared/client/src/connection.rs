//! One way to the API: who we are, what was answered, and trying again where that is safe.

use crate::{
    account::{Account, Signer},
    auth::Auth,
    early,
    globals::Globals,
    network::{self, Network},
    oidc::Oidc,
    path::{encoded, query_string},
    pauses::pauses,
    problem,
    profile::{self, Profile},
    session, socket,
    token::Token,
    unreached,
    url::{is_here, is_loopback, usable_url},
    words,
};
use jiff::{Timestamp, ZonedDateTime};
use portcullis_domain::CorrelationId;
use portcullis_outgoing::Roots;
use portcullis_program::{Failure, TOKEN_FILE, output};
use portcullis_wire::{Listed, Problem, Reason};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{cell::RefCell, fmt, path::PathBuf, rc::Rc, thread, time::Duration};
use ureq::{
    Agent, BodyReader, Error,
    http::{Method, Request, StatusCode, request::Builder},
    unversioned::transport::DefaultConnector,
};

/// How long to wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long to wait for an answer; a clouds' firewalls may have to be asked for it.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// How long an answer may be, in bytes.
const BODY_MAX: u64 = 64 << 20;
/// How often something is asked whose answer may be lost.
const TRIES: u32 = 4;
/// How long to wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How many parts a list may have.
pub const PARTS_MAX: usize = 10_000;
/// How many items a part has at most, as the API says.
pub const PART: usize = 200;

/// The way to one Portcullis, as one person.
pub struct Connection {
    agent: Agent,
    /// Where it is, without a slash at the end, as a person says it.
    url: String,
    /// The same in front of a path.
    base: String,
    caller: RefCell<Caller>,
    /// Where another token comes from, should this one be refused.
    renewal: Option<Renewal>,
    /// Where the token was looked for.
    token_file: PathBuf,
    /// Was it looked for in a profile alone?
    is_named: bool,
    /// Are answers made fit for a terminal?
    is_tame: bool,
}

/// How we say who we are.
#[derive(Debug)]
enum Caller {
    /// Not at all.
    Nobody,
    /// With this token.
    Bearer(Token),
    /// With a signature of each request.
    Signing(Signer),
}

/// Where another token comes from.
enum Renewal {
    /// The file or the command of a profile.
    Profile(Box<Profile>),
    /// A file.
    File(PathBuf),
    /// A log-in for this Portcullis.
    Login { url: String, oidc: Box<Oidc> },
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connection {
    /// The way there; nothing is sent yet.
    pub fn to(globals: &Globals) -> Result<Self, Failure> {
        let mut profile = profile::chosen(globals)?;
        let token_file = globals.data_dir().join(TOKEN_FILE);
        let mut renewal = None;
        let caller = match profile.auth {
            Auth::Bearer if profile.is_named => match profile.token()? {
                Some(token) => {
                    renewal = Some(Renewal::Profile(Box::new(profile.clone())));
                    Caller::Bearer(Token::of(&token, &profile.token_place())?)
                }
                // One in the environment, or in a folder, may be for another Portcullis.
                None => Caller::Nobody,
            },
            Auth::Bearer => {
                let own = Token::of_environment()?;
                let is_of_folder =
                    own.is_none() && (globals.named_data_dir().is_some() || is_here(&profile.url));
                let token = if is_of_folder { Token::of_file(&token_file)? } else { own };
                if !profile.is_said {
                    match socket::of(&globals.data_dir(), is_of_folder.then_some(&token_file)) {
                        // On this machine, and no flood on the network is in the way.
                        Ok(url) => profile.url = url,
                        // While `up` does not run, any process of this machine may listen at the default address.
                        Err(failure) if is_of_folder && token.is_some() => return Err(failure),
                        Err(_) => {}
                    }
                }
                renewal = is_of_folder.then(|| Renewal::File(token_file.clone()));
                token.map_or(Caller::Nobody, Caller::Bearer)
            }
            Auth::Oidc => {
                let Some(oidc) = profile.oidc.clone() else {
                    return Err(Failure::usage("`--auth oidc` needs a profile with a table `oidc`")
                        .next("give --profile; docs/identity.md shows such a profile"));
                };
                let url = usable_url(&profile.url)?;
                if url.scheme_str() != Some("https") && !is_loopback(&url) {
                    let said = format!("`{}` would be sent the token of a log-in without TLS", profile.url);
                    return Err(Failure::usage(said).next("use `https`"));
                }
                let token = session::token(&profile.url, &oidc, None, Timestamp::now())?;
                renewal = Some(Renewal::Login { url: profile.url.clone(), oidc: Box::new(oidc) });
                Caller::Bearer(Token::of(&token, "the log-in")?)
            }
            Auth::Sigv4 => {
                let url = usable_url(&profile.url)?;
                if url.scheme_str() != Some("https") && !is_loopback(&url) {
                    let said = format!("`{}` would send a signed request without TLS", profile.url);
                    return Err(Failure::usage(said).next("use `https`"));
                }
                let account = Rc::new(Account::of(&profile.named())?);
                Caller::Signing(Signer::of(&account, &url)?)
            }
        };
        let whole = Self::of(&profile.url, caller, token_file, &profile.roots()?)?;
        Ok(Self { is_named: profile.is_named, renewal, ..whole })
    }

    /// The way there with a token that is known.
    pub fn with(url: &str, token: &str) -> Result<Self, Failure> {
        let caller = Caller::Bearer(Token::of(token, "the token")?);
        Self::of(url, caller, PathBuf::new(), &network::roots(None)?)
    }

    /// Makes every answer fit for a terminal: whoever prints any of it cannot forget to.
    #[must_use]
    pub fn tame(self) -> Self {
        Self { is_tame: true, ..self }
    }

    fn of(url: &str, caller: Caller, token_file: PathBuf, roots: &Roots) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/').to_owned();
        let socket = socket::named(&url);
        let base = if socket.is_some() { socket::BASE.to_owned() } else { url.clone() };
        let uri = usable_url(&base)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX))
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        let Network { tls, proxy } = Network::to(&uri, roots)?;
        let agent = agent.tls_config(tls).proxy(proxy);
        let agent = match socket {
            Some(path) => socket::agent(agent.build(), path),
            None => early::agent(agent.build(), DefaultConnector::default()),
        };
        let caller = RefCell::new(caller);
        Ok(Self { agent, url, base, caller, renewal: None, token_file, is_named: false, is_tame: false })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Looks.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(&Method::GET, path, None, &[], TRIES)
    }

    /// Looks at what a query selects.
    pub fn query<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Failure> {
        self.get(&format!("{path}{}", query_string(query)))
    }

    /// All of a list, or its first `limit` items. What the server could not see is noted.
    pub fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        limit: Option<usize>,
    ) -> Result<Vec<T>, Failure> {
        let (mut all, mut after) = (vec![], String::new());
        for _ in 0..PARTS_MAX {
            let left = limit.map_or(PART, |limit| limit - all.len());
            if left == 0 {
                return Ok(all);
            }
            let query = query_string(query);
            let join = if query.is_empty() { '?' } else { '&' };
            let part: Listed<T> = self.get(&format!("{path}{query}{join}limit={}{after}", left.min(PART)))?;
            all.extend(part.items);
            for line in part.unseen {
                output::note(format_args!("warning: {line}"));
            }
            match part.next {
                Some(next) => after = format!("&after={}", encoded(&next)),
                None => return Ok(all),
            }
        }
        Err(Failure::broken(format!("the list at `{path}` has too many pages")))
    }

    /// Asks for something to be done, once.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> Result<T, Failure> {
        let body = body.map(json).transpose()?;
        self.ask(&Method::POST, path, body.as_deref(), &[], 1)
    }

    /// Sends what is text already, once.
    pub fn post_text<T: DeserializeOwned>(&self, path: &str, body: &str) -> Result<T, Failure> {
        self.ask(&Method::POST, path, Some(body), &[], 1)
    }

    /// Looks at what is longer than memory, as it comes.
    pub fn stream(&self, path: &str, query: &impl Serialize) -> Result<BodyReader<'static>, Failure> {
        let uri = format!("{}{path}{}", self.base, query_string(query));
        let run = || {
            let request = self.authorized(Request::builder().uri(&uri), String::new())?.map(drop);
            let request = self.agent.configure_request(request).timeout_global(None);
            let request = request.timeout_recv_response(Some(ANSWER_MAX)).build();
            self.agent.run(request).map_err(|error| self.unreachable(&error))
        };
        let mut response = run()?;
        if self.is_replaced(response.status())? {
            response = run()?;
        }
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        let body = response.body_mut().with_config().limit(BODY_MAX).read_to_string();
        let body = body.map_err(|error| self.unreachable(&error))?;
        Err(self.refusal(response.status(), &body))
    }

    /// Asks for something to be done that is the same with the same key, so a lost answer is asked for again.
    pub fn post_keyed<T: DeserializeOwned>(
        &self,
        path: &str,
        (key, correlation): (&str, Option<&CorrelationId>),
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let correlation = correlation.map(|it| ("x-correlation-id", it.as_str()));
        let headers: Vec<_> = [("idempotency-key", key)].into_iter().chain(correlation).collect();
        self.ask(&Method::POST, path, Some(&json(body)?), &headers, TRIES)
    }

    /// Takes something away.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(&Method::DELETE, path, None, &[], 1)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
        tries: u32,
    ) -> Result<T, Failure> {
        let (mut pauses, mut n, mut may_replace) = (pauses(PAUSE, tries), 0, true);
        while n < tries {
            n += 1;
            let is_last = n == tries;
            let mut request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.base));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            let request = self.authorized(request, body.unwrap_or_default().to_owned())?;
            match self.send(request) {
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) if !is_last => {}
                // What is refused for its credential is not done: it is asked once more with another one.
                Ok((status, _)) if std::mem::take(&mut may_replace) && self.is_replaced(status)? => {
                    n -= 1;
                    continue;
                }
                Ok((status, body)) => return self.read(status, &body),
                // Nobody was there, and nobody will be a second later.
                Err(error) if is_last || n == 1 && unreached::is_refused(&error) => {
                    return Err(self.unreachable(&error));
                }
                Err(_) => {}
            }
            thread::sleep(pauses.next().unwrap_or(PAUSE));
        }
        Err(Failure::unavailable(format!("there is no answer at `{}`", self.url)))
    }

    fn send(&self, request: Request<String>) -> Result<(StatusCode, String), Error> {
        // A body that is not there has no length. Where a method may have one it says that it is empty: else the client announces
        // parts, and the server, who needs none to answer, is gone before the last of them is sent.
        let may_have_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let mut response = if request.body().is_empty() && !may_have_body {
            self.agent.run(request.map(drop))?
        } else {
            self.agent.run(request)?
        };
        let body = response.body_mut().with_config().limit(BODY_MAX).read_to_string()?;
        Ok((response.status(), body))
    }

    fn authorized(&self, request: Builder, body: String) -> Result<Request<String>, Failure> {
        let made = |request: Builder| request.body(body).map_err(|error| self.unreachable(&error.into()));
        match &*self.caller.borrow() {
            Caller::Nobody => made(request),
            Caller::Bearer(token) => {
                made(request.header("authorization", format!("Bearer {}", token.word())))
            }
            Caller::Signing(signer) => signer.signed(made(request)?, Timestamp::now()),
        }
    }

    /// Is there another credential in place of one that was refused? A token may be taken away, and keys may be refused,
    /// before their end; a profile's command or file, or the tools of AWS, may have others by now.
    fn is_replaced(&self, status: StatusCode) -> Result<bool, Failure> {
        let is_refused = match (&*self.caller.borrow(), status) {
            (Caller::Signing(signer), StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => {
                return signer.renew(Timestamp::now());
            }
            (Caller::Bearer(_), StatusCode::UNAUTHORIZED) => true,
            (Caller::Nobody | Caller::Bearer(_) | Caller::Signing(_), _) => false,
        };
        let another = match &self.renewal {
            Some(Renewal::Profile(profile)) if is_refused => {
                profile.token()?.map(|it| Token::of(&it, &profile.token_place())).transpose()?
            }
            Some(Renewal::File(file)) if is_refused => Token::of_file(file)?,
            Some(Renewal::Login { url, oidc }) if is_refused => {
                let before = match &*self.caller.borrow() {
                    Caller::Bearer(token) => Some(token.word().to_owned()),
                    Caller::Nobody | Caller::Signing(_) => None,
                };
                // Where there is no other one, the server's own words say more.
                let renewed = session::token(url, oidc, before.as_deref(), Timestamp::now()).ok();
                renewed.map(|it| Token::of(&it, "the log-in")).transpose()?
            }
            Some(Renewal::Profile(_) | Renewal::File(_) | Renewal::Login { .. }) | None => None,
        };
        let Some(another) = another else { return Ok(false) };
        let mut caller = self.caller.borrow_mut();
        let is_new = !matches!(&*caller, Caller::Bearer(before) if *before == another);
        if is_new {
            *caller = Caller::Bearer(another);
        }
        Ok(is_new)
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &str) -> Result<T, Failure> {
        if status.is_success() {
            // A 204 has no body, which is as good as `null`.
            let body = if body.is_empty() { "null" } else { body };
            let read = serde_json::from_str::<Value>(body).and_then(|mut answer| {
                if self.is_tame {
                    output::tame(&mut answer);
                }
                serde_json::from_value(answer)
            });
            return read.map_err(|error| self.strange(&format!("gave an unexpected answer ({error})")));
        }
        Err(self.refusal(status, body))
    }

    fn strange(&self, what: &str) -> Failure {
        Failure::broken(format!("`{}` {what}: is it a Portcullis of version {VERSION}?", self.url))
    }

    /// What was answered in place of what was asked for.
    fn refusal(&self, status: StatusCode, body: &str) -> Failure {
        let Ok(problem) = serde_json::from_str::<Problem>(body) else {
            if status == StatusCode::FORBIDDEN {
                return self.not_let_in();
            }
            return self.strange(&format!("answered {status}"));
        };
        let failure = problem::failure(in_short(problem));
        if status != StatusCode::UNAUTHORIZED {
            return failure;
        }
        let file = self.token_file.display();
        let next = match &*self.caller.borrow() {
            Caller::Nobody if self.is_named => {
                return self.without_token().next("give the profile a `token-file` or a `token-command`");
            }
            Caller::Nobody if self.token_file.exists() => {
                return self.without_token().next(format!(
                    "set PORTCULLIS_TOKEN to your token, which the operator makes; the token in `{file}` is for this \
                        machine alone, unless its folder is named with --data"
                ));
            }
            Caller::Nobody => {
                return self.without_token().next(format!(
                    "set PORTCULLIS_TOKEN to your token, which the operator makes with `portcullis token create`; or \
                        name the data folder with --data: `{file}` does not exist"
                ));
            }
            Caller::Bearer(_)
                if matches!(self.renewal, Some(Renewal::File(_))) && socket::named(&self.url).is_some() =>
            {
                format!(
                    "`{file}` does not hold the token of this server: remove the file and start `portcullis up` again, \
                        which makes a new one"
                )
            }
            Caller::Bearer(_) if matches!(self.renewal, Some(Renewal::Login { .. })) => {
                "run `portcullis login` again; if that does not help, the operator has to accept your provider \
                 (docs/identity.md)"
                    .to_owned()
            }
            Caller::Bearer(_) => {
                let place = match &self.renewal {
                    Some(Renewal::Profile(profile)) => {
                        format!("where the profile has it: `{}`", profile.token_place())
                    }
                    Some(Renewal::File(_)) => format!("in PORTCULLIS_TOKEN or `{file}`"),
                    Some(Renewal::Login { .. }) | None => "in PORTCULLIS_TOKEN".to_owned(),
                };
                format!(
                    "ask the operator for a new token (`portcullis token create NAME`), and put it {place}"
                )
            }
            Caller::Signing(_) => {
                "signed requests are accepted at the output `SignedUrl` of the stack".to_owned()
            }
        };
        failure.next(next)
    }

    /// The command sent no token: the server's own words about that are for programs.
    fn without_token(&self) -> Failure {
        Failure::refused(format!("`{}` needs a token, and this command found none", self.url))
    }

    /// Whoever stands before Portcullis says no: API Gateway, a function URL, a proxy.
    fn not_let_in(&self) -> Failure {
        let failure =
            Failure::refused(format!("the caller is not admitted at `{}`: 403 Forbidden", self.url));
        match &*self.caller.borrow() {
            Caller::Signing(_) => failure.next(
                "the keys are not valid, or lack the permission to call it: infra/aws/README.md has the \
                    policy that they need",
            ),
            Caller::Nobody | Caller::Bearer(_) => {
                failure.next("if callers sign with AWS keys there, give `--auth sigv4`")
            }
        }
    }

    fn unreachable(&self, error: &Error) -> Failure {
        let failure = Failure::unavailable(format!("cannot reach Portcullis at `{}`", self.url));
        failure.because([error.to_string()]).next(unreached::helps(error, is_here(&self.url), self.is_named))
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn json(body: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(body).map_err(|error| Failure::broken(format!("cannot write JSON: {error}")))
}

/// The same problem as a person reads it.
fn in_short(problem: Problem) -> Problem {
    let now = ZonedDateTime::now();
    let reason = |it: Reason| Reason { message: words::plain(&it.message, &now), ..it };
    let reasons = problem.reasons.into_iter().map(reason).collect();
    Problem { detail: words::plain(&problem.detail, &now), reasons, ..problem }
}
