//! Bearer tokens that prove nobody, and why.

use jiff::Timestamp;

/// Why a bearer token proves nobody. It has names of claims and of settings, and nothing of the token: callers see it, and the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is in no token book, and no token of an issuer.
    #[error("this token is not valid, or was revoked")]
    Unknown,
    /// It is one of the token book, and its time is over.
    #[error("the token expired at `{0:.0}`: have the operator make a new one with `portcullis token create`")]
    Ended(Timestamp),
    /// It is longer than any that is read.
    #[error("the token is too long: at most {0} bytes")]
    TooLong(usize),
    /// It looks like a JSON Web Token, and is none.
    #[error("the token is not a JSON Web Token that can be read: have a new one issued")]
    Malformed,
    /// Its issuer is none of the settings.
    #[error("the issuer of the token is not accepted here: the operator lists the issuers")]
    Issuer,
    /// It says that it is something else, such as the notice of a log-out.
    #[error("the token is not meant to identify a caller: its `typ` is not `JWT` or `at+jwt`")]
    Purpose,
    /// Its header demands a treatment that is not known.
    #[error("the token has the header `crit`, which is not supported: have one issued without it")]
    Critical,
    /// It may be used by the holder of a key alone, and that is not checked here.
    #[error("the token is bound to a key (`cnf`), which is not supported: have a bearer token issued")]
    Bound,
    /// It is signed in a way that is not accepted of its issuer.
    #[error("the algorithm of the token is not accepted from its issuer: it has to be {0}")]
    Algorithm(String),
    /// Its issuer has no such key.
    #[error("the token is signed with a key that its issuer does not publish: have a new one issued")]
    Key,
    /// The signature is of another key, or of another text.
    #[error("the signature of the token is not valid")]
    Signature,
    /// A claim is not there that has to be.
    #[error("the token lacks the claim `{0}`")]
    Missing(String),
    /// A claim is not of the form that it has to have.
    #[error("the claim `{0}` of the token cannot be read")]
    Claim(String),
    /// It is for somebody else.
    #[error("the token is for another audience: it has to be issued for {0}")]
    Audience(String),
    /// Its time is over.
    #[error("the token expired: have a new one issued")]
    Expired,
    /// Its time is yet to come, by `nbf` or `iat`.
    #[error("the token is not valid yet: compare the clock of its issuer with that of this server")]
    Early,
    /// The issuer itself does not know whether the address is the caller's.
    #[error("the issuer has not verified the claim `email` of the token: `email_verified` has to be true")]
    Unverified,
    /// Its name is that of somebody for whom another authority vouches, or no name.
    #[error("the claim `{0}` of the token is no name that its issuer may give")]
    Name(String),
    /// A program got it for itself, and the settings name no such workload.
    #[error("the token is that of a program, and no workload of the settings has its audience and subject")]
    Workload,
    /// The settings take no people of that issuer, and no workload has its subject.
    #[error("no workload of the settings has the audience and the subject of the token")]
    Subject,
}

impl BadToken {
    /// The machine-readable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ended(_) => "token-expired",
            Self::TooLong(_) => "too-long",
            Self::Malformed => "malformed",
            Self::Issuer => "issuer",
            Self::Purpose => "purpose",
            Self::Critical => "critical",
            Self::Bound => "bound",
            Self::Algorithm(_) => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Missing(_) => "missing-claim",
            Self::Claim(_) => "claim",
            Self::Audience(_) => "audience",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Unverified => "unverified",
            Self::Name(_) => "name",
            Self::Workload => "workload",
            Self::Subject => "subject",
        }
    }
}
