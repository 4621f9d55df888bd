//! Long lists, part by part: the newest first, from as many partitions as it takes.

use super::{
    DynamoStore, READ,
    items::{
        GRANTS_CLOSED, GRANTS_END, GRANTS_OPEN, Index, Item, Key, LISTED, OF_PERSON, OF_TARGET, PK, SK,
        grants_as_spelled, grants_of, requests_as_spelled, requests_in, requests_of, s, text,
    },
    told,
};
use futures_util::future::try_join_all;
use portcullis_app::{
    Error,
    ports::{Cursor, GrantFilter, PART_BYTES_MAX, Page, PageAsked, RequestFilter},
};
use portcullis_domain::RequestState;
use serde::Serialize;
use std::collections::BTreeSet;

/// How many listed items one page may look at: a filter that fits few gives short pages, not long waits.
const LOOKED_AT_MAX: usize = 1000;
/// How long a place in a list may be, in bytes, as DynamoDB takes it for a key.
const PLACE_MAX: usize = 1024;
/// How many are looked at together.
const PART_MAX: usize = 100;

/// A partition of the table, or of an index of it, in the order of its sort key.
#[derive(Debug, Clone)]
pub struct Range {
    pub index: Option<Index>,
    pub partition: String,
    pub is_newest_first: bool,
}

/// A list: partitions that are sorted alike, merged.
#[derive(Debug)]
pub struct Walk(Vec<Range>);

impl Walk {
    /// The partitions that narrow most; what else is asked for is looked at one by one.
    pub fn requests(of: &RequestFilter) -> Self {
        match (&of.state, &of.by) {
            (_, Some(by)) => {
                Self::in_index(OF_PERSON, BTreeSet::from([requests_of(by), requests_as_spelled(by)]))
            }
            (Some(state), None) => Self::in_index(LISTED, [requests_in(state)]),
            (None, None) => Self::in_index(LISTED, RequestState::WORDS.map(requests_in)),
        }
    }

    /// See [`Walk::requests`].
    pub fn grants(of: &GrantFilter) -> Self {
        match of {
            GrantFilter { request: Some(request), .. } => {
                let partition = Key::request(request).pk;
                Self(vec![Range { index: None, partition, is_newest_first: true }])
            }
            GrantFilter { target: Some(target), .. } => Self::in_index(OF_TARGET, [Key::target(target).pk]),
            GrantFilter { unclosed: true, .. } => Self::in_index(LISTED, [GRANTS_OPEN.to_owned()]),
            GrantFilter { by: Some(by), .. } => {
                Self::in_index(OF_PERSON, BTreeSet::from([grants_of(by), grants_as_spelled(by)]))
            }
            GrantFilter { by: None, .. } => {
                Self::in_index(LISTED, [GRANTS_OPEN, GRANTS_CLOSED].map(str::to_owned))
            }
        }
    }

    fn in_index(index: Index, partitions: impl IntoIterator<Item = String>) -> Self {
        let range = |partition| Range { index: Some(index), partition, is_newest_first: true };
        Self(partitions.into_iter().map(range).collect())
    }
}

/// A page in the making.
#[derive(Debug)]
pub struct Paging<T> {
    page: Page<T>,
    at_most: usize,
    before: Option<String>,
    looked_at: usize,
    bytes: usize,
    places: Vec<String>,
    is_done: bool,
}

impl<T: Serialize> Paging<T> {
    /// An empty page. `NotFound` for a place that no list of ours has given.
    pub fn of(asked: &PageAsked) -> Result<Self, Error> {
        if let Some(Cursor(place)) = &asked.after
            && (place.is_empty() || PLACE_MAX < place.len())
        {
            return Err(Error::NotFound { what: "page after", name: place.chars().take(80).collect() });
        }
        Ok(Self {
            page: Page { items: vec![], next: None },
            at_most: asked.at_most,
            before: asked.after.as_ref().map(|Cursor(place)| place.clone()),
            looked_at: 0,
            bytes: 0,
            places: vec![],
            is_done: false,
        })
    }

    /// Takes what stands at the keys of a part, in their order; nothing where it does not fit.
    pub fn take(&mut self, loaded: impl IntoIterator<Item = Option<T>>) {
        for (place, found) in std::mem::take(&mut self.places).into_iter().zip(loaded) {
            let is_full = self.page.items.len() == self.at_most || PART_BYTES_MAX < self.bytes;
            if is_full || self.looked_at == LOOKED_AT_MAX {
                self.page.next = self.before.take().map(Cursor);
                self.is_done = true;
                return;
            }
            // What cannot be written as JSON was not read from it.
            self.bytes += found.as_ref().and_then(|it| serde_json::to_vec(it).ok()).map_or(0, |it| it.len());
            self.page.items.extend(found);
            self.looked_at += 1;
            self.before = Some(place);
        }
    }

    /// The page, once nothing more is to be looked at for it.
    pub fn done(self) -> Page<T> {
        self.page
    }
}

impl DynamoStore {
    /// At most so many places of a partition, each with its keys: those that the condition on `#sk` and its value
    /// `:place` hold for.
    pub(super) async fn keys(
        &self,
        range: &Range,
        (condition, place): (&str, Option<String>),
        at_most: usize,
    ) -> Result<Vec<(String, Item)>, Error> {
        let (pk, sk) = range.index.map_or((PK, SK), |it| (it.pk, it.sk));
        let mut found = vec![];
        let mut from = None;
        while found.len() < at_most {
            let limit = i32::try_from(at_most - found.len()).unwrap_or(i32::MAX);
            let mut call = self
                .client
                .query()
                .table_name(self.table())
                .set_index_name(range.index.map(|it| it.name.to_owned()))
                .scan_index_forward(!range.is_newest_first)
                // Of an index nobody can ask more than what it has.
                .set_consistent_read(range.index.is_none().then_some(true))
                .set_exclusive_start_key(from)
                .limit(limit)
                .expression_attribute_names("#pk", pk)
                .expression_attribute_values(":pk", s(&range.partition));
            call = match &place {
                Some(place) => call
                    .key_condition_expression(format!("#pk = :pk AND {condition}"))
                    .expression_attribute_names("#sk", sk)
                    .expression_attribute_values(":place", s(place)),
                None => call.key_condition_expression("#pk = :pk"),
            };
            let answer = call.send().await.map_err(|error| told(READ, error))?;
            for item in answer.items.unwrap_or_default() {
                found.push((text(&item, sk)?.to_owned(), item));
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What is to be looked at next for a page; nothing when the page is done.
    pub(super) async fn part<T: Serialize>(
        &self,
        walk: &Walk,
        paging: &mut Paging<T>,
    ) -> Result<Option<Vec<Key>>, Error> {
        if paging.is_done {
            return Ok(None);
        }
        // One more than asked for tells whether there is more.
        let wanted = PART_MAX.min(paging.at_most.saturating_add(1));
        let part = self.newest(walk, paging.before.as_deref(), wanted).await?;
        paging.is_done = part.len() < wanted;
        let keys = part.iter().map(|(_, item)| Key::of(item)).collect::<Result<_, _>>()?;
        paging.places = part.into_iter().map(|(place, _)| place).collect();
        Ok(Some(keys))
    }

    /// The keys of everything in a list of the index of lists, at most so many.
    pub(crate) async fn listed(&self, list: &str, at_most: usize) -> Result<Vec<Key>, Error> {
        let range = Range { index: Some(LISTED), partition: list.to_owned(), is_newest_first: false };
        let found = self.keys(&range, ("", None), at_most).await?;
        found.iter().map(|(_, item)| Key::of(item)).collect()
    }

    /// The newest of all partitions, before a place.
    async fn newest(
        &self,
        Walk(ranges): &Walk,
        before: Option<&str>,
        at_most: usize,
    ) -> Result<Vec<(String, Item)>, Error> {
        let parts = ranges.iter().map(|range| async move {
            // What stands in a request's own partition besides its grants sorts after them.
            let end = range.index.is_none().then_some(GRANTS_END);
            self.keys(range, ("#sk < :place", before.or(end).map(str::to_owned)), at_most).await
        });
        let mut newest: Vec<_> = try_join_all(parts).await?.into_iter().flatten().collect();
        newest.sort_by(|one: &(String, Item), two| two.0.cmp(&one.0));
        // Each partition is a moment behind for itself: what went from one to another may stand in both.
        newest.dedup_by(|one, two| one.0 == two.0);
        newest.truncate(at_most);
        Ok(newest)
    }
}
