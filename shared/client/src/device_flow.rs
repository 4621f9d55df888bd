//! Logging in by a code that is typed in a browser elsewhere (RFC 8628).

use crate::oidc::{Given, Provider};
use portcullis_program::{Failure, output};
use serde::Deserialize;
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to wait between two questions, where the provider does not say.
const INTERVAL_SECS: u64 = 5;
/// How much longer, each time that it asks to slow down.
const SLOWER_SECS: u64 = 5;
/// How long a person may take, whatever the provider says.
const PERSON_MAX: Duration = Duration::from_mins(30);

#[derive(Debug, Deserialize)]
struct Device {
    #[serde(rename = "device_code")]
    code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

/// Lets the person log in, and gives the tokens.
pub fn log_in(provider: &Provider) -> Result<Given, Failure> {
    let Some(place) = &provider.at.device_authorization_endpoint else {
        return Err(Failure::usage(format!("`{}` offers no log-in by a device code", provider.of.issuer))
            .next("run `portcullis login` without --device"));
    };
    let scope = provider.of.scope();
    let fields: Vec<_> = [("scope", scope.as_str())].into_iter().chain(provider.of.audience()).collect();
    let device: Device = provider.ask(place, &fields)?;
    let url = device.verification_uri_complete.as_deref().unwrap_or(&device.verification_uri);
    output::note(format_args!(
        "Log in at this address, in any browser:\n\n  {url}\n\nand compare the code there, or type it: {}\n",
        device.user_code
    ));
    let until = Instant::now() + Duration::from_secs(device.expires_in).min(PERSON_MAX);
    let mut interval = Duration::from_secs(device.interval.unwrap_or(INTERVAL_SECS));
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", device.code.as_str()),
    ];
    while Instant::now() < until {
        thread::sleep(interval);
        match provider.tokens(&fields)? {
            Ok(given) => return Ok(given),
            Err(wait) if wait.error == "authorization_pending" => {}
            Err(wait) if wait.error == "slow_down" => interval += Duration::from_secs(SLOWER_SECS),
            Err(refused) => return Err(refused.failure()),
        }
    }
    Err(Failure::unavailable("the log-in was not finished while the code was good")
        .next("run `portcullis login --device` again"))
}
