//! The claims of a token whose signature was checked.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::BadToken;
use serde_json::{Map, Value};

/// The claims.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub fn of(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A claim that has to be there, as a text.
    pub fn wanted(&self, name: &str) -> Result<&str, BadToken> {
        match self.get(name) {
            None => Err(BadToken::Missing(name.to_owned())),
            Some(value) => value.as_str().ok_or_else(|| BadToken::Claim(name.to_owned())),
        }
    }

    /// A claim that policies may use, as a text; none where it is not one value.
    pub fn plain(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is_so) => Some(is_so.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Is the token for this audience?
    pub fn is_for(&self, audience: &str) -> bool {
        match self.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|it| it.as_str() == Some(audience)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
        }
    }

    /// Refuses a token whose time is over, or yet to come. The library would read a clock for it.
    pub fn are_timely(&self, now: Timestamp, leeway: SignedDuration) -> Result<(), BadToken> {
        let end = self.time("exp")?.ok_or_else(|| BadToken::Missing("exp".to_owned()))?;
        let (now, leeway) = (now.as_second(), leeway.as_secs());
        if end.saturating_add(leeway) <= now {
            return Err(BadToken::Expired);
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|it| now.saturating_add(leeway) < it) {
                return Err(BadToken::Early);
            }
        }
        Ok(())
    }

    /// A time in seconds since 1970, which may have a fraction (RFC 7519).
    fn time(&self, name: &str) -> Result<Option<i64>, BadToken> {
        /// The year 9999.
        const LAST: f64 = 253_402_300_799.0;
        let Some(value) = self.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|it| (0.0..=LAST).contains(it));
        let seconds = seconds.ok_or_else(|| BadToken::Claim(name.to_owned()))?;
        #[expect(clippy::cast_possible_truncation, reason = "it is within the bounds above")]
        Ok(Some(seconds as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        let Value::Object(map) = value else { panic!("no claims") };
        Claims::of(map)
    }

    #[test]
    fn token_is_good_from_its_beginning_to_its_end_give_or_take_the_leeway() {
        let leeway = SignedDuration::from_secs(30);
        let at = |second: i64, value: Value| {
            claims(value).are_timely(Timestamp::from_second(second).expect("a time"), leeway)
        };
        assert_eq!(at(1029, json!({ "exp": 1000 })), Ok(()));
        assert_eq!(at(1030, json!({ "exp": 1000 })), Err(BadToken::Expired));
        assert_eq!(at(970, json!({ "exp": 2000, "nbf": 1000, "iat": 1000.5 })), Ok(()));
        assert_eq!(at(969, json!({ "exp": 2000, "nbf": 1000 })), Err(BadToken::Early));
        assert_eq!(at(969, json!({ "exp": 2000, "iat": 1000 })), Err(BadToken::Early));
        assert_eq!(at(1000, json!({})), Err(BadToken::Missing("exp".to_owned())));
        for bad in [json!("2000"), json!(null), json!(-1), json!(1e300), json!([2000])] {
            assert_eq!(at(1000, json!({ "exp": bad })), Err(BadToken::Claim("exp".to_owned())), "{bad}");
        }
        assert_eq!(at(1000, json!({ "exp": 2000, "nbf": "soon" })), Err(BadToken::Claim("nbf".to_owned())));
    }
}
