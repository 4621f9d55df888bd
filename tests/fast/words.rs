//! The words of refusals, as a caller reads them: a change of wording is reviewed as one.

use insta::assert_snapshot;
use jiff::SignedDuration;
use portcullis_domain::{Gate, GrantId, Person, Refusal, RefusalKind, Room, TargetId};
use portcullis_tests::given::{at, named};

/// One of each kind of refusal.
fn every_refusal() -> Vec<Refusal> {
    let gate: Gate = named("22/tcp");
    let hours = SignedDuration::from_hours;
    let target = || named::<TargetId>("web-1");
    let (ann, bob) = (|| named::<Person>("ann"), || named::<Person>("bob"));
    let grant = || named::<GrantId>("r1-1");
    let guarded = || vec![gate, named("3389/tcp")];
    vec![
        Refusal::NothingAsked,
        Refusal::TooManyTargets { count: 21, max: 20 },
        Refusal::TooManyGates { count: 41, max: 40 },
        Refusal::AskedTwice { target: target(), gate },
        Refusal::UnknownTarget { target: target() },
        Refusal::NotEnabled { target: target() },
        Refusal::NotGuarded { target: target(), asked: "80".to_owned(), guarded: guarded() },
        Refusal::NoSources { target: target(), gate },
        Refusal::SourceNotAllowed {
            target: target(),
            gate,
            asked: named("203.0.113.9"),
            allowed: named("198.51.100.0/24"),
        },
        Refusal::TooManySources { target: target(), gate, count: 4_001, max: 4_000 },
        Refusal::FirewallFull {
            target: target(),
            firewall: named("nsg-1"),
            what: "ranges",
            asked: 200,
            room: 150,
            held: 100,
        },
        Refusal::TooManyLeases { target: target(), count: 4_000 },
        Refusal::ShareUsedUp {
            target: target(),
            by: ann(),
            room: Room::Leases,
            held: 999,
            asked: 2,
            max: 1_000,
        },
        Refusal::OnlyReserveLeft { target: target(), room: Room::Ranges, held: 3_600, asked: 1, max: 3_600 },
        Refusal::TooLong { asked: hours(9), max: hours(3) },
        Refusal::TooShort { asked: SignedDuration::from_secs(1), min: SignedDuration::from_mins(1) },
        Refusal::StartsTooLate { start: at(0), within: hours(24) },
        Refusal::Over,
        Refusal::NobodyMayApprove { target: target(), gate, by: ann() },
        Refusal::NoCommonApprover,
        Refusal::MayNotBreakGlass { target: target(), gate, by: ann(), may: vec![bob()] },
        Refusal::MayNotBreakGlass { target: target(), gate, by: ann(), may: vec![] },
        Refusal::GlassWithoutWhy,
        Refusal::GlassLater { start: at(0) },
        Refusal::KeyReused { key: named("incident 7"), request: named("r1") },
        Refusal::OwnRequest { by: ann() },
        Refusal::NotAnApprover { by: ann(), approvers: vec![bob()] },
        Refusal::NotPending { state: "approved" },
        Refusal::NotAsShown,
        Refusal::GrantOver { grant: grant() },
        Refusal::LastSeconds { grant: grant(), within: SignedDuration::from_secs(5) },
        Refusal::NotLater { end: at(0) },
        Refusal::ChangedMeanwhile { target: target() },
        Refusal::NotTheOperator { by: ann(), operator: named("operator") },
        Refusal::OperatorsToken { operator: named("operator") },
        Refusal::NoPorts,
        Refusal::PortTwice { gate },
        Refusal::NoAllowedSources { gate },
        Refusal::TooManyPorts { count: 41, max: 40 },
        Refusal::AlreadyEnabled { target: target() },
        Refusal::GuardedElsewhere { target: target(), rules: vec![] },
        Refusal::Unsupported { target: target(), reason: "nothing on its path holds rules".to_owned() },
        Refusal::NothingToConfirm { target: target() },
        Refusal::Unconfirmed { target: target() },
        Refusal::ConfirmWithin {
            asked: SignedDuration::from_secs(1),
            min: SignedDuration::from_secs(5),
            max: hours(1),
        },
        Refusal::NoSuchPort { target: target(), port: named("80"), guarded: guarded() },
    ]
}

#[test]
fn refusals_name_the_input_and_the_remedy_in_these_words() {
    let kind = |it: &Refusal| match it.kind() {
        RefusalKind::Forbidden => "403",
        RefusalKind::State => "409",
        RefusalKind::Content => "422",
    };
    let lines =
        every_refusal().iter().map(|it| format!("{} {}: {it}", kind(it), it.code())).collect::<Vec<_>>();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn refusals_use_the_words_of_the_glossary() {
    for refusal in every_refusal() {
        let said = refusal.to_string();
        for word in ["somebody", "whoever", "a yes", "a no", "look again"] {
            assert!(!said.to_lowercase().contains(word), "`{word}` in: {said}");
        }
    }
}
