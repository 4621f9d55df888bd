//! The commands and queries of bots, as the details of their events say them.

use crate::{
    Exporting, Format,
    command::{Approve, Close, Extend, Initiate, Reject, Withdraw},
    query::Explain,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Ask, GrantId, Justification, Port, Protocol, Refusals, RequestId, Sources, TargetId, Window, said,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// A command or a query of a bot.
pub(crate) enum Asking {
    Request(Initiate),
    Explain(Explain),
    Extend(Extend),
    Approve(Approve),
    Reject(Reject),
    Withdraw(Withdraw),
    Close(Close),
    Export(Exporting),
}

/// One reason why not: a word for programs, and what people are told.
#[derive(Debug)]
pub(crate) struct No {
    pub(crate) code: &'static str,
    pub(crate) why: String,
}

impl No {
    pub(crate) fn of(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    pub(crate) fn all(reasons: &Refusals) -> Vec<Self> {
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

impl Asking {
    /// Of an event of this kind, with what its detail has beside the envelope.
    pub(crate) fn read(kind: &str, body: Value, has_archive: bool) -> Result<Self, No> {
        Ok(match kind {
            "access.request" => Self::Request(read::<RequestBody>(body)?.initiate()?),
            "access.explain" => Self::Explain(Explain(read::<RequestBody>(body)?.initiate()?)),
            "access.extend" => {
                let ExtendBody { grant, end, justification } = read(body)?;
                Self::Extend(Extend { grant, end, justification })
            }
            "access.approve" => {
                let ApproveBody { request, shown } = read(body)?;
                Self::Approve(Approve { request, shown })
            }
            "access.reject" => {
                let RejectBody { request, why } = read(body)?;
                // The event names the request alone: it is rejected as it stands.
                Self::Reject(Reject { request, shown: None, why })
            }
            "access.withdraw" => Self::Withdraw(Withdraw { request: read::<WithdrawBody>(body)?.request }),
            "access.close" => Self::Close(Close { grant: read::<CloseBody>(body)?.grant }),
            "export.request" if has_archive => Self::Export(read::<ExportBody>(body)?.whole()?),
            "export.request" => {
                let why = "this installation has no archive: run `portcullis export` instead";
                return Err(No::of("no-archive", why));
            }
            kind => {
                let why = format!(
                    "`{kind}` is not a `detail-type` of a command: `access.request`, `access.explain`, `access.extend`, \
                        `access.approve`, `access.reject`, `access.withdraw`, `access.close` and `export.request` are"
                );
                return Err(No::of("unknown-kind", why));
            }
        })
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
    #[serde(default, deserialize_with = "said::any_time")]
    start: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    grant: GrantId,
    #[serde(deserialize_with = "said::time")]
    end: Timestamp,
    justification: Option<Justification>,
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
struct WithdrawBody {
    request: RequestId,
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

impl RequestBody {
    fn initiate(self) -> Result<Initiate, String> {
        let Self { targets, justification, break_glass } = self;
        let asks = targets.into_iter().map(TargetBody::asks).collect::<Result<Vec<_>, _>>()?;
        Ok(Initiate { asks: asks.into_iter().flatten().collect(), break_glass, justification })
    }
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
            let window = match (it.start, it.duration, it.end) {
                (None, Some(length), None) => Window::For(length),
                (None, None, Some(end)) => Window::Until(end),
                (Some(start), Some(length), None) => Window::From { start, length },
                (Some(start), None, Some(end)) => Window::From { start, length: end.duration_since(start) },
                (_, None, None) | (_, Some(_), Some(_)) => {
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

/// A detail, or the field that cannot be read, such as `targets[0].ports[1].port`.
fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(body).map_err(|error| match error.path().iter().next() {
        Some(_) => format!("`{}` of the event's detail cannot be read: {}", error.path(), error.inner()),
        None => format!("the event's detail cannot be read: {}", error.inner()),
    })
}
