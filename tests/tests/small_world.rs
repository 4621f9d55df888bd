//! Two workers, two leases of one gate, one early close: every interleaving, and at most two faults at any step. See
//! [`portcullis_tests::small_world`].

use portcullis_tests::small_world::{Extent, Fault, Tally, explore};

/// Of the places for a second fault, one in so many is tried in every build.
const SECOND_FAULT_ONE_IN: u64 = 40;

fn tried(extent: &Extent) -> Tally {
    let tally = explore(extent).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{tally}");
    tally
}

fn extent(faults_max: u32, switches_max: u32, later_fault_one_in: u64) -> Extent {
    Extent {
        faults: Fault::ALL.to_vec(),
        faults_max,
        later_fault_one_in,
        switches_max,
        states_max: usize::MAX,
    }
}

#[test]
fn no_interleaving_breaks_a_rule_where_nothing_goes_wrong() {
    let tally = tried(&extent(0, 3, 1));
    assert_eq!(tally.latest_ms.get(&0), Some(&0), "the end of a lease is its end");
}

#[test]
fn no_interleaving_with_one_fault_breaks_a_rule() {
    tried(&extent(1, 1, 1));
}

#[test]
fn no_interleaving_with_two_faults_breaks_a_rule_in_a_part_of_them() {
    tried(&extent(2, 1, SECOND_FAULT_ONE_IN));
}

#[test]
#[ignore = "takes long: tests/night runs it"]
fn no_interleaving_with_two_faults_breaks_a_rule() {
    tried(&extent(2, u32::MAX, 1));
}
