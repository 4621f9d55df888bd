//! The grants of one target that are not closed. Copies share all of them until one is changed, and then each of the others: a
//! target is copied several times at every ask, and may have thousands.

use crate::{Grant, GrantId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, btree_map},
    iter::Map,
    ops::Index,
    sync::Arc,
};

/// Grants by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Arc<BTreeMap<GrantId, Arc<Grant>>>);

/// Each grant with its id, in the order of ids.
pub type Iter<'a> = Map<
    btree_map::Iter<'a, GrantId, Arc<Grant>>,
    fn((&'a GrantId, &'a Arc<Grant>)) -> (&'a GrantId, &'a Grant),
>;

impl Grants {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: &GrantId) -> Option<&Grant> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// Each of them, in the order of ids.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|(id, grant)| (id, grant.as_ref()))
    }

    /// The same without the ids.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Grant> + ExactSizeIterator {
        self.0.values().map(Arc::as_ref)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Grant> {
        Arc::make_mut(&mut self.0).values_mut().map(Arc::make_mut)
    }

    pub(crate) fn get_mut(&mut self, id: &GrantId) -> Option<&mut Grant> {
        Arc::make_mut(&mut self.0).get_mut(id).map(Arc::make_mut)
    }

    pub(crate) fn insert(&mut self, id: GrantId, grant: Grant) {
        Arc::make_mut(&mut self.0).insert(id, Arc::new(grant));
    }

    pub(crate) fn remove(&mut self, id: &GrantId) -> Option<Grant> {
        Arc::make_mut(&mut self.0).remove(id).map(Arc::unwrap_or_clone)
    }

    pub(crate) fn retain(&mut self, stays: impl Fn(&Grant) -> bool) {
        Arc::make_mut(&mut self.0).retain(|_, grant| stays(grant));
    }
}

impl Index<&GrantId> for Grants {
    type Output = Grant;
    fn index(&self, id: &GrantId) -> &Grant {
        &self.0[id]
    }
}

impl<'a> IntoIterator for &'a Grants {
    type Item = (&'a GrantId, &'a Grant);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(Arc::new(grants.into_iter().map(|it| (it.id.clone(), Arc::new(it))).collect()))
    }
}

impl Serialize for Grants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let grants = BTreeMap::<GrantId, Grant>::deserialize(deserializer)?;
        Ok(Self(Arc::new(grants.into_iter().map(|(id, grant)| (id, Arc::new(grant))).collect())))
    }
}
