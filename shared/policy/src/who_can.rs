//! The callers who may open a port of a machine, and those who may approve.

use crate::{
    engine::Engine,
    installation::{Caller, Installation},
};
use portcullis_domain::{Circumstances, Decide as _, Facts, Object, Question, Right};
use serde::Serialize;

/// The rights that opening a port is about.
const RIGHTS: [Right; 4] = [Right::Request, Right::OpenWithoutApproval, Right::Approve, Right::BreakGlass];

/// A right that a caller has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhoCan {
    /// The caller.
    pub who: String,
    /// The right.
    pub right: Right,
    /// The policies that permit it.
    pub deciding: Vec<String>,
}

/// Every listed caller with each right that they have to request, to open, to approve or to break glass on this machine, under these
/// circumstances.
pub fn who_can(
    engine: &Engine,
    installation: &Installation,
    machine: &Facts,
    circumstances: &Circumstances,
) -> Vec<WhoCan> {
    let callers = installation.callers();
    let of = |caller: &Caller| {
        let subject = installation.subject(caller);
        let each = RIGHTS.into_iter().filter_map(|right| {
            let break_glass = right == Right::BreakGlass;
            let judged = engine.decide(&Question {
                subject: subject.clone(),
                right,
                object: Object::Machine(Box::new(machine.clone())),
                circumstances: Circumstances { break_glass, ..circumstances.clone() },
            });
            let who = caller.to_string();
            judged.is_permitted.then_some(WhoCan { who, right, deciding: judged.deciding })
        });
        each.collect::<Vec<_>>()
    };
    callers.iter().flat_map(of).collect()
}
