//! Logging in and out at the identity provider of a profile.

use crate::{
    auth::Auth,
    client::Client,
    code_flow, device_flow,
    globals::Globals,
    kept_login::{Login as Kept, Place},
    look::whoami,
    moments, network,
    oidc::{Oidc, Provider},
    profile::{self, Profile},
};
use jiff::{Timestamp, ZonedDateTime};
use portcullis_program::{Exit, Failure, output};

/// Log in at the identity provider of the profile
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis login --profile prod
  portcullis login --profile prod --device    where no browser is on this machine

docs/identity.md shows such a profile.")]
pub struct Login {
    /// By a code that is typed in a browser on any machine
    #[arg(long)]
    device: bool,
    /// Do not open the browser: print the address alone
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
}

impl Login {
    /// Logs in, keeps the tokens, and asks the server who that is.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (url, oidc) = provider_of(globals)?;
        let place = Place::of(&url, &oidc)?;
        let provider = Provider::of(&oidc, &network::roots(None)?)?;
        let (given, nonce) = if self.device {
            (device_flow::log_in(&provider)?, None)
        } else {
            let (given, nonce) = code_flow::log_in(&provider, !self.no_browser)?;
            (given, Some(nonce))
        };
        let usable = given.usable(&oidc, nonce.as_deref(), Timestamp::now())?;
        let until = usable.until;
        {
            let _lock = place.lock()?;
            place.write(&Kept::of(usable, given.renewal()))?;
        }
        let until = moments::until(until, &ZonedDateTime::now());
        output::note(format_args!("You are logged in at {}: this token is good {until}.", oidc.issuer));
        whoami(&Client::of(globals)?)
    }
}

/// Forgets the log-in of a profile, and tells the provider so.
pub fn log_out(globals: &Globals) -> Result<Exit, Failure> {
    let (url, oidc) = provider_of(globals)?;
    let place = Place::of(&url, &oidc)?;
    let _lock = place.lock()?;
    let kept = place.read()?;
    if !place.forget()? {
        output::note(format_args!("There was no log-in at {}.", oidc.issuer));
        return Ok(Exit::Done);
    }
    output::note(format_args!("You are logged out: `{}` was removed.", place.path().display()));
    // What is forgotten here is forgotten, whether or not the provider hears of it.
    let revoked = kept.and_then(|it| it.renewal).map(|renewal| {
        network::roots(None).and_then(|roots| Provider::of(&oidc, &roots)).and_then(|it| it.revoke(&renewal))
    });
    if let Some(Err(failure)) = revoked {
        output::note(format_args!("warning: the provider did not revoke the log-in: {}", failure.message()));
    }
    Ok(Exit::Done)
}

/// The Portcullis of the profile, and the provider at which people log in for it.
fn provider_of(globals: &Globals) -> Result<(String, Oidc), Failure> {
    let Profile { url, auth, oidc, .. } = profile::chosen(globals)?;
    match (auth, oidc) {
        (Auth::Oidc, Some(oidc)) => Ok((url, oidc)),
        (Auth::Oidc | Auth::Bearer | Auth::Sigv4, _) => {
            let file = profile::file();
            let said = format!("no profile of `{}` that was chosen has `auth = \"oidc\"`", file.display());
            Err(Failure::usage(said).next("give --profile; docs/identity.md shows such a profile"))
        }
    }
}
