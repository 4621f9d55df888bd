//! What people say through bots: events on the bus, which come to the same door. Some are bad, some are sent
//! twice, and some come again long after.

use super::{
    clock::stamp,
    log::Actor,
    outside::{Outside, unavailable},
    queue::Queue,
    world::World,
};
use portcullis_app::{Error, ports::Store as _};
use portcullis_domain::{
    Ask, CorrelationId, GrantId, IdempotencyKey, Justification, Person, RequestId, Window,
};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Whoever finds an event after so long does not do it: the door's 15 minutes, and by any clock.
const LONG_AFTER_MS: i64 = 15 * 60_000 + 60_000;

/// An event of a bot, as it is meant.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) source: &'static str,
    /// What the bus calls it the first time; who sends it again does so by another name.
    pub(super) event: String,
    /// What its sender calls it. Without one it is what the bus calls it.
    pub(super) id: Option<String>,
    pub(super) correlation: Option<CorrelationId>,
    pub(super) by: Person,
    pub(super) says: Says,
    pub(super) flaw: Option<Flaw>,
}

/// What it is about.
#[derive(Debug, Clone)]
pub(super) enum Says {
    Request { asks: Vec<Ask>, why: Option<Justification>, break_glass: bool },
    Approve(RequestId),
    Reject(RequestId),
    Close(GrantId),
}

/// Why it must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its source, or whom it speaks for, is not what the bots may: nothing else is wrong.
    NotAllowed,
    Garbage,
    AnotherVersion,
    AnotherKind,
    Timeless,
    /// It was kept for too long.
    Stale,
}

/// An event that is on its way, as the oracle waits for the answer.
#[derive(Debug, Clone)]
pub(super) struct Posted {
    /// What the bus calls it.
    pub(super) event: String,
    pub(super) letter: Letter,
    /// What its request is called, if it asks for one.
    pub(super) request: Option<RequestId>,
}

impl Says {
    /// What needs no reason.
    pub(super) fn request(asks: Vec<Ask>) -> Self {
        Self::Request { asks, why: None, break_glass: false }
    }
}

impl Letter {
    /// What the door makes of its id: the same for every delivery.
    pub(super) fn key(&self, event: &str) -> IdempotencyKey {
        let id = self.id.as_deref().unwrap_or(event);
        format!("{} {id}", self.source).parse().expect("a key")
    }

    /// Puts it on the bus. Who does not hear back puts it there again.
    pub(super) async fn post(&self, o: &Outside, press: usize) -> Result<(), Error> {
        let shown = match &self.says {
            // Whoever decides was shown something before.
            Says::Approve(request) => o.request(request).await?.map(|(it, _)| it.shown()).unwrap_or_default(),
            Says::Request { .. } | Says::Reject(_) | Says::Close(_) => String::new(),
        };
        let event = if press == 0 { self.event.clone() } else { format!("{}/{press}", self.event) };
        o.call(|world| world.post(self, event, &shown)).await
    }

    fn kind(&self) -> &'static str {
        match self.says {
            Says::Request { .. } => "access.request",
            Says::Approve(_) => "access.approve",
            Says::Reject(_) => "access.reject",
            Says::Close(_) => "access.close",
        }
    }

    fn body(&self, event: &str, shown: &str, now: i64) -> String {
        let mut detail = match &self.says {
            Says::Request { asks, why, break_glass } => {
                let targets: Vec<Value> = asks.iter().map(target).collect();
                let mut detail = json!({ "targets": targets, "break_glass": break_glass });
                if let Some(why) = why {
                    detail["justification"] = why.as_str().into();
                }
                detail
            }
            Says::Approve(request) => json!({ "request": request, "shown": shown }),
            Says::Reject(request) => json!({ "request": request }),
            Says::Close(grant) => json!({ "grant": grant }),
        };
        detail["version"] = if self.flaw == Some(Flaw::AnotherVersion) { 2 } else { 1 }.into();
        detail["on_behalf_of"] = self.by.as_str().into();
        if let Some(id) = &self.id {
            detail["id"] = id.as_str().into();
        }
        if let Some(correlation) = &self.correlation {
            detail["correlation_id"] = correlation.as_str().into();
        }
        let kind = if self.flaw == Some(Flaw::AnotherKind) { "access.everything" } else { self.kind() };
        let mut body = json!({
            "version": "0", "id": event, "detail-type": kind, "source": self.source,
            "resources": [], "detail": detail,
        });
        if self.flaw != Some(Flaw::Timeless) {
            body["time"] = Value::String(stamp(now).to_string());
        }
        let mut text = body.to_string();
        if self.flaw == Some(Flaw::Garbage) {
            text.truncate(text.len() / 2);
        }
        text
    }
}

fn target(ask: &Ask) -> Value {
    let sources: Vec<String> = ask.sources.ranges().iter().map(ToString::to_string).collect();
    let mut port = json!({ "port": ask.port, "sources": sources });
    if let Some(protocol) = ask.protocol {
        port["protocol"] = json!(protocol);
    }
    match ask.window {
        Window::For(length) => port["duration"] = json!(length),
        Window::Until(end) => port["end"] = json!(end),
        Window::From { .. } => unreachable!("no event can say so"),
    }
    json!({ "target": ask.target, "ports": [port] })
}

impl World {
    /// The bus takes an event of a bot: it comes to the door, perhaps twice, perhaps also long after.
    fn post(&mut self, letter: &Letter, event: String, shown: &str) -> Result<(), Error> {
        let now = self.time.now;
        let request = match &letter.says {
            Says::Request { .. } => Some(RequestId::derived(&letter.by, &letter.key(&event))),
            Says::Approve(_) | Says::Reject(_) | Says::Close(_) => None,
        };
        let body: Arc<str> = letter.body(&event, shown, now).into();
        let copies = [0, 1, 1, 1, 2, 2][self.dice.index(6)];
        self.note(Actor::World, || format!("{copies} of a bot's event are on their way: {body}"));
        let posted = Posted { event, letter: letter.clone(), request };
        if copies == 0 {
            self.oracle.count("bot's event lost");
        } else {
            let at = self.oracle.posted(posted.clone(), shown);
            for _ in 0..copies {
                self.send(Queue::Submit, Arc::clone(&body), Some(at));
            }
        }
        if self.dice.once_in(10) && now < super::faults::STORM_ENDS_MS / 2 {
            let letter = Letter { flaw: letter.flaw.or(Some(Flaw::Stale)), ..letter.clone() };
            let at = self.oracle.posted(Posted { letter, ..posted }, shown);
            self.send_at(now + LONG_AFTER_MS, Queue::Submit, body, Some(at));
        }
        if self.storms() && self.dice.once_in(12) {
            return Err(unavailable("put an event on the bus", "the bus did not answer"));
        }
        Ok(())
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, by, says, flaw, .. } = self;
        write!(f, "say as {source} for {by}: {says:?}")?;
        flaw.map_or(Ok(()), |flaw| write!(f, ", and it is {flaw:?}"))
    }
}
