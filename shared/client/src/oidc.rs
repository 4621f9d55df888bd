//! An OpenID Connect provider as a client asks it: its endpoints, and the tokens that it gives.

use crate::{network::Network, path::encoded, url::is_loopback};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use portcullis_outgoing::Roots;
use portcullis_program::Failure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use ureq::{
    Agent,
    http::{StatusCode, Uri},
};

/// How long to wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long to wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long an answer may be, in bytes.
const BODY_MAX: u64 = 1 << 20;
/// How long a token is good where its issuer does not say.
const LIFE: SignedDuration = SignedDuration::from_mins(5);
/// The scopes that are asked for where the profile names none: who it is, and a token that renews itself.
const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// How a person logs in, as a profile says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Oidc {
    /// The `iss` of the provider, to the letter.
    pub issuer: String,
    /// The name of this program there: a public client.
    pub client_id: String,
    /// What Google gives programs of people's machines beside that; it is no secret.
    pub client_secret: Option<String>,
    /// The audience of the access token.
    pub audience: Option<String>,
    /// What is asked for.
    pub scopes: Option<Vec<String>>,
    /// What the provider asks the person beside the name: some give a token that renews itself only after `consent`.
    pub prompt: Option<String>,
    /// The token that is sent to Portcullis.
    pub token: Option<Kind>,
    /// Where the provider sends the person's browser back to: on this machine.
    pub redirect: Option<String>,
}

/// A token of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The one that says who the person is, for this program.
    Id,
    /// The one that is for the audience.
    Access,
}

/// A provider that was asked where its endpoints are.
#[derive(Debug)]
pub struct Provider {
    pub of: Oidc,
    pub at: Endpoints,
    agent: Agent,
}

/// What is read of a discovery document.
#[derive(Debug, Deserialize)]
pub struct Endpoints {
    issuer: String,
    pub authorization_endpoint: String,
    token_endpoint: String,
    pub device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    /// Does its answer name the issuer (RFC 9207)?
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// What a token endpoint gives.
#[derive(Debug, Deserialize)]
pub struct Given {
    token_type: String,
    access_token: String,
    id_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<i64>,
}

/// What an endpoint refuses with (RFC 6749, section 5.2).
#[derive(Debug, Deserialize)]
pub struct Refused {
    pub error: String,
    error_description: Option<String>,
}

/// The token to send, and until when it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    pub token: String,
    pub until: Timestamp,
}

impl Oidc {
    /// The kind of token that is sent. An access token is one that Portcullis can read only where an audience is asked for: without
    /// one, providers give any text.
    pub fn kind(&self) -> Kind {
        self.token.unwrap_or(if self.audience.is_some() { Kind::Access } else { Kind::Id })
    }

    /// The scopes that are asked for, with spaces between them.
    pub fn scope(&self) -> String {
        match &self.scopes {
            Some(scopes) => scopes.join(" "),
            None => SCOPES.join(" "),
        }
    }

    /// The audience, as a resource (RFC 8707) and in the parameter that some providers had before.
    pub fn audience(&self) -> Vec<(&'static str, &str)> {
        let audience = |name| self.audience.as_deref().map(|it| (name, it));
        ["resource", "audience"].into_iter().filter_map(audience).collect()
    }
}

impl Provider {
    /// Asks it where its endpoints are.
    pub fn of(of: &Oidc, roots: &Roots) -> Result<Self, Failure> {
        let issuer = of.issuer.trim_end_matches('/');
        let url = endpoint(&format!("{issuer}/.well-known/openid-configuration"))?;
        let Network { tls, proxy } = Network::to(&url, roots)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX))
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .proxy(proxy)
            .build()
            .new_agent();
        let answer = agent.get(url.clone()).call().map_err(|error| unreached(&url, &error))?;
        let (status, text) = read(&url, answer)?;
        if status != StatusCode::OK {
            return Err(Failure::unavailable(format!("`{url}` answered {status}"))
                .next("compare `issuer` in the profile with the URL of the provider"));
        }
        let at: Endpoints = understood(&url, &text)?;
        if at.issuer != of.issuer {
            let (found, wanted) = (&at.issuer, &of.issuer);
            return Err(Failure::refused(format!(
                "`{url}` is the document of `{found}`, and not of `{wanted}`"
            ))
            .next("set `issuer` in the profile to the name that the provider has, to the letter"));
        }
        Ok(Self { of: of.clone(), at, agent })
    }

    /// Asks for tokens: for a code, a device code, or another token.
    pub fn tokens(&self, fields: &[(&str, &str)]) -> Result<Result<Given, Refused>, Failure> {
        let url = endpoint(&self.at.token_endpoint)?;
        let (status, text) = self.post(&url, fields)?;
        if status.is_success() {
            let given: Given = understood(&url, &text)?;
            // RFC 6749, section 7.1: in any case.
            if !given.token_type.eq_ignore_ascii_case("bearer") {
                return Err(Failure::broken(format!("`{url}` gave a token that is no bearer token")));
            }
            return Ok(Ok(given));
        }
        understood(&url, &text)
            .map(Err)
            .map_err(|_| Failure::unavailable(format!("`{url}` answered {status}")))
    }

    /// Asks one of its endpoints, as this client.
    pub fn ask<T: DeserializeOwned>(
        &self,
        endpoint_url: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let url = endpoint(endpoint_url)?;
        let (status, text) = self.post(&url, fields)?;
        if status.is_success() {
            return understood(&url, &text);
        }
        match serde_json::from_str::<Refused>(&text) {
            Ok(refused) => Err(refused.failure()),
            Err(_) => Err(Failure::unavailable(format!("`{url}` answered {status}"))),
        }
    }

    /// Tells it that a token is not used any more (RFC 7009). `false` where it has no place for that.
    pub fn revoke(&self, token: &str) -> Result<bool, Failure> {
        let Some(place) = &self.at.revocation_endpoint else { return Ok(false) };
        let url = endpoint(place)?;
        let (status, _) = self.post(&url, &[("token", token), ("token_type_hint", "refresh_token")])?;
        if status.is_success() {
            Ok(true)
        } else {
            Err(Failure::unavailable(format!("`{url}` answered {status}")))
        }
    }

    fn post(&self, url: &Uri, fields: &[(&str, &str)]) -> Result<(StatusCode, String), Failure> {
        let own = [
            ("client_id", Some(self.of.client_id.as_str())),
            ("client_secret", self.of.client_secret.as_deref()),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let pairs = fields.iter().copied().chain(own);
        let body: Vec<String> =
            pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let request = self.agent.post(url.clone()).header("accept", "application/json");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send(body.join("&")).map_err(|error| unreached(url, &error))?;
        read(url, answer)
    }
}

impl Given {
    /// The token by which another one is had. Some providers give an empty one for none.
    pub fn renewal(&self) -> Option<String> {
        self.refresh_token.clone().filter(|it| !it.is_empty())
    }

    /// The token to send. `nonce` is the one of this log-in, where it had one.
    ///
    /// The ID token came from the provider itself, over TLS, so that its signature proves nothing more (OpenID Connect Core, section
    /// 3.1.3.7); Portcullis checks it.
    pub fn usable(&self, of: &Oidc, nonce: Option<&str>, now: Timestamp) -> Result<Usable, Failure> {
        let wrong = |what: &str| {
            Failure::refused(format!("the ID token of `{}` {what}", of.issuer))
                .next("run `portcullis login` again")
        };
        let claims = self
            .id_token
            .as_deref()
            .map(|it| claims(it).ok_or_else(|| wrong("cannot be read")))
            .transpose()?;
        if let Some(claims) = &claims {
            let is_for_us = match &claims["aud"] {
                Value::Array(all) => all.iter().any(|it| *it == of.client_id.as_str()),
                Value::String(one) => *one == of.client_id,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
            };
            if claims["iss"] != of.issuer.as_str() {
                return Err(wrong("names another issuer"));
            }
            if !is_for_us {
                return Err(wrong("is for another client"));
            }
            if nonce.is_some_and(|it| claims["nonce"] != it) {
                return Err(wrong("is of another log-in"));
            }
        }
        let by_answer = || self.expires_in.map(|it| now.saturating_add(SignedDuration::from_secs(it)));
        let in_token = |claims: &Value| {
            claims["exp"].as_f64().map(|it| Timestamp::from_duration(SignedDuration::from_secs_f64(it)))
        };
        let end =
            |of_token: Option<Timestamp>| of_token.unwrap_or_else(|| now.saturating_add(LIFE).unwrap_or(now));
        match (of.kind(), &self.id_token, claims) {
            (Kind::Id, Some(token), Some(claims)) => {
                let until = in_token(&claims).and_then(Result::ok);
                Ok(Usable { token: token.clone(), until: end(until) })
            }
            (Kind::Id, _, _) => Err(Failure::refused(format!("`{}` gave no ID token", of.issuer))
                .next("let `scopes` in the profile have `openid`")),
            (Kind::Access, _, _) => {
                let until = by_answer().and_then(Result::ok);
                Ok(Usable { token: self.access_token.clone(), until: end(until) })
            }
        }
    }
}

impl Refused {
    /// As a person reads it.
    pub fn failure(&self) -> Failure {
        let Self { error, error_description } = self;
        let said = error_description.as_deref().map(|it| it.chars().take(300).collect());
        Failure::refused(format!("the provider refuses: {error}")).because(said)
    }
}

/// The claims of a token, unchecked.
fn claims(token: &str) -> Option<Value> {
    let bytes = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A URL that a code or a token may be sent to.
fn endpoint(url: &str) -> Result<Uri, Failure> {
    let read = url.parse::<Uri>().ok().filter(|it| it.host().is_some());
    let is_private =
        |it: &Uri| it.scheme_str() == Some("https") || it.scheme_str() == Some("http") && is_loopback(it);
    read.filter(is_private).ok_or_else(|| {
        Failure::usage(format!("`{url}` is no URL of a provider: it has to begin with `https://`"))
    })
}

fn read(url: &Uri, mut answer: ureq::http::Response<ureq::Body>) -> Result<(StatusCode, String), Failure> {
    let text = answer.body_mut().with_config().limit(BODY_MAX).read_to_string();
    Ok((answer.status(), text.map_err(|error| unreached(url, &error))?))
}

fn understood<T: DeserializeOwned>(url: &Uri, text: &str) -> Result<T, Failure> {
    // In its own words an error could quote a token.
    serde_json::from_str(text).map_err(|_| Failure::broken(format!("`{url}` gave an unexpected answer")))
}

fn unreached(url: &Uri, error: &ureq::Error) -> Failure {
    Failure::unavailable(format!("cannot reach `{url}`")).because([error.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(token: Option<Kind>, audience: Option<&str>) -> Oidc {
        Oidc {
            issuer: "https://idp.example".to_owned(),
            client_id: "cli".to_owned(),
            token,
            audience: audience.map(str::to_owned),
            ..Oidc::default()
        }
    }

    fn given(claims: &Value) -> Given {
        let id_token = format!("e30.{}.x", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let (token_type, access_token) = ("bEARER".to_owned(), "opaque".to_owned());
        Given {
            token_type,
            access_token,
            id_token: Some(id_token),
            refresh_token: None,
            expires_in: Some(60),
        }
    }

    #[test]
    fn id_token_is_sent_unless_an_audience_makes_the_access_token_one_that_can_be_read() {
        assert_eq!(of(None, None).kind(), Kind::Id);
        assert_eq!(of(None, Some("api")).kind(), Kind::Access);
        assert_eq!(of(Some(Kind::Id), Some("api")).kind(), Kind::Id);
        let now = Timestamp::UNIX_EPOCH;
        let sound = given(&json!({ "iss": "https://idp.example", "aud": ["cli"], "nonce": "n", "exp": 100 }));
        let usable = sound.usable(&of(None, Some("api")), Some("n"), now).expect("sound");
        assert_eq!((usable.token.as_str(), usable.until.as_second()), ("opaque", 60));
        let usable = sound.usable(&of(None, None), Some("n"), now).expect("sound");
        assert_eq!(usable.until.as_second(), 100);
    }

    #[test]
    fn id_token_of_another_issuer_client_or_log_in_is_refused() {
        let sound = json!({ "iss": "https://idp.example", "aud": "cli", "nonce": "n", "exp": 100 });
        for (name, value) in [("iss", "https://other.example"), ("aud", "other"), ("nonce", "m")] {
            let mut claims = sound.clone();
            claims[name] = json!(value);
            let refused = given(&claims).usable(&of(None, None), Some("n"), Timestamp::UNIX_EPOCH);
            assert!(refused.is_err(), "{name}");
        }
        assert!(
            given(&sound).usable(&of(None, None), None, Timestamp::UNIX_EPOCH).is_ok(),
            "a renewal has no nonce"
        );
    }

    #[test]
    fn endpoint_without_tls_is_on_this_machine_alone() {
        for url in ["https://idp.example/token", "http://127.0.0.1:1/token", "http://localhost/token"] {
            assert!(endpoint(url).is_ok(), "{url}");
        }
        for url in ["http://idp.example/token", "ftp://idp.example", "/token", ""] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }
}
