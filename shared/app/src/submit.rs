//! The door for events: what bots ask for, on behalf of people.

use crate::{
    Absent, Answer, Bots, Call, Error, Kept, Parts, Principal, Rights, Unreadable,
    asking::{Asking, No},
    command::{Approve, Close, OrderExport, Reject, Withdraw},
    perform,
    ports::Store,
    record::record,
    refuse_unreadable,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    CorrelationId, Grant, IdempotencyKey, Person, Refusal, Refusals, RequestId, Review, TOKEN_IN_TEXT, Terms,
    Via, holds_token,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an event may be, in bytes: the largest request has 40 ports.
pub const EVENT_MAX: usize = 64 * 1024;
/// An event on the bus may be this old. That is longer than all tries of a queue take; what is older was kept somewhere, and
/// whoever wanted it then may want it no more.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(15);
/// How much of an id that is refused is said again, in characters.
const GIVEN_MAX: usize = 80;
/// The version of what bots send.
const VERSION: u64 = 1;

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
    /// A request would be decided so. That is recorded, and published as `request.explained`.
    Explained(Box<Review>),
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
    rights: &Rights,
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
    let parts = Parts { store, outside: &Absent, tokens: &Absent, terms, rights };
    let outcome = match what {
        Asking::Request(initiate) => match perform(parts, call, initiate).await {
            Err(Error::Refused(reasons)) => return Ok(recorded(&reasons)),
            outcome => outcome.map(Box::new).map(Submitted::Answered),
        },
        Asking::Extend(extend) => match perform(parts, call, extend).await {
            Err(Error::Refused(reasons)) => return Ok(recorded(&reasons)),
            outcome => outcome.map(Box::new).map(Submitted::Answered),
        },
        Asking::Explain(explain) => match perform(parts, call, explain.clone()).await {
            Ok(review) => {
                record(store, &explain.answered(call, &review), now).await?;
                Ok(Submitted::Explained(Box::new(review)))
            }
            Err(error) => Err(error),
        },
        Asking::Approve(approve) => {
            perform(parts, call, approve).await.map(Box::new).map(Submitted::Answered)
        }
        Asking::Reject(reject) => perform(parts, call, reject).await.map(Box::new).map(Submitted::Answered),
        Asking::Withdraw(withdraw) => {
            perform(parts, call, withdraw).await.map(Box::new).map(Submitted::Answered)
        }
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

/// The answer to a request that was refused: it is recorded with the targets that it names, and published from there.
fn recorded(reasons: &Refusals) -> Submitted {
    let codes = reasons.iter().map(Refusal::code).collect::<Vec<_>>();
    tracing::info!(?codes, "An event was refused");
    Submitted::Refused(reasons.iter().map(ToString::to_string).collect())
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

impl Wish {
    /// The request that it makes or is about.
    fn request(&self) -> Option<RequestId> {
        match &self.what {
            Asking::Request(_) | Asking::Extend(_) => Some(RequestId::derived(&self.by, &self.key)),
            Asking::Approve(Approve { request, .. })
            | Asking::Reject(Reject { request, .. })
            | Asking::Withdraw(Withdraw { request }) => Some(request.clone()),
            Asking::Close(Close { grant }) => grant.derivation().map(|(request, _)| request),
            Asking::Export(_) | Asking::Explain(_) => None,
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
        if !bots.has(&self.source) {
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
        if id.is_empty() {
            return Err("the event has no `id`: 1 to 200 printable characters that no other event has".into());
        }
        // Two bots may count alike.
        let key = format!("{} {id}", self.source).parse::<IdempotencyKey>();
        let key = key.ok().filter(|_| !id.trim().is_empty()).ok_or_else(|| {
            let given: String = id.chars().take(GIVEN_MAX).collect();
            format!(
                "`{given}` is not an `id` of an event: 1 to 200 printable characters that no other event has"
            )
        })?;
        let kind = self.kind.as_deref().ok_or("the event has no `detail-type`")?;
        let what = Asking::read(kind, Value::Object(detail), incoming.has_archive)?;
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

fn field<T: DeserializeOwned>(value: Option<Value>, name: &str) -> Result<Option<T>, String> {
    let read = value.map(serde_json::from_value).transpose();
    read.map(Option::flatten).map_err(|error| format!("`{name}` of the event cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Initiate;
    use portcullis_domain::GrantId;
    use serde_json::json;

    /// Why not: what is said besides the envelope of an event that is fit to be heard.
    fn no(more: &Value) -> No {
        let mut body = json!({ "source": "chatops", "time": "2026-03-02T12:00:00Z", "id": "1",
                               "detail-type": "access.close" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = body.to_string();
        let incoming = Incoming { body: body.as_bytes(), source: None, has_archive: true };
        let bots = r#"[{"source": "chatops", "for": ["ann"]}]"#.parse().expect("bots");
        let now = "2026-03-02T12:01:00Z".parse().expect("a time");
        Heard::of(incoming).wish(incoming, &bots, now).err().expect("a no")
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
            assert_eq!(no(&more).code, wanted);
        }
    }

    #[test]
    fn event_that_cannot_be_read_is_refused_with_the_field_the_input_and_the_input_that_would_be_accepted() {
        let port = |number: Value| {
            let port = json!({ "port": number, "sources": ["203.0.113.9"], "duration": "PT1H" });
            json!({ "version": 1, "on_behalf_of": "ann", "targets": [{ "target": "/vm/web-1", "ports": [port] }] })
        };
        let request = |detail: Value| json!({ "detail-type": "access.request", "detail": detail });
        let id = "1 to 200 printable characters that no other event has";
        let path = "`targets[0].ports[0].port` of the event's detail cannot be read";
        let mut without_id = request(port(json!(22)));
        without_id["id"] = Value::Null;
        let mut of_spaces = request(port(json!(22)));
        of_spaces["id"] = json!("  ");
        let mut without_grant = json!({ "version": 1, "on_behalf_of": "ann" });
        without_grant["id"] = json!("1");
        for (said, wanted) in [
            (request(port(json!(70000))), format!("{path}: `70000` is not a port from 1 to 65535")),
            (
                request(port(json!("22"))),
                format!("{path}: invalid type: string \"22\", expected a port from 1 to 65535"),
            ),
            (without_id, format!("the event has no `id`: {id}")),
            (of_spaces, format!("`  ` is not an `id` of an event: {id}")),
            (
                json!({ "detail": without_grant }),
                "the event's detail cannot be read: missing field `grant`".to_owned(),
            ),
        ] {
            assert_eq!(no(&said).why, wanted);
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
