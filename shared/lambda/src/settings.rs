//! The settings of a function: its environment, as the template sets it.

use jiff::SignedDuration;
use portcullis_app::{Bots, Rights};
use portcullis_domain::{LEASE_DEFAULT, Person, Terms, length};
use portcullis_identity::Settings as Issuers;
use std::{fmt, str::FromStr};

/// How long a function takes the authority that it read for the one in the table: a role that is revoked ends within a minute.
const RIGHTS_KEPT_FOR: SignedDuration = SignedDuration::from_secs(10);
/// The variable that lists the issuers whose tokens are accepted.
pub const ISSUERS: &str = "PORTCULLIS_ISSUERS";

/// What the template set.
pub struct Environment(Box<Variables>);

type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A setting that a function cannot do without, or cannot read.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    /// It is not set.
    #[error("`{0}` is not set")]
    Missing(&'static str),
    /// It is not what it should be. Its value is not said: it may be a secret in the wrong place.
    #[error("`{name}` is not {wanted}")]
    Unreadable {
        /// Which.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// What it leads to cannot be used.
    #[error("`{name}` cannot be used")]
    Unusable {
        /// Which.
        name: &'static str,
        /// Why.
        source: portcullis_app::BoxError,
    },
}

impl Environment {
    /// What `variable` gives.
    pub fn new(variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(variable))
    }

    /// A variable, if it is set and not empty: a template cannot leave one out, only empty.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|it| !it.is_empty())
    }

    /// A variable that has to be set.
    pub fn wanted(&self, name: &'static str) -> Result<String, BadSetting> {
        self.text(name).ok_or(BadSetting::Missing(name))
    }

    /// A variable that says one thing, in the words of `wanted`.
    pub fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        wanted: &'static str,
    ) -> Result<Option<T>, BadSetting> {
        let text = self.text(name).map(|it| it.parse());
        text.transpose().map_err(|_| BadSetting::Unreadable { name, wanted })
    }

    /// What reviews depend on.
    pub fn terms(&self) -> Result<Terms, BadSetting> {
        const PENDING_FOR: &str = "PORTCULLIS_PENDING_FOR";
        const LEASE_MIN: &str = "PORTCULLIS_LEASE_MIN";
        const TIME: &str = "a time of at least 1s, such as `8h` or `PT8H`";
        const LEASE: &str = "a time of 1s to 3h, such as `5m` or `PT5M`";
        let (terms, second) = (Terms::default(), SignedDuration::from_secs(1));
        let said = |name, wanted| {
            let text = self.text(name).map(|it| length(&it));
            text.transpose().map_err(|_| BadSetting::Unreadable { name, wanted })
        };
        let pending_for = said(PENDING_FOR, TIME)?.unwrap_or(terms.pending_for);
        if pending_for < second {
            return Err(BadSetting::Unreadable { name: PENDING_FOR, wanted: TIME });
        }
        let lease_min = said(LEASE_MIN, LEASE)?.unwrap_or(terms.lease_min);
        if lease_min < second || LEASE_DEFAULT < lease_min {
            return Err(BadSetting::Unreadable { name: LEASE_MIN, wanted: LEASE });
        }
        Ok(Terms { lease_min, pending_for })
    }

    /// The issuers whose tokens are accepted. Empty is none.
    pub fn issuers(&self, operator: &Person) -> Result<Issuers, BadSetting> {
        let text = self.text(ISSUERS).unwrap_or_default();
        let read = Issuers::read(&text, operator);
        read.map_err(|source| BadSetting::Unusable { name: ISSUERS, source: source.into() })
    }

    /// Which bots may speak, and for whom. Empty allows nobody.
    pub fn bots(&self) -> Result<Bots, BadSetting> {
        const NAME: &str = "PORTCULLIS_BOTS";
        let read = |text: String| serde_json::from_str(&text);
        let bots = self.text(NAME).map(read).transpose();
        let bots = bots.map_err(|error| BadSetting::Unusable { name: NAME, source: error.into() })?;
        Ok(bots.unwrap_or_default())
    }

    /// The rights of callers. A change of them by another process is seen within 10 s.
    pub fn rights(&self) -> Result<Rights, BadSetting> {
        Ok(Rights::of(self.operator()?).kept_for(RIGHTS_KEPT_FOR))
    }

    /// Who makes tokens.
    pub fn operator(&self) -> Result<Person, BadSetting> {
        const NAME: &str = "PORTCULLIS_OPERATOR";
        const WANTED: &str = "a person: 1 to 128 letters, digits, spaces or ASCII signs";
        self.parsed(NAME, WANTED)?.ok_or(BadSetting::Missing(NAME))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &'static [(&str, &str)]) -> Environment {
        Environment::new(|name| set.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_named_with_what_would_be_accepted() {
        let said = |set| of(set).terms().expect_err("unreadable").to_string();
        assert!(
            said(&[("PORTCULLIS_PENDING_FOR", "soon")]).starts_with("`PORTCULLIS_PENDING_FOR` is not a time")
        );
        assert!(said(&[("PORTCULLIS_LEASE_MIN", "4h")]).contains("1s to 3h"));
        assert!(said(&[("PORTCULLIS_LEASE_MIN", "0s")]).contains("1s to 3h"));
        let missing = of(&[("PORTCULLIS_OPERATOR", "")]).operator().expect_err("empty");
        assert_eq!(missing.to_string(), "`PORTCULLIS_OPERATOR` is not set");
    }

    #[test]
    fn an_absent_setting_has_its_default() {
        let (terms, usual) = (of(&[]).terms().expect("defaults"), Terms::default());
        assert_eq!((terms.lease_min, terms.pending_for), (usual.lease_min, usual.pending_for));
    }
}
