//! Roles as tests give them: straight into the table.

use crate::place::Place;
use portcullis_app::ports::{Batch, Store as _};
use portcullis_domain::{Authority, Binding, Chain, Fact, Role, Scope};

/// A role that a member has on a scope.
pub fn binding(role: Role, member: &str, scope: Scope) -> Binding {
    Binding { role, member: member.parse().expect("a member"), scope }
}

/// Leaves these bindings alone, and ends nothing.
pub async fn only(place: &Place, bindings: impl IntoIterator<Item = Binding>) {
    let version = place.store().authority().await.expect("loads").map_or(0, |it| it.version) + 1;
    let authority = Authority { version, bindings: bindings.into_iter().collect(), ..Authority::default() };
    let head = place.store().rest().await.expect("loads");
    let (_, rest) = head.append(&Chain::rest(), place.now(), [Fact::DriftHealed]);
    let batch = Batch { rest, authority: Some(authority), ..Batch::default() };
    place.store().commit(batch).await.expect("committed");
}
