//! Giving roles and taking them away. Who has which is one record of the table; each change of it is an entry of the rest.

use crate::{
    Call, Error, Principal, Rights,
    caller::subject,
    ports::{Batch, Rank, Store},
    record::{Record, sentences},
    transact::{Attempt, transact},
    uphold::uphold,
};
use portcullis_domain::{
    Authority, BINDINGS_MAX, Binding, Chain, Fact, Facts, Grant, Member, Object, Person, Refusal, Refusals,
    Role, Scope,
};

/// A change of who has which role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Grant,
    Revoke,
}

/// The outcome of a change: the authority afterwards, and the leases that it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChanged {
    /// The authority.
    pub authority: Authority,
    /// The leases that nothing permits to their requesters any more, as they are now.
    pub ended: Vec<Grant>,
}

/// Gives a role. Giving what is there is success.
pub(crate) async fn grant(
    store: &impl Store,
    rights: &Rights,
    binding: &Binding,
    call: &Call,
) -> Result<RoleChanged, Error> {
    let authority = change(store, rights, (Change::Grant, binding), call).await?;
    Ok(RoleChanged { authority, ended: vec![] })
}

/// Takes a role away, and ends the leases that nothing permits any more without it.
///
/// Where the role is gone already, as after a call that died half way, the rest is done all the same; `NotFound` if there is neither.
pub(crate) async fn revoke(
    store: &impl Store,
    rights: &Rights,
    binding: &Binding,
    call: &Call,
) -> Result<RoleChanged, Error> {
    let changed = change(store, rights, (Change::Revoke, binding), call).await;
    let missing = match changed {
        Ok(authority) => Ok(authority),
        Err(missing @ Error::NotFound { .. }) => Err(missing),
        Err(error) => return Err(error),
    };
    let ended = uphold(store, rights, call.speaker(), call.now).await?;
    match missing {
        Err(missing) if ended.is_empty() => Err(missing),
        Err(_) => {
            Ok(RoleChanged { authority: rights.authorised(store, call.now).await?.authority.clone(), ended })
        }
        Ok(authority) => Ok(RoleChanged { authority, ended }),
    }
}

async fn change(
    store: &impl Store,
    rights: &Rights,
    (change, binding): (Change, &Binding),
    call: &Call,
) -> Result<Authority, Error> {
    let authority = transact(store, &[], Rank::Asking, |_| async move {
        // First where the chain ends: whoever changes the authority after that has made an entry.
        let head = store.rest().await?;
        let before = store.authority().await?.unwrap_or_else(Authority::founding);
        may_change(&before, rights, binding, call)?;
        let Some(after) = changed(&before, change, binding, rights.operator.as_ref())? else {
            return Ok(Attempt::Done(before));
        };
        let (binding, version, by, via) =
            (binding.clone(), after.version, call.by().clone(), Some(call.via.clone()));
        let fact = match change {
            Change::Grant => Fact::RoleGranted { binding, version, by, via },
            Change::Revoke => Fact::RoleRevoked { binding, version, by, via },
        };
        let (_, rest) = head.append(&Chain::rest(), call.now, [fact]);
        Ok(Attempt::commit(Batch { rest, authority: Some(after.clone()), ..Batch::default() }, after))
    })
    .await;
    rights.forget();
    authority
}

/// A caller, as the installation knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The caller.
    pub principal: Principal,
    /// The caller's roles.
    pub roles: Vec<Binding>,
}

/// The caller of a call, with their roles.
pub(crate) async fn known(store: &impl Store, rights: &Rights, call: &Call) -> Result<Known, Error> {
    let (principal, caller) = (call.principal.clone(), subject(&call.principal));
    // No policy is asked, so none has to be read.
    let authority = store.authority().await?.unwrap_or_else(Authority::founding);
    let named = rights.named_operator(call).map(|member| Binding {
        role: Role::Operator,
        member,
        scope: Scope::Everything,
    });
    let bound = authority.bindings.into_iter().filter(|it| it.member.is(&caller));
    Ok(Known { principal, roles: named.into_iter().chain(bound).collect() })
}

/// The authority after a change; nothing where it changes nothing.
fn changed(
    before: &Authority,
    change: Change,
    binding: &Binding,
    operator: Option<&Person>,
) -> Result<Option<Authority>, Error> {
    let mut after = before.clone();
    match change {
        Change::Grant => {
            if binding.role == Role::Operator && binding.member == Member::Everyone {
                return Err(Refusal::EveryoneAnOperator.into());
            }
            if !after.bindings.insert(binding.clone()) {
                return Ok(None);
            }
            if BINDINGS_MAX < after.bindings.len() {
                return Err(Refusal::TooManyRoles { max: BINDINGS_MAX }.into());
            }
        }
        Change::Revoke => {
            if !after.bindings.remove(binding) {
                return Err(Error::NotFound { what: "role", name: binding.to_string() });
            }
            let is_operator = |it: &Binding| it.role == Role::Operator && it.scope == Scope::Everything;
            if operator.is_none() && is_operator(binding) && !after.bindings.iter().any(is_operator) {
                return Err(Refusal::LastOperator.into());
            }
        }
    }
    after.version += 1;
    Ok(Some(after))
}

/// Nobody gives what they do not have: who is operator on a scope has every role within it.
fn may_change(authority: &Authority, rights: &Rights, binding: &Binding, call: &Call) -> Result<(), Refusal> {
    let caller = subject(&call.principal);
    let gives =
        |it: &Binding| it.role == Role::Operator && it.member.is(&caller) && it.scope.covers(&binding.scope);
    // Of a policy nobody can tell whether it says the same of all machines of an account, a group or a tag.
    let machine = match &binding.scope {
        Scope::Target(id) => Some(Object::Machine(Box::new(Facts::of(id)))),
        Scope::Everything | Scope::Account(_) | Scope::ResourceGroup { .. } | Scope::Tag { .. } => None,
    };
    let mut is_permitted = authority.bindings.iter().any(gives);
    for object in [Object::Installation].into_iter().chain(machine) {
        is_permitted |= rights.may_administer(authority, call, object)?.is_some();
    }
    if is_permitted {
        return Ok(());
    }
    Err(Refusal::NotTheirsToGive { by: call.by().clone(), scope: Box::new(binding.scope.clone()) })
}

/// The entry of a refused change.
pub(crate) fn refused(binding: &Binding, call: &Call, reasons: &Refusals) -> Record {
    let (by, via) = (call.by().clone(), Some(call.via.clone()));
    Record::of_rest(Fact::RoleRefused { binding: binding.clone(), by, reasons: sentences(reasons), via })
}
