//! Logging in by a browser: an authorisation code with PKCE (RFC 7636), received on this machine (RFC 8252).

use crate::{
    oidc::{Given, Provider, Refused},
    path::encoded,
    url::is_loopback,
};
use data_encoding::BASE64URL_NOPAD;
use percent_encoding::percent_decode_str;
use portcullis_program::{Failure, output, secret};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use ureq::http::Uri;

/// How long a person may take.
const PERSON_MAX: Duration = Duration::from_mins(5);
/// How long a browser may take to send its request, once it is connected.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long the first line of that may be, in bytes.
const LINE_MAX: u64 = 16 << 10;
/// How often it is looked whether somebody is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where the browser is sent back to, where the profile does not say.
const REDIRECT: &str = "http://127.0.0.1/callback";

/// Lets the person log in, and gives the tokens with the nonce that they have to name.
pub fn log_in(provider: &Provider, opens_browser: bool) -> Result<(Given, String), Failure> {
    let [state, nonce, verifier] = [random()?, random()?, random()?];
    let back = Back::listen(provider.of.redirect.as_deref().unwrap_or(REDIRECT))?;
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&verifier));
    let scope = provider.of.scope();
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", provider.of.client_id.as_str()),
        ("redirect_uri", back.url.as_str()),
        ("scope", scope.as_str()),
        ("state", state.as_str()),
        ("nonce", nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    fields.extend(provider.of.audience());
    fields.extend(provider.of.prompt.as_deref().map(|it| ("prompt", it)));
    let query: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let place = &provider.at.authorization_endpoint;
    let join = if place.contains('?') { '&' } else { '?' };
    let url = format!("{place}{join}{}", query.join("&"));
    output::note(format_args!("Log in at this address, in a browser on this machine:\n\n  {url}\n"));
    if opens_browser {
        open(&url);
    }
    let code = back.code(provider, &state)?;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", back.url.as_str()),
        ("code_verifier", verifier.as_str()),
    ];
    let fields: Vec<_> = fields.into_iter().chain(provider.of.audience()).collect();
    let given = provider.tokens(&fields)?.map_err(|it: Refused| it.failure())?;
    Ok((given, nonce))
}

/// Where the browser comes back to.
struct Back {
    listener: TcpListener,
    url: String,
    path: String,
}

impl Back {
    fn listen(redirect: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("`redirect` of the profile is `{redirect}`"))
                .next("it has to be a URL of this machine such as `http://127.0.0.1/callback` or `http://localhost:8400/callback`")
        };
        let uri: Uri = redirect.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || !is_loopback(&uri) || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let cannot = |error: io::Error| Failure::cannot("receive the browser on this machine", error);
        let listener =
            TcpListener::bind(SocketAddr::new(address, uri.port_u16().unwrap_or(0))).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        Ok(Self { listener, url: format!("http://{host}:{port}{}", uri.path()), path: uri.path().to_owned() })
    }

    /// The code of this log-in. What else comes here, such as a page that guesses, ends nothing.
    fn code(&self, provider: &Provider, state: &str) -> Result<String, Failure> {
        let until = Instant::now() + PERSON_MAX;
        while Instant::now() < until {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Some(outcome) = self.answered(stream, provider, state) {
                        return outcome;
                    }
                }
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
        Err(Failure::unavailable(format!(
            "the log-in was not finished within {} min",
            PERSON_MAX.as_secs() / 60
        ))
        .next("run `portcullis login` again; with --device the browser may be on another machine"))
    }

    /// The outcome of a request, if it is that of this log-in.
    fn answered(
        &self,
        mut stream: TcpStream,
        provider: &Provider,
        state: &str,
    ) -> Option<Result<String, Failure>> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(REQUEST_MAX)).ok()?;
        let mut line = String::new();
        BufReader::new((&stream).take(LINE_MAX)).read_line(&mut line).ok()?;
        let target = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let said = fields(query);
        if path != self.path || said.get("state").map(String::as_str) != Some(state) {
            say(&mut stream, "404 Not Found", "This page belongs to no log-in that is under way.");
            return None;
        }
        let outcome = outcome(&said, provider);
        match &outcome {
            Ok(_) => say(&mut stream, "200 OK", "You are logged in to Portcullis. Close this page."),
            Err(_) => {
                say(&mut stream, "200 OK", "The log-in failed: the terminal says why. Close this page.");
            }
        }
        Some(outcome)
    }
}

/// The code of an answer, or why there is none.
fn outcome(said: &BTreeMap<String, String>, provider: &Provider) -> Result<String, Failure> {
    // RFC 9207: with several providers, an answer of one must not be taken for that of another.
    let issuer = said.get("iss").map(String::as_str);
    let has_to_say = provider.at.authorization_response_iss_parameter_supported;
    if issuer.map_or(has_to_say, |it| it != provider.of.issuer) {
        return Err(Failure::refused("the answer of the log-in is that of another provider")
            .next("run `portcullis login` again"));
    }
    if let Some(error) = said.get("error") {
        let why = said.get("error_description").cloned();
        return Err(Failure::refused(format!("the provider refuses: {error}")).because(why));
    }
    said.get("code")
        .cloned()
        .ok_or_else(|| Failure::broken("the provider sent the browser back without a code"))
}

fn fields(query: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair = |it: &str| it.split_once('=').map(|(name, value)| (decoded(name), decoded(value)));
    query.split('&').filter_map(pair).collect()
}

fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let length = text.len();
    // A browser that left needs no page.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\ncache-control: \
         no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}"
    );
}

/// Asks the desktop to show a page. Where it cannot, the person follows the address.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    let _ = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

fn random() -> Result<String, Failure> {
    let bytes = secret().map_err(|error| Failure::cannot("make a secret", error))?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_comes_back_to_this_machine_alone() {
        for (redirect, begins) in [
            ("http://127.0.0.1/callback", "http://127.0.0.1:"),
            ("http://localhost/back", "http://localhost:"),
        ] {
            let back = Back::listen(redirect).expect("listens");
            assert!(back.url.starts_with(begins) && back.url.ends_with(&back.path), "{}", back.url);
            assert!(back.listener.local_addr().expect("an address").ip().is_loopback());
        }
        for redirect in
            ["https://127.0.0.1/x", "http://idp.example/x", "http://0.0.0.0/x", "x", "http://127.0.0.1/x?y=z"]
        {
            assert!(Back::listen(redirect).is_err(), "{redirect}");
        }
    }

    #[test]
    fn fields_of_a_query_are_decoded() {
        let said = fields("code=a%2Bb&state=x+y&iss=https%3A%2F%2Fidp.example&empty=&x");
        assert_eq!(
            (said["code"].as_str(), said["state"].as_str(), said["empty"].as_str()),
            ("a+b", "x y", "")
        );
        assert_eq!(said["iss"], "https://idp.example");
    }
}
