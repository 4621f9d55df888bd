//! The token of a person who logged in, renewed where it is over.

use crate::{
    kept_login::{Login, Place},
    network,
    oidc::{Oidc, Provider},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_program::Failure;

/// A token that is good for less than that is renewed first.
const SPARE: SignedDuration = SignedDuration::from_secs(30);

/// The token to send, of a log-in for the Portcullis at `url`. Where one was refused, it is renewed whatever its end is.
pub fn token(url: &str, oidc: &Oidc, refused: Option<&str>, now: Timestamp) -> Result<String, Failure> {
    let place = Place::of(url, oidc)?;
    let fits = |login: &Login| {
        let it = login.usable();
        SPARE < it.until.duration_since(now) && refused != Some(it.token.as_str())
    };
    let none =
        |why: &str| Failure::refused(format!("{why} at `{}`", oidc.issuer)).next("run `portcullis login`");
    let Some(login) = place.read()? else { return Err(none("there is no log-in")) };
    if fits(&login) {
        return Ok(login.usable().token);
    }
    let _lock = place.lock()?;
    // Another command may have renewed it meanwhile.
    let login = place.read()?.unwrap_or(login);
    if fits(&login) {
        return Ok(login.usable().token);
    }
    let Some(renewal) = &login.renewal else { return Err(none("the log-in is over")) };
    let provider = Provider::of(oidc, &network::roots(None)?)?;
    let audience = oidc.audience();
    let fields =
        [("grant_type", "refresh_token"), ("refresh_token", renewal.as_str())].into_iter().chain(audience);
    let fields: Vec<_> = fields.collect();
    let given = match provider.tokens(&fields)? {
        Ok(given) => given,
        Err(why) => return Err(none("the log-in is over").because([why.failure().message().to_owned()])),
    };
    // Where no new one is given, the one before stays (RFC 6749, section 6).
    let renewal = given.renewal().or_else(|| Some(renewal.clone()));
    // Some providers renew access tokens alone.
    let usable = given.usable(oidc, None, now);
    let usable = usable.map_err(|why| none("the log-in is over").because([why.message().to_owned()]))?;
    let renewed = Login::of(usable, renewal);
    place.write(&renewed)?;
    Ok(renewed.usable().token)
}
