//! What is true: pure. No clock, no dice, no waiting; every input is an argument.
//!
//! ```text
//!            initiate            opened                end, close             closed
//! (asked) ───────────▶ Approved ───────▶ Open ───────────────────▶ Closing ──────────▶ (gone)
//!                          └──────────────end, close──────────────────▲
//! ```
//!
//! A [`Target`] is the one aggregate. Its firewall is a pure function of it: [`Target::rules`].
//! [`review`] decides what may become a [`Grant`]; [`diff`] says what to write; [`Snapshot::admitted`]
//! says who really gets in; [`Head::append`] and [`Told`] keep the journal honest.

mod accepted;
mod accepting;
mod authority;
mod bad_name;
mod by_accepted;
mod csv;
mod delay;
mod denies;
mod diff;
mod digest;
mod drifts;
mod evidence;
mod finding;
mod foreign;
mod glass;
mod grant;
mod grants;
mod journal;
mod lease;
mod length;
mod machine;
mod marks;
mod name;
mod net;
mod next;
mod outlook;
mod path;
mod person;
mod policy;
mod policy_edit;
mod refusal;
mod refuser;
mod request;
mod review;
mod room;
mod rules;
pub mod said;
mod secret;
mod sessions;
mod sign_in;
mod space;
mod target;
mod ticket;
mod token;
mod via;
mod view;
mod waits;

pub use accepted::Accepted;
pub use accepting::{ACCEPTED_MAX, Accept};
pub use authority::{
    Authority, BINDINGS_MAX, Binding, Circumstances, Decide, Facts, Judgement, Language, Member, Nearest,
    OPERATOR, Object, POLICIES_MAX, POLICY_BYTES_MAX, Policies, PoliciesAt, PolicyRead, PrincipalKind,
    Question, Right, Role, Roles, Scope, Subject, nearest,
};
pub use bad_name::BadName;
pub use by_accepted::{AcceptedPacket, AcceptedSources};
pub use csv::{csv_line, csv_time};
pub use delay::{CLOUD_WRITE_MAX, Cause, Delay, Hindrance, LATE, Party, is_late};
pub use denies::MetDeny;
pub use diff::{Change, ChangeTo, Diff, diff};
pub use evidence::{BadExport, Evidence, Format, Lines, MANIFEST, Manifest, ManifestFile, Segment};
pub use finding::{Finding, Verdict};
pub use foreign::{ForeignDenies, ForeignRule, is_just_in_time};
pub use glass::Pane;
pub use grant::{Access, Grant, GrantState, Obstacle};
pub use grants::Grants;
pub use journal::{
    About, BadRecord, Content, EndReason, Entry, Explained, Fact, Hash, Head, Told, Waiting, few,
    rule_in_words, short,
};
pub use lease::{LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, Lease, START_WITHIN, Window};
pub use length::{BadLength, length, length_of_some_time};
pub use machine::{MachineFacts, Os, TargetState};
pub use name::{
    Chain, ClaimToken, CorrelationId, FirewallId, GrantId, IdempotencyKey, Justification, Owner, RequestId,
    RuleName, TargetId,
};
pub use net::{BadAddress, Gate, Port, Protocol, Sources, address_range};
pub use next::{Next, Pass, Standing};
pub use outlook::{Outlook, outlook, standing};
pub use path::{Admitted, Decision, Packet, azure_default_rules};
pub use person::Person;
pub use policy::{PORTS_MAX, People, Policy, PortRule, Terms};
pub use policy_edit::{ApproversEdit, PolicyEdit, PortEdit};
pub use refusal::{Refusal, RefusalKind, Refusals, WhyNot};
pub use refuser::{Refuser, Remedy};
pub use request::{Ask, Request, RequestState, What};
pub use review::{GATES_MAX, Outcome, Review, TARGETS_MAX, may_approve, review};
pub use room::{GRANTS_BYTES_MAX, LEASES_MAX, Room, SOURCES_MAX};
pub use rules::{
    Action, Bands, Etag, Existing, Families, Firewall, FirewallKind, Foreign, Headroom, Held, Rule, RuleSet,
    Snapshot, Way, Written,
};
pub use secret::{TOKEN_IN_TEXT, TOKEN_PREFIX, holds_token, redacted};
pub use sessions::Sessions;
pub use sign_in::SignIn;
pub use space::AddressSet;
pub use target::{
    CLAIM, CLOSED_AT_ONCE_MAX, Claim, LAST_SECONDS, LOOK_AGAIN, RETRY_MAX, RETRY_MIN, RETRY_OVERDUE_MAX,
    SKEW_MAX, Target, Trial, WORKER_LIFE,
};
pub use token::{
    BadPurpose, PURPOSE_MAX, Purpose, TOKEN_LIFE_MAX, TOKEN_LIFE_MIN, TOKEN_USE_KEPT_EVERY, Token, TokenEnd,
    TokenTerms, is_use_kept,
};
pub use via::{Speaker, Via};
pub use waits::Waits;
