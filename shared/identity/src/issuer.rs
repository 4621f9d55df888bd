//! The issuers that are believed, and the proof of who calls that is a token of one of them.

use crate::{
    algorithm::Kind,
    claims::Claims,
    fetch::Fetch,
    principal::{Reserved, principal},
    provider::{Provider, Unknown},
    settings::{Issuer as Of, Settings},
    signature::by_ring,
    token::Unverified,
};
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use portcullis_app::{BadToken, Principal};
use portcullis_domain::Person;
use portcullis_outgoing::{BadRoots, Proxies, Roots};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// The issuers that are believed.
#[derive(Debug)]
pub struct Issuers {
    all: Vec<Believed>,
    reserved: Reserved,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Believed {
    pub settings: Of,
    pub provider: Arc<Provider>,
    /// For each kind of key the algorithms that may be used with it: a key is never tried with another's.
    validations: BTreeMap<Kind, Validation>,
}

impl Issuers {
    /// The issuers of the settings. Nothing is asked yet. `operator` is a name that none of them gives where it shares its names;
    /// `proxies` is asked for each.
    pub fn of(
        settings: Settings,
        operator: Person,
        roots: &Roots,
        proxies: impl Fn() -> Proxies,
    ) -> Result<Self, BadRoots> {
        by_ring();
        let (prefixes, _) = settings.names();
        let believed = |it: Of| {
            let roots = roots.clone();
            let roots = match &it.ca_file {
                Some(file) => roots.and("ca-file", file)?,
                None => roots,
            };
            let fetch = Fetch::new(&roots, proxies())?;
            let provider = Arc::new(Provider::new(&it.url, it.is_clear, fetch));
            Ok(Believed { validations: validations(&it), provider, settings: it })
        };
        let all = settings.0.into_iter().map(believed).collect::<Result<_, _>>()?;
        Ok(Self { all, reserved: Reserved { operator, prefixes } })
    }

    pub(crate) fn all(&self) -> &[Believed] {
        &self.all
    }

    /// The principal of a token, or why it proves nobody. Its issuer is asked for its keys where they are not known.
    pub(crate) async fn principal(
        &self,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Result<Principal, BadToken>, Unknown> {
        let token = match Unverified::of(bearer) {
            Ok(token) => token,
            Err(why) => return Ok(Err(why)),
        };
        // Nobody is asked whom the settings do not name.
        let Some(of) = self.all.iter().find(|it| it.settings.url == token.issuer) else {
            return Ok(Err(BadToken::Issuer));
        };
        let (algorithm, kid) = match token.signed(&of.settings.algorithms) {
            Ok(signed) => signed,
            Err(why) => return Ok(Err(why)),
        };
        let Some(key) = of.provider.key(kid, algorithm, now).await? else { return Ok(Err(BadToken::Key)) };
        let claims = of.validations.get(&algorithm.kind()).ok_or(BadToken::Signature);
        let claims = claims.and_then(|it| of.checked(bearer, &key, it));
        Ok(claims.and_then(|claims| {
            claims.are_timely(now, of.settings.leeway)?;
            principal(&of.settings, &claims, &self.reserved)
        }))
    }
}

impl Believed {
    /// The claims of a token that this issuer signed, for us.
    fn checked(&self, bearer: &str, key: &DecodingKey, by: &Validation) -> Result<Claims, BadToken> {
        let read = jsonwebtoken::decode::<Map<String, Value>>(bearer, key, by);
        read.map(|it| Claims::of(it.claims)).map_err(|error| match error.into_kind() {
            ErrorKind::MissingRequiredClaim(name) => BadToken::Missing(name),
            ErrorKind::InvalidClaimFormat(name) => BadToken::Claim(name),
            ErrorKind::InvalidIssuer => BadToken::Issuer,
            ErrorKind::InvalidAudience => {
                let all: Vec<String> = self.settings.audiences.iter().map(|it| format!("`{it}`")).collect();
                BadToken::Audience(all.join(" or "))
            }
            ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                BadToken::Malformed
            }
            ErrorKind::ExpiredSignature => BadToken::Expired,
            ErrorKind::ImmatureSignature => BadToken::Early,
            // Whatever else there is, the signature does not prove the token.
            ErrorKind::InvalidSignature
            | ErrorKind::InvalidEcdsaKey
            | ErrorKind::InvalidEddsaKey
            | ErrorKind::InvalidRsaKey(_)
            | ErrorKind::RsaFailedSigning
            | ErrorKind::Signing(_)
            | ErrorKind::InvalidAlgorithmName
            | ErrorKind::UnsupportedAlgorithm
            | ErrorKind::InvalidKeyFormat
            | ErrorKind::InvalidSubject
            | ErrorKind::InvalidAlgorithm
            | ErrorKind::MissingAlgorithm
            | ErrorKind::Provider(_)
            | _ => BadToken::Signature,
        })
    }
}

/// The checks of the library, but for those of times: for them it would read a clock.
fn validations(of: &Of) -> BTreeMap<Kind, Validation> {
    let mut all = BTreeMap::new();
    for algorithm in &of.algorithms {
        let one = algorithm.of_library();
        let validation: &mut Validation = all.entry(algorithm.kind()).or_insert_with(|| {
            let mut made = Validation::new(one);
            made.set_required_spec_claims(&["iss", "aud", "exp"]);
            made.set_issuer(&[&of.url]);
            made.set_audience(&of.audiences);
            made.validate_exp = false;
            made.validate_nbf = false;
            made
        });
        if !validation.algorithms.contains(&one) {
            validation.algorithms.push(one);
        }
    }
    all
}
