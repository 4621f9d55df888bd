//! Lengths of time as people say them.

use jiff::SignedDuration;

/// A length of time, such as `1h`, `90m` or `PT1H30M`. Longer than nothing.
pub fn length(text: &str) -> Result<SignedDuration, String> {
    match text.trim().parse::<SignedDuration>() {
        Ok(length) if SignedDuration::ZERO < length => Ok(length),
        Ok(_) | Err(_) => Err("not a length of time such as `1h`, `90m`, `1h30m` or `PT1H30M`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_iso_or_friendly_and_longer_than_nothing() {
        for text in ["1h", "60m", "1 hour", "PT1H", "pt60m", "3600s", "30m 30 minutes"] {
            let parsed = length(text);
            if text.starts_with("30m") {
                assert!(parsed.is_err(), "no unit stands twice");
            } else {
                assert_eq!(parsed, Ok(SignedDuration::from_hours(1)), "{text}");
            }
        }
        for text in ["", "90", "-1h", "0s", "soon", "1h ago"] {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
