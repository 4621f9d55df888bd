//! May this caller do that? Asked once for each operation, at the door.

use crate::{
    Call, Error, Vouchers,
    caller::{Caller, subject},
    discover::Name,
    load::load,
    ports::{Inventory, Machine, Store},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Ask, Authority, Circumstances, Decide, Facts, Grant, Judgement, Justification, Language, MachineFacts,
    Member, Object, Person, Question, Refusal, Request, Right, Role, Roles, Target, TargetId, What, WhyNot,
    Window, nearest,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The rights of callers: what they may do, by the authority in the table.
#[derive(Clone)]
pub struct Rights {
    /// The operator whom the installation itself names: nobody can take that role away. Without one, nobody has it but by a binding.
    pub operator: Option<Person>,
    /// What vouches for the names of callers beside the token book; none where that is not known.
    pub vouchers: Option<Vouchers>,
    /// What reads policies; without it an installation that has any refuses whatever they would be asked about.
    language: Option<Arc<dyn Language>>,
    /// How long an authority that was read is taken for the one in the table.
    keep_for: SignedDuration,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// When an authority was read, and what decides by it.
type Kept = (Timestamp, Arc<Authorised>);

/// An authority, and what decides by it.
pub(crate) struct Authorised {
    pub(crate) authority: Authority,
    decide: Arc<dyn Decide>,
}

/// What an operation is done to.
#[derive(Debug)]
pub enum Concerns {
    /// What any caller may do whose identity is proven.
    Nobody,
    /// The installation.
    Installation,
    /// Machines, each of which has to be permitted.
    Each(Vec<Concern>),
    /// Whatever its caller may read.
    List,
}

/// One machine, and how an operation concerns it.
#[derive(Debug)]
pub struct Concern {
    target: TargetId,
    /// The place of the ask in its request.
    ask: usize,
    /// Another right than that of the operation.
    right: Option<Right>,
    /// The start of the lease that is asked for, where that is later than now.
    starts_at: Option<Timestamp>,
    circumstances: Circumstances,
}

impl Concerns {
    /// One machine.
    pub(crate) fn machine(target: &TargetId) -> Self {
        Self::machines([target.clone()])
    }

    /// Machines.
    pub(crate) fn machines(targets: impl IntoIterator<Item = TargetId>) -> Self {
        Self::Each(targets.into_iter().map(|it| Concern::of(it, Circumstances::default())).collect())
    }

    /// The machine of a lease.
    pub(crate) fn grant(grant: &Grant, by: &Person) -> Self {
        let circumstances = Circumstances {
            port: Some(grant.gate.port.number()),
            protocol: Some(grant.gate.protocol.to_string()),
            is_own: grant.by == *by,
            ..Circumstances::default()
        };
        let of = |source| Circumstances { source: Some(source), ..circumstances.clone() };
        let each = grant.sources.ranges().iter().map(|it| of(*it));
        Self::Each(each.map(|it| Concern::of(grant.target.clone(), it)).collect())
    }

    /// The machine of a lease that is to end then, for this reason.
    pub(crate) fn extension(
        grant: &Grant,
        by: &Person,
        (end, why): (Timestamp, Option<&Justification>),
        now: Timestamp,
    ) -> Self {
        match Self::grant(grant, by) {
            Self::Each(concerns) => {
                let minutes = Some(minutes(end.duration_since(now)));
                let of = |it: Concern| {
                    let circumstances = Circumstances { minutes, ..it.circumstances }.because(why);
                    Concern { circumstances, ..it }
                };
                Self::Each(concerns.into_iter().map(of).collect())
            }
            other @ (Self::Nobody | Self::Installation | Self::List) => other,
        }
    }

    /// The machines of a request: each pair of a port and a source is a concern of its own.
    pub(crate) fn request(request: &Request, by: &Person, now: Timestamp) -> Self {
        let is_own = request.by == *by;
        match &request.what {
            What::Extend { target, .. } => {
                let circumstances = Circumstances { is_own, ..Circumstances::default() };
                Self::Each(vec![Concern::of(target.clone(), circumstances)])
            }
            What::Initiate { asks, break_glass } => {
                let why = request.justification.as_ref();
                let of = |n: usize, it: &Ask, circumstances: Circumstances| {
                    let circumstances =
                        Circumstances { break_glass: *break_glass, is_own, ..circumstances.because(why) };
                    let starts_at = starts_at(it).filter(|it| now < *it);
                    Concern { ask: n, starts_at, ..Concern::of(it.target.clone(), circumstances) }
                };
                let each = |(n, it)| asked(it, now).map(move |circumstances| (n, it, circumstances));
                let all = asks.iter().enumerate().flat_map(each);
                Self::Each(all.map(|(n, it, circumstances)| of(n, it, circumstances)).collect())
            }
        }
    }

    /// The same, and what else they take: this right on each of them.
    pub(crate) fn and(self, right: Right) -> Self {
        match self {
            Self::Each(concerns) => {
                let also = |it: &Concern| Concern {
                    target: it.target.clone(),
                    ask: it.ask,
                    right: Some(right),
                    starts_at: it.starts_at,
                    circumstances: it.circumstances.clone(),
                };
                let more: Vec<Concern> = concerns.iter().map(also).collect();
                Self::Each(concerns.into_iter().chain(more).collect())
            }
            Self::Nobody | Self::Installation | Self::List => self,
        }
    }
}

impl Concern {
    fn of(target: TargetId, circumstances: Circumstances) -> Self {
        Self { target, ask: 0, right: None, starts_at: None, circumstances }
    }

    /// The right, and the caller at the time that the question is about: access is asked for the hour in which it starts, as it is asked
    /// again later.
    fn asked_by(&self, caller: &Caller, right: Right) -> (Right, Caller) {
        let right = self.right.unwrap_or(right);
        let is_access = matches!(right, Right::Request | Right::OpenWithoutApproval | Right::BreakGlass);
        let now = self.starts_at.filter(|_| is_access).unwrap_or(caller.now);
        (right, Caller { now, ..caller.clone() })
    }
}

/// When the lease of an ask starts, where it does not start at once.
fn starts_at(ask: &Ask) -> Option<Timestamp> {
    match ask.window {
        Window::From { start, .. } => Some(start),
        Window::For(_) | Window::Until(_) => None,
    }
}

/// The circumstances of each source of an ask.
fn asked(ask: &Ask, now: Timestamp) -> impl Iterator<Item = Circumstances> + use<> {
    let (length, ahead) = match ask.window {
        Window::For(length) => (length, SignedDuration::ZERO),
        Window::Until(end) => (end.duration_since(now), SignedDuration::ZERO),
        Window::From { start, length } => (length, start.duration_since(now).max(SignedDuration::ZERO)),
    };
    let circumstances = Circumstances {
        port: Some(ask.port.number()),
        protocol: ask.protocol.map(|it| it.to_string()),
        minutes: Some(minutes(length)),
        minutes_ahead: Some(ahead.as_secs().div_euclid(60)),
        ..Circumstances::default()
    };
    let of = move |source| Circumstances { source: Some(source), ..circumstances.clone() };
    ask.sources.ranges().to_vec().into_iter().map(of)
}

/// Minutes, rounded up: a bound of a policy holds to the second.
pub(crate) fn minutes(length: SignedDuration) -> i64 {
    length.as_secs().saturating_add(59).div_euclid(60)
}

impl Default for Rights {
    fn default() -> Self {
        let (keep_for, kept) = (SignedDuration::ZERO, Arc::default());
        Self { operator: None, vouchers: None, language: None, keep_for, kept }
    }
}

impl Rights {
    /// The rights where this person is the operator.
    pub fn of(operator: Person) -> Self {
        Self { operator: Some(operator), ..Self::default() }
    }

    /// The same, where this vouches for the names of callers beside the token book.
    #[must_use]
    pub fn with_vouchers(self, vouchers: Vouchers) -> Self {
        Self { vouchers: Some(vouchers), ..self }
    }

    /// The same, where this reads policies.
    #[must_use]
    pub fn with_policies(self, language: Arc<dyn Language>) -> Self {
        Self { language: Some(language), ..self }
    }

    /// The same, where a change of the authority by another process may go unseen for so long.
    #[must_use]
    pub fn kept_for(self, keep_for: SignedDuration) -> Self {
        Self { keep_for, ..self }
    }

    /// The operator whom the installation itself names, where that is the caller. A workload of that name is another caller: who
    /// issues its tokens chooses its name.
    pub(crate) fn named_operator(&self, call: &Call) -> Option<Member> {
        self.operator.clone().map(Member::Person).filter(|it| it.is(&subject(&call.principal)))
    }

    /// The authority now, and what decides by it.
    pub(crate) async fn authorised(
        &self,
        store: &impl Store,
        now: Timestamp,
    ) -> Result<Arc<Authorised>, Error> {
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read_at, it)) = &known
            && now.duration_since(*read_at).abs() < self.keep_for
        {
            return Ok(Arc::clone(it));
        }
        let authority = store.authority().await?.unwrap_or_else(Authority::founding);
        let authorised = match known {
            Some((_, it)) if it.authority == authority => it,
            Some(_) | None => Arc::new(self.of_authority(authority)?),
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&authorised)));
        Ok(authorised)
    }

    /// The version of the authority now; nothing where nobody ever changed it.
    pub(crate) async fn version(&self, store: &impl Store, now: Timestamp) -> Result<Option<u64>, Error> {
        Ok(Some(self.authorised(store, now).await?.authority.version).filter(|it| *it != 0))
    }

    /// What decides by an authority. Without policies that takes nothing that reads them.
    fn of_authority(&self, authority: Authority) -> Result<Authorised, Refusal> {
        let decide: Arc<dyn Decide> = if authority.policies.files.is_empty() {
            Arc::new(Roles::of(authority.clone(), self.operator.clone()))
        } else {
            let engine = self.language()?.engine(&authority, self.operator.as_ref());
            engine.map_err(|why| Refusal::PoliciesUnread { why })?
        };
        Ok(Authorised { authority, decide })
    }

    /// What reads policies.
    pub(crate) fn language(&self) -> Result<&dyn Language, Refusal> {
        const WHY: &str = "it was built without the feature `policy`; build the program with that feature, which \
            `cargo install --locked --path functions/portcullis` does";
        self.language.as_deref().ok_or_else(|| Refusal::PoliciesUnread { why: WHY.to_owned() })
    }

    /// Refuses an authority by which the caller could not change it again.
    pub(crate) fn may_still_administer(&self, after: &Authority, call: &Call) -> Result<(), Refusal> {
        let after = self.of_authority(after.clone())?;
        let (object, circumstances) = (Object::Installation, Circumstances::default());
        let judgement = after.judge(&Caller::of(call), Right::Administer, object, circumstances);
        if judgement.is_permitted {
            return Ok(());
        }
        Err(Refusal::LocksOut { by: call.by().clone(), reasons: reasons(&judgement) })
    }

    /// May the caller change roles on this, by an authority? `None` where neither a policy nor a role on all of it says so.
    pub(crate) fn may_administer(
        &self,
        authority: &Authority,
        call: &Call,
        object: Object,
    ) -> Result<Option<()>, Refusal> {
        let target = match &object {
            Object::Machine(facts) => Some(facts.id.clone()),
            Object::Installation => None,
        };
        let authorised = self.of_authority(authority.clone())?;
        let caller = Caller::of(call);
        let judgement = authorised.judge(&caller, Right::Administer, object, Circumstances::default());
        let is_silent = !judgement.is_forbidden && judgement.errors.is_empty();
        match self.refusal(&caller, Right::Administer, target.as_ref(), &judgement) {
            None => Ok(Some(())),
            Some(_) if is_silent => Ok(None),
            Some(refusal) => Err(refusal),
        }
    }

    /// The next call reads the authority anew: it was changed here.
    pub(crate) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Every reason why a caller may not do this; with `looks_further` also what would pass instead, which takes many more questions.
    pub(crate) async fn refusals(
        &self,
        authorised: &Authorised,
        store: &impl Store,
        machines: &impl Inventory,
        caller: &Caller,
        (right, concerns): (Right, Concerns),
        looks_further: bool,
    ) -> Result<Vec<Refusal>, Error> {
        let wanted = (right, concerns);
        let of_asks =
            self.refusals_of_asks(authorised, store, machines, caller, wanted, looks_further).await?;
        let mut refusals: Vec<Refusal> = vec![];
        for (_, refusal) in of_asks {
            if !refusals.contains(&refusal) {
                refusals.push(refusal);
            }
        }
        Ok(refusals)
    }

    /// The same, each with the place of its ask in the request.
    pub(crate) async fn refusals_of_asks(
        &self,
        authorised: &Authorised,
        store: &impl Store,
        machines: &impl Inventory,
        caller: &Caller,
        (right, concerns): (Right, Concerns),
        looks_further: bool,
    ) -> Result<Vec<(usize, Refusal)>, Error> {
        let concerns = match concerns {
            Concerns::Nobody | Concerns::List => return Ok(vec![]),
            Concerns::Installation => {
                let judgement =
                    authorised.judge(caller, right, Object::Installation, Circumstances::default());
                let refusal = self.refusal(caller, right, None, &judgement);
                return Ok(refusal.into_iter().map(|it| (0, it)).collect());
            }
            Concerns::Each(concerns) => concerns,
        };
        let targets: Vec<TargetId> = concerns.iter().map(|it| it.target.clone()).collect();
        let facts = facts(authorised, store, machines, &targets).await?;
        let mut refusals: Vec<(usize, Refusal)> = vec![];
        for concern in concerns {
            let (right, caller) = concern.asked_by(caller, right);
            let Concern { target, ask, circumstances, right: _, starts_at: _ } = concern;
            let known = facts.get(&target).cloned().unwrap_or_else(|| Facts::of(&target));
            let question = caller.asks(right, Object::Machine(Box::new(known)), circumstances);
            let mut refusal = self.refusal(&caller, right, Some(&target), &authorised.decided(&question));
            if let Some(Refusal::NotPermitted { why, .. }) = refusal.as_mut().filter(|_| looks_further) {
                why.nearest = nearest(&*authorised.decide, &question);
            }
            refusals.extend(refusal.map(|it| (ask, it)).filter(|it| !refusals.contains(it)));
        }
        Ok(refusals)
    }

    /// The ids of the policies and roles that permit this, each once. Those that would forbid it are left out.
    pub(crate) async fn permitting(
        authorised: &Authorised,
        store: &impl Store,
        machines: &impl Inventory,
        caller: &Caller,
        (right, concerns): (Right, Concerns),
    ) -> Result<BTreeSet<String>, Error> {
        let Concerns::Each(concerns) = concerns else { return Ok(BTreeSet::new()) };
        let targets: Vec<TargetId> = concerns.iter().map(|it| it.target.clone()).collect();
        let facts = facts(authorised, store, machines, &targets).await?;
        let mut permitting = BTreeSet::new();
        for concern in concerns {
            let (right, caller) = concern.asked_by(caller, right);
            let Concern { target, circumstances, ask: _, right: _, starts_at: _ } = concern;
            let known = facts.get(&target).cloned().unwrap_or_else(|| Facts::of(&target));
            let object = Object::Machine(Box::new(known));
            let judgement = authorised.judge(&caller, right, object, circumstances);
            if judgement.is_permitted {
                permitting.extend(judgement.deciding);
            }
        }
        Ok(permitting)
    }

    fn refusal(
        &self,
        caller: &Caller,
        right: Right,
        target: Option<&TargetId>,
        judgement: &Judgement,
    ) -> Option<Refusal> {
        if judgement.is_permitted {
            return None;
        }
        let (by, reasons) = (caller.subject.name.clone(), reasons(judgement));
        if let (Right::Administer, None, Some(operator), []) = (right, target, &self.operator, &reasons[..]) {
            return Some(Refusal::NotTheOperator { by, operator: operator.clone() });
        }
        let roles = Role::ALL.iter().copied().filter(|it| it.rights().contains(&right)).collect();
        let policies = if judgement.is_forbidden { judgement.deciding.clone() } else { vec![] };
        let why = Box::new(WhyNot { roles, policies, reasons, nearest: vec![] });
        Some(Refusal::NotPermitted { by: Box::new(by), right, target: target.cloned(), why })
    }
}

/// Why policies refuse: which of them forbid, with the reasons of their authors, and which cannot be evaluated. Nothing where none permits.
fn reasons(judgement: &Judgement) -> Vec<String> {
    let Judgement { is_permitted: _, is_forbidden, deciding, reasons, errors } = judgement;
    let forbids = |ids: &[String]| {
        let ids: Vec<String> = ids.iter().map(|it| format!("`{it}`")).collect();
        let policies = if ids.len() == 1 { "policy" } else { "policies" };
        let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
        format!("forbidden by the {policies} {}{why}", ids.join(", "))
    };
    let forbidden = is_forbidden.then(|| forbids(deciding));
    forbidden.into_iter().chain(errors.iter().cloned()).collect()
}

impl Authorised {
    /// Which machines of a list a caller may read, and whether the installation.
    pub(crate) async fn readable(
        &self,
        store: &impl Store,
        caller: &Caller,
        listed: Vec<Facts>,
    ) -> Result<(BTreeMap<TargetId, bool>, bool), Error> {
        // A catalogue that was asked for the list told all of it; of other machines the table knows.
        let bare: Vec<TargetId> =
            listed.iter().filter(|it| it.os.is_none()).map(|it| it.id.clone()).collect();
        let mut known: BTreeMap<TargetId, Facts> = listed.into_iter().map(|it| (it.id.clone(), it)).collect();
        known.extend(facts_of_table(self, store, &bare).await?);
        let may = |it: Object| self.judge(caller, Right::Read, it, Circumstances::default()).is_permitted;
        let installation = may(Object::Installation);
        let machines = known.into_iter().map(|(id, it)| (id, may(Object::Machine(Box::new(it)))));
        Ok((machines.collect(), installation))
    }

    /// May a caller do this everywhere, whatever the circumstances? Then nothing has to be read to know it.
    pub(crate) fn permits_everywhere(&self, caller: &Caller, right: Right) -> bool {
        let may =
            |right| self.judge(caller, right, Object::Installation, Circumstances::default()).is_permitted;
        // A request that breaks the glass takes one right more.
        self.decide.is_plain() && may(right) && (right != Right::Request || may(Right::BreakGlass))
    }

    /// The answer to one question.
    pub(crate) fn judge(
        &self,
        caller: &Caller,
        right: Right,
        object: Object,
        circumstances: Circumstances,
    ) -> Judgement {
        self.decided(&caller.asks(right, object, circumstances))
    }

    /// The answer; a policy that cannot be evaluated is an alarm.
    fn decided(&self, question: &Question) -> Judgement {
        let judgement = self.decide.decide(question);
        for error in &judgement.errors {
            tracing::error!(error, "A policy cannot be evaluated: what it is about is refused");
        }
        judgement
    }
}

/// What policies go by of these machines: of the table, and of the catalogue for those that it does not have.
async fn facts(
    authorised: &Authorised,
    store: &impl Store,
    machines: &impl Inventory,
    targets: &[TargetId],
) -> Result<BTreeMap<TargetId, Facts>, Error> {
    let mut known = facts_of_table(authorised, store, targets).await?;
    if !authorised.decide.needs_facts() {
        return Ok(known);
    }
    for target in targets {
        if !known.contains_key(target)
            // A catalogue that does not answer tells nothing: then what depends on it is not permitted.
            && let Ok(Some(machine)) = machines.machine(target).await
        {
            known.insert(target.clone(), facts_of_machine(&machine));
        }
    }
    Ok(known)
}

async fn facts_of_table(
    authorised: &Authorised,
    store: &impl Store,
    targets: &[TargetId],
) -> Result<BTreeMap<TargetId, Facts>, Error> {
    if !authorised.decide.needs_facts() {
        return Ok(BTreeMap::new());
    }
    let known = load(store, targets).await?;
    Ok(known.into_iter().filter_map(|(id, (target, _))| Some((id, facts_of_target(&target)?))).collect())
}

/// The facts of a target whose machine the table knows.
pub(crate) fn facts_of_target(target: &Target) -> Option<Facts> {
    Some(told(&target.id, target.machine()?))
}

/// The facts of a machine of the catalogue.
pub(crate) fn facts_of_machine(machine: &Machine) -> Facts {
    told(&machine.id, &machine.facts())
}

/// The facts of a machine in a list of names.
pub(crate) fn facts_of_name(name: &Name) -> Facts {
    told(&name.id, &name.facts)
}

fn told(id: &TargetId, machine: &MachineFacts) -> Facts {
    let MachineFacts { location, os, tags, guarded_by, .. } = machine;
    let tags = tags.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect();
    Facts { region: Some(location.clone()), os: Some(*os), tags, guard: guarded_by.clone(), ..Facts::of(id) }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rights").field("operator", &self.operator).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorised").field(&self.authority.version).finish()
    }
}
