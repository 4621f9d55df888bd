//! Sources from which no packet comes over a network.

use super::{ALLOWED, answer, from, known, policy, target, told};
use portcullis_domain::Ask;
use portcullis_tests::given::named;

/// Loopback and groups of receivers are never where a packet for another machine comes from; on a machine that guards itself,
/// loopback is.
#[test]
fn source_from_which_no_packet_comes_is_refused_but_for_this_machine() {
    let host = target("host/here", Some(policy()));
    let known = known().into_iter().chain([host]).collect();
    for (source, wanted) in [
        ("127.0.0.1", &["unusable-source"][..]),
        ("::1", &["unusable-source"]),
        ("127.0.0.0/8", &["unusable-source"]),
        ("224.0.0.1", &["unusable-source"]),
        ("ff02::1", &["unusable-source"]),
        ("*", ALLOWED),
        ("126.255.255.255", ALLOWED),
    ] {
        let answer = answer(&known, "ann", &[from("22", &[source])]);
        assert_eq!(told(&answer), wanted, "{source}: {answer:?}");
    }
    let here = Ask { target: named("host/here"), ..from("22", &["127.0.0.1"]) };
    assert_eq!(told(&answer(&known, "ann", &[here])), ALLOWED);
}
