//! Who calls, and from where.

use crate::{Happened, Problem, Site};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use jiff::Timestamp;
use portcullis_app::{BadToken, Call, Error, Principal, ports::Authentication as _};
use portcullis_domain::Via;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The caller, and the address that the call came from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The principal whose token it was.
    pub principal: Principal,
    /// "My IP"; unknown where the connection does not tell.
    pub address: Option<IpAddr>,
    /// The program that calls, by its own word.
    pub via: Via,
}

impl Caller {
    /// A call of theirs, of no matter and without a key.
    pub(crate) fn call(self, now: Timestamp) -> Call {
        Call { via: self.via, ..Call::over_http(self.principal, self.address, now) }
    }

    /// The problem of a caller who has waited, and whose token was taken away meanwhile.
    pub(crate) async fn remains<S: Site>(&self, site: &S, headers: &HeaderMap) -> Result<(), Problem> {
        match shown(site, headers).await? {
            Shown::Of(principal) if principal == self.principal => Ok(()),
            Shown::Of(_) => Err(Problem::of_token(&BadToken::Unknown)),
            Shown::Nobodys(why) => Err(Problem::of_token(&why)),
            // The platform vouches for them.
            Shown::Unasked => Ok(()),
        }
    }
}

/// How the `User-Agent` of the command line begins.
const COMMAND_LINE: &str = "portcullis/";

/// Who calls, by the word of the platform that let them in: an extension of the request that the composition
/// root sets, and nobody else can. A bearer token is not asked for then.
#[derive(Debug, Clone)]
pub struct Vouched(pub Principal);

/// Whose token a request shows, where the composition root asked before the router does: an extension of the request that
/// saves asking twice.
#[derive(Debug, Clone, Default)]
pub enum Shown {
    /// It shows none, or nobody could be asked.
    #[default]
    Unasked,
    /// It shows one that proves nobody.
    Nobodys(BadToken),
    /// It shows a valid one.
    Of(Principal),
}

impl Shown {
    /// The principal whose token it is.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Of(principal) => Some(principal),
            Self::Unasked | Self::Nobodys(_) => None,
        }
    }
}

/// Whose token a request shows.
pub async fn shown<S: Site>(site: &S, headers: &HeaderMap) -> Result<Shown, Error> {
    match headers.get(header::AUTHORIZATION) {
        None => Ok(Shown::Unasked),
        Some(header) => {
            let proven = authenticated(site, header.to_str().unwrap_or_default()).await?;
            Ok(proven.map_or_else(Shown::Nobodys, Shown::Of))
        }
    }
}

impl<S: Site> FromRequestParts<Arc<S>> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, site: &Arc<S>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip());
        let address = peer.and_then(|peer| site.proxies().address(peer, &parts.headers));
        let principal = match parts.extensions.get::<Vouched>() {
            Some(Vouched(principal)) => principal.clone(),
            None => bearer(parts, site).await?.map_err(|problem| failed(&**site, address, problem))?,
        };
        Ok(Self { principal, address, via: via(&parts.headers) })
    }
}

/// The command line says which program it is, as any other program might: that is for the record, and nothing is permitted by it.
fn via(headers: &HeaderMap) -> Via {
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok());
    if agent.is_some_and(|it| it.starts_with(COMMAND_LINE)) { Via::Cli } else { Via::Http }
}

/// Whose token it is, or why nobody is let in by it.
async fn bearer<S: Site>(parts: &Parts, site: &Arc<S>) -> Result<Result<Principal, Problem>, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let Some(header) = header else {
        return Ok(Err(Problem::unauthorized("send `Authorization: Bearer <token>`")));
    };
    let proven = match parts.extensions.get::<Shown>() {
        Some(Shown::Of(principal)) => Ok(principal.clone()),
        Some(Shown::Nobodys(why)) => Err(why.clone()),
        Some(Shown::Unasked) | None => authenticated(&**site, header).await?,
    };
    Ok(proven.map_err(|why| {
        tracing::debug!(why = why.word(), "A token was refused");
        Problem::of_token(&why)
    }))
}

async fn authenticated<S: Site>(site: &S, header: &str) -> Result<Result<Principal, BadToken>, Error> {
    // RFC 9110: the scheme's case does not matter.
    let bearer = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match bearer {
        Some((_, token)) => site.tokens().authenticate(token.trim(), site.now()).await,
        None => Ok(Err(BadToken::Unknown)),
    }
}

/// Counts it; whoever does it too often is told so. A valid token is let in all the same, from the same address too.
fn failed<S: Site>(site: &S, address: Option<IpAddr>, problem: Problem) -> Problem {
    let is_within = site.strangers().is_none_or(|it| it.happened(Happened::FailedLogin, address, site.now()));
    if is_within { problem } else { Problem::too_often("too many failed logins from your address") }
}
