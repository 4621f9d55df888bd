//! The operator takes a role away: whoever asks by it asks no more, and what they have ends.

use super::{dice::Dice, outside::Outside};
use crate::door;
use jiff::Timestamp;
use portcullis_app::Error;
use portcullis_domain::{Binding, Member, Person, Role, Scope};

/// Whoever asks for access in stories, and whoever decides.
pub(super) const PEOPLE: [&str; 4] = ["ann", "bob", "carol", "dan"];
/// Those whom most requests are of.
const REQUESTERS: usize = 2;
/// The operator of the installation.
pub(super) const OPERATOR: &str = "olga";

/// In one of so many stories.
const ONE_IN: u64 = 4;

/// Who loses the role, and when; perhaps twice: an operator who is not sure of it says so again.
pub(super) fn cast(dice: &mut Dice) -> Vec<(i64, Person)> {
    if !dice.once_in(ONE_IN) {
        return vec![];
    }
    let (of, at) = (person(PEOPLE[dice.index(REQUESTERS)]), 5_000 + dice.below(300_000));
    let again = dice.once_in(3).then(|| (at + dice.below(20_000), of.clone()));
    [(at, of)].into_iter().chain(again).collect()
}

/// The others have the role by name, and everyone has it no longer.
pub(super) async fn take(outside: &Outside, of: &Person, now: Timestamp) -> Result<(), Error> {
    let operator = person(OPERATOR);
    for name in PEOPLE.iter().map(|it| person(it)).filter(|it| it != of) {
        door::grant_role(outside, &operator, requester(Member::Person(name)), now).await?;
    }
    match door::revoke_role(outside, &operator, requester(Member::Everyone), now).await {
        // Somebody else was faster, and nothing was left to end.
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut world = outside.world();
    world.note(outside.actor(), || format!("{of} has the role no more"));
    let now = world.time.now;
    world.oracle.took_role(of, now);
    Ok(())
}

fn requester(member: Member) -> Binding {
    Binding { role: Role::Requester, member, scope: Scope::Everything }
}

fn person(name: &str) -> Person {
    name.parse().expect("a person")
}
