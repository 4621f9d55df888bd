//! The door for events: what bots ask for, on behalf of people.

use crate::{
    Absent, Answer, Call, Error, Exporting, Format, Issuer, Kept, Parts, Principal, Rights, Unreadable,
    Vouchers,
    command::{Approve, Close, Initiate, OrderExport, Reject},
    perform,
    ports::Store,
    refuse_unreadable,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Ask, CorrelationId, Grant, GrantId, IdempotencyKey, Justification, Person, Port, Protocol, Refusal,
    Refusals, RequestId, Sources, TOKEN_IN_TEXT, TargetId, Terms, Via, Window, holds_token, said,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeSet, str::FromStr};

/// How long an event may be, in bytes: the largest request has 40 ports.
pub const EVENT_MAX: usize = 64 * 1024;
/// An event on the bus may be this old. That is longer than all tries of a queue take; what is older was kept somewhere, and
/// whoever wanted it then may want it no more.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(15);
/// The version of what bots send.
const VERSION: u64 = 1;

/// Which bots may speak, and for whom. Empty allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Bot>")]
pub struct Bots(Vec<Bot>);

/// One bot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bot {
    /// What its events come from.
    source: String,
    /// Whom it may speak for.
    #[serde(rename = "for")]
    people: People,
    /// May it bring both a request and its approval, each for another person? Then one program stands for two people.
    #[serde(default)]
    both_halves: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum People {
    Named(BTreeSet<Person>),
    Word(Anybody),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
enum Anybody {
    #[serde(rename = "*")]
    Anybody,
}

/// An event as it came in: whatever it is.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The envelope as JSON: `source`, `detail-type`, `id` and `detail`.
    pub body: &'a [u8],
    /// Who sent it, where the channel knows better than the envelope.
    pub source: Option<&'a str>,
    /// Is there an archive that evidence is put into when somebody asks for it?
    pub has_archive: bool,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// A request was made or decided.
    Answered(Box<Answer>),
    /// A lease was ended.
    Closed(Box<Grant>),
    /// Evidence was asked for: that is recorded, and told as `export.requested` to whoever exports.
    Exporting,
    /// The archive told that it keeps an export, whole: that is recorded, and told as `export.ready`.
    Exported,
    /// No, for these reasons; that is recorded, and told as `request.refused`.
    Refused(Vec<String>),
}

/// Does what an event asks for, or says why not. Only what another try may change is an error.
///
/// INVARIANT (one-door-in): the same use cases as for everybody else. A bad event is recorded and answered,
/// never tried again: it will not get better.
pub async fn submit(
    store: &impl Store,
    terms: &Terms,
    bots: &Bots,
    incoming: Incoming<'_>,
    now: Timestamp,
) -> Result<Submitted, Error> {
    let mut heard = Heard::of(incoming);
    if let Some((kept, archive)) = heard.kept(incoming) {
        kept.record(archive, store, now).await?;
        return Ok(Submitted::Exported);
    }
    let wish = match heard.wish(incoming, bots, now) {
        Ok(wish) => wish,
        Err(no) => return heard.refuse(store, vec![no], now).await,
    };
    belongs_to(heard.correlation.as_ref(), wish.request().as_ref());
    let Wish { by, key, what } = wish;
    let call = &Call {
        principal: Principal::person(by.clone(), bots.issuer(&heard.source, &by)),
        via: Via::Bot(heard.source.clone()),
        address: None,
        key: Some(key),
        correlation: heard.correlation.clone(),
        now,
    };
    let rights = Rights::default();
    let parts = Parts { store, outside: &Absent, tokens: &Absent, terms, rights: &rights };
    let outcome = match what {
        Asking::Request(initiate) => match perform(parts, call, initiate).await {
            // Recorded with the targets that it names, and told from there.
            Err(Error::Refused(reasons)) => {
                let codes = reasons.iter().map(Refusal::code).collect::<Vec<_>>();
                tracing::info!(?codes, "An event was refused");
                return Ok(Submitted::Refused(reasons.iter().map(ToString::to_string).collect()));
            }
            outcome => outcome.map(Box::new).map(Submitted::Answered),
        },
        Asking::Approve(approve) => {
            perform(parts, call, approve).await.map(Box::new).map(Submitted::Answered)
        }
        Asking::Reject(reject) => perform(parts, call, reject).await.map(Box::new).map(Submitted::Answered),
        Asking::Close(close) => perform(parts, call, close).await.map(Box::new).map(Submitted::Closed),
        Asking::Export(exporting) => {
            // A second event says the same, and came later. What is asked over HTTP comes when it is asked.
            let since = heard.at.filter(|_| incoming.source.is_none()).unwrap_or(now);
            perform(parts, call, OrderExport { exporting, since }).await.map(|()| Submitted::Exporting)
        }
    };
    match outcome {
        Err(Error::Refused(reasons)) => heard.refuse(store, No::all(&reasons), now).await,
        Err(error @ Error::NotFound { .. }) => {
            heard.refuse(store, vec![No::of("not-found", error.to_string())], now).await
        }
        outcome => outcome,
    }
}

/// What is logged of an event from now on belongs to this matter: what its bot calls it, or else the request.
fn belongs_to(correlation: Option<&CorrelationId>, request: Option<&RequestId>) {
    let matter = correlation.map(CorrelationId::as_str).or(request.map(RequestId::as_str));
    if let Some(matter) = matter {
        tracing::Span::current().record("correlation_id", matter);
    }
}

/// What can be told of an event, however bad it is.
#[derive(Debug, Default)]
struct Heard {
    source: String,
    kind: Option<String>,
    event: String,
    /// When the bus took it.
    at: Option<Timestamp>,
    on_behalf_of: Option<String>,
    correlation: Option<CorrelationId>,
    detail: Value,
}

/// What an event asks for, parsed.
struct Wish {
    by: Person,
    key: IdempotencyKey,
    what: Asking,
}

enum Asking {
    Request(Initiate),
    Approve(Approve),
    Reject(Reject),
    Close(Close),
    Export(Exporting),
}

/// One reason why not: a word for programs, and what people are told.
#[derive(Debug)]
struct No {
    code: &'static str,
    why: String,
}

impl No {
    fn of(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    fn all(reasons: &Refusals) -> Vec<Self> {
        reasons.iter().map(|it| Self::of(it.code(), it.to_string())).collect()
    }
}

impl From<String> for No {
    fn from(why: String) -> Self {
        Self::of("unreadable", why)
    }
}

impl From<&str> for No {
    fn from(why: &str) -> Self {
        Self::of("unreadable", why)
    }
}

impl Wish {
    /// The request that it makes or is about.
    fn request(&self) -> Option<RequestId> {
        match &self.what {
            Asking::Request(_) => Some(RequestId::derived(&self.by, &self.key)),
            Asking::Approve(Approve { request, .. }) | Asking::Reject(Reject { request, .. }) => {
                Some(request.clone())
            }
            Asking::Close(Close { grant }) => grant.derivation().map(|(request, _)| request),
            Asking::Export(_) => None,
        }
    }
}

impl Heard {
    fn of(incoming: Incoming<'_>) -> Self {
        let is_short = incoming.body.len() <= EVENT_MAX;
        let body = is_short.then(|| serde_json::from_slice::<Value>(incoming.body).ok()).flatten();
        let mut body = body.unwrap_or_default();
        let detail = body.get_mut("detail").map(Value::take).unwrap_or_default();
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            source: incoming.source.map(str::to_owned).or_else(|| text(&body, "source")).unwrap_or_default(),
            kind: text(&body, "detail-type"),
            event: text(&body, "id").unwrap_or_default(),
            at: text(&body, "time").and_then(|it| it.parse().ok()),
            on_behalf_of: text(&detail, "on_behalf_of"),
            correlation: text(&detail, "correlation_id")
                .filter(|it| !holds_token(it))
                .and_then(|it| it.parse().ok()),
            detail,
        }
    }

    /// An export that the archive tells to be whole. Nobody but AWS itself puts events of such a source on a bus.
    fn kept(&self, incoming: Incoming<'_>) -> Option<(Kept, String)> {
        let is_from_the_bus = incoming.has_archive && incoming.source.is_none();
        is_from_the_bus.then(|| Kept::told(&self.source, self.kind.as_deref(), &self.detail)).flatten()
    }

    /// Parses it at the door, or gives the first reason why not.
    fn wish(&mut self, incoming: Incoming<'_>, bots: &Bots, now: Timestamp) -> Result<Wish, No> {
        if EVENT_MAX < incoming.body.len() {
            let why = format!("the event has {} bytes: at most {EVENT_MAX}", incoming.body.len());
            return Err(No::of("too-large", why));
        }
        if str::from_utf8(incoming.body).is_ok_and(holds_token) {
            return Err(TOKEN_IN_TEXT.into());
        }
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(incoming.body) {
            return Err(format!("the event is not JSON: {error}").into());
        }
        if !bots.0.iter().any(|it| it.source == self.source) {
            let why = format!("`{}` is not a bot that may send events here", self.source);
            return Err(No::of("unknown-bot", why));
        }
        // Whoever is asked over HTTP knows that somebody waits.
        if incoming.source.is_none() && self.at.is_none_or(|at| AGE_MAX < now.duration_since(at)) {
            let why = format!("the event is older than {AGE_MAX:#}, or has no `time`: send a new one");
            return Err(No::of("too-old", why));
        }
        let Value::Object(mut detail) = self.detail.take() else {
            return Err("the event has no `detail`, or none that is an object".into());
        };
        let version = detail.remove("version").unwrap_or_default();
        if version.as_u64() != Some(VERSION) {
            let why = format!("`version` {version} of an event is not supported: {VERSION} is accepted");
            return Err(No::of("unknown-version", why));
        }
        let by: String = field(detail.remove("on_behalf_of"), "on_behalf_of")?
            .ok_or("the event has no `on_behalf_of`, the person for whom it is sent")?;
        let by: Person =
            by.parse().map_err(|error| format!("`on_behalf_of` of the event cannot be read: {error}"))?;
        if !bots.admit(&self.source, &by) {
            return Err(No::of("not-for-them", format!("`{}` may not act for `{by}`", self.source)));
        }
        self.correlation = field(detail.remove("correlation_id"), "correlation_id")?;
        let id: Option<String> = field(detail.remove("id"), "id")?;
        let id = id.unwrap_or_else(|| self.event.clone());
        // Two bots may count alike.
        let key = format!("{} {id}", self.source).parse();
        let key = key.ok().filter(|_| !id.trim().is_empty());
        let key =
            key.ok_or("`id` of the event must have 1 to 200 printable characters, and is never used again")?;
        let body = Value::Object(detail);
        let what = match self.kind.as_deref() {
            Some("access.request") => {
                let RequestBody { targets, justification, break_glass } = read(body)?;
                let asks = targets.into_iter().map(TargetBody::asks).collect::<Result<Vec<_>, _>>()?;
                let asks = asks.into_iter().flatten().collect();
                Asking::Request(Initiate { asks, break_glass, justification })
            }
            Some("access.approve") => {
                let ApproveBody { request, shown } = read(body)?;
                Asking::Approve(Approve { request, shown })
            }
            Some("access.reject") => {
                let RejectBody { request, why } = read(body)?;
                // The event names the request alone: it is rejected as it stands.
                Asking::Reject(Reject { request, shown: None, why })
            }
            Some("access.close") => Asking::Close(Close { grant: read::<CloseBody>(body)?.grant }),
            Some("export.request") if incoming.has_archive => {
                Asking::Export(read::<ExportBody>(body)?.whole()?)
            }
            Some("export.request") => {
                let why = "this installation has no archive: run `portcullis export` instead";
                return Err(No::of("no-archive", why));
            }
            Some(kind) => {
                let why = format!(
                    "`{kind}` is not a `detail-type` of a command: `access.request`, `access.approve`, \
                        `access.reject`, `access.close` and `export.request` are"
                );
                return Err(No::of("unknown-kind", why));
            }
            None => return Err("the event has no `detail-type`".into()),
        };
        Ok(Wish { by, key, what })
    }

    /// INVARIANT (nothing-unrecorded): also of a no to what nobody understood.
    async fn refuse(self, store: &impl Store, reasons: Vec<No>, now: Timestamp) -> Result<Submitted, Error> {
        belongs_to(self.correlation.as_ref(), None);
        let codes: Vec<&str> = reasons.iter().map(|it| it.code).collect();
        // Names and addresses stand in the reasons: the journal has them.
        tracing::info!(?codes, "An event was refused");
        let input = Unreadable {
            source: self.source,
            kind: self.kind,
            event: self.event,
            on_behalf_of: self.on_behalf_of,
            reasons: reasons.into_iter().map(|it| (it.code, it.why)).collect(),
            correlation: self.correlation,
            via: None,
        };
        refuse_unreadable(store, input, now).await.map(Submitted::Refused)
    }
}

impl Bots {
    /// The bots, as what vouches for the names of callers.
    pub fn vouchers(&self) -> Vouchers {
        let mut people = BTreeSet::new();
        for bot in &self.0 {
            match &bot.people {
                People::Named(named) => people.extend(named.iter().cloned()),
                People::Word(Anybody::Anybody) => return Vouchers::bots(None),
            }
        }
        Vouchers::bots(Some(people))
    }

    fn admit(&self, source: &str, person: &Person) -> bool {
        self.0.iter().any(|it| it.admits(source, person))
    }

    /// The bot, as what vouches for a person.
    fn issuer(&self, source: &str, person: &Person) -> Issuer {
        let both_halves = self.0.iter().any(|it| it.both_halves && it.admits(source, person));
        Issuer::Bot { source: source.to_owned(), both_halves }
    }
}

impl Bot {
    fn admits(&self, source: &str, person: &Person) -> bool {
        let is_for = match &self.people {
            People::Named(people) => people.contains(person),
            People::Word(Anybody::Anybody) => true,
        };
        self.source == source && is_for
    }
}

impl TryFrom<Vec<Bot>> for Bots {
    type Error = String;
    /// A list of names in which one is `*` would admit nobody by that name, and is meant to admit anybody.
    fn try_from(bots: Vec<Bot>) -> Result<Self, String> {
        let means_anybody =
            |it: &&Bot| matches!(&it.people, People::Named(people) if people.iter().any(Person::is_anybody));
        match bots.iter().find(means_anybody) {
            Some(Bot { source, .. }) => Err(format!(
                "`*` in the list of `{source}` is no name of a person: for everyone write `\"for\": \"*\"`"
            )),
            None => Ok(Self(bots)),
        }
    }
}

impl FromStr for Bots {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str =
            "[{\"source\": \"chatops.example\", \"for\": [\"ann\"]}], with \"*\" for all people";
        serde_json::from_str(text).map_err(|error| format!("not a policy of bots ({error}): {WANTED}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    targets: Vec<TargetBody>,
    justification: Option<Justification>,
    #[serde(default)]
    break_glass: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetBody {
    #[serde(deserialize_with = "said::target")]
    target: TargetId,
    ports: Vec<PortBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortBody {
    port: Port,
    protocol: Option<Protocol>,
    sources: Option<Vec<String>>,
    #[serde(default, deserialize_with = "said::length")]
    duration: Option<SignedDuration>,
    #[serde(default, deserialize_with = "said::any_time")]
    end: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    request: RequestId,
    shown: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectBody {
    request: RequestId,
    why: Option<Justification>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseBody {
    grant: GrantId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    #[serde(deserialize_with = "said::time")]
    from: Timestamp,
    #[serde(deserialize_with = "said::time")]
    to: Timestamp,
    format: Format,
}

impl ExportBody {
    fn whole(self) -> Result<Exporting, String> {
        let Self { from, to, format } = self;
        if to <= from {
            return Err(format!("`{from}` to `{to}` is not a period: `to` must be later than `from`"));
        }
        Ok(Exporting { from, to, format })
    }
}

impl TargetBody {
    fn asks(self) -> Result<Vec<Ask>, String> {
        let Self { target, ports } = self;
        let ask = |it: PortBody| {
            let window = match (it.duration, it.end) {
                (Some(length), None) => Window::For(length),
                (None, Some(end)) => Window::Until(end),
                (None, None) | (Some(_), Some(_)) => {
                    return Err("each port needs either `duration` or `end`".to_owned());
                }
            };
            // A bot has no address that its people come from.
            let sources = it.sources.ok_or("each port of a bot's request needs `sources`")?;
            let sources = Sources::try_from(sources).map_err(|error| error.to_string())?;
            Ok(Ask { target: target.clone(), port: it.port, protocol: it.protocol, sources, window })
        };
        ports.into_iter().map(ask).collect()
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| format!("the event's detail cannot be read: {error}"))
}

fn field<T: DeserializeOwned>(value: Option<Value>, name: &str) -> Result<Option<T>, String> {
    let read = value.map(serde_json::from_value).transpose();
    read.map(Option::flatten).map_err(|error| format!("`{name}` of the event cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Why not, for programs: what is said besides the envelope of an event that is fit to be heard.
    fn code(more: &Value) -> &'static str {
        let mut body = json!({ "source": "chatops", "time": "2026-03-02T12:00:00Z", "id": "1",
                               "detail-type": "access.close" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = body.to_string();
        let incoming = Incoming { body: body.as_bytes(), source: None, has_archive: true };
        let bots = r#"[{"source": "chatops", "for": ["ann"]}]"#.parse().expect("bots");
        let now = "2026-03-02T12:01:00Z".parse().expect("a time");
        Heard::of(incoming).wish(incoming, &bots, now).err().expect("a no").code
    }

    #[test]
    fn bot_speaks_for_a_person_in_any_spelling_and_a_list_names_no_asterisk() {
        let bots: Bots = r#"[{"source": "chatops", "for": ["Ann"]}, {"source": "all", "for": "*"}]"#
            .parse()
            .expect("bots");
        let person = |name: &str| name.parse::<Person>().expect("a person");
        assert!(bots.admit("chatops", &person("ann")) && bots.admit("chatops", &person("\u{430}nn")));
        assert!(!bots.admit("chatops", &person("bob")) && bots.admit("all", &person("bob")));
        let refused = r#"[{"source": "chatops", "for": ["ann", "*"]}]"#.parse::<Bots>().expect_err("refused");
        assert!(refused.contains("`*` in the list of `chatops` is no name of a person"), "{refused}");
        assert!(r#"["*"]"#.parse::<Bots>().is_err());
    }

    #[test]
    fn every_refusal_of_an_event_has_a_code() {
        let detail = |by: &str, version: u64| json!({ "version": version, "on_behalf_of": by });
        let cases = [
            (json!({ "source": "nobody" }), "unknown-bot"),
            (json!({ "time": "2026-03-02T11:00:00Z" }), "too-old"),
            (json!({ "detail": "text" }), "unreadable"),
            (json!({ "detail": detail("ann", 9) }), "unknown-version"),
            (json!({ "detail": detail("bob", 1) }), "not-for-them"),
            (json!({ "detail": detail("*", 1) }), "unreadable"),
            (json!({ "detail": detail("ann", 1) }), "unreadable"),
            (json!({ "detail": detail("ann", 1), "detail-type": "access.anything" }), "unknown-kind"),
            (json!({ "detail": "x".repeat(EVENT_MAX) }), "too-large"),
        ];
        for (more, wanted) in cases {
            assert_eq!(code(&more), wanted);
        }
    }

    #[test]
    fn a_command_of_a_bot_names_its_request() {
        let request = RequestId::derived(&"ann".parse().expect("a person"), &"k".parse().expect("a key"));
        let wish =
            |what| Wish { by: "ann".parse().expect("a person"), key: "k".parse().expect("a key"), what };
        let asked = Asking::Request(Initiate { asks: vec![], break_glass: false, justification: None });
        assert_eq!(wish(asked).request().as_ref(), Some(&request));
        let closed = Asking::Close(Close { grant: GrantId::derived(&request, 1) });
        assert_eq!(wish(closed).request(), Some(request));
    }
}
