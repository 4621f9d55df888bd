//! Azure Resource Manager, asked through the pipeline of `azure_core`.

use crate::Settings;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::Error;
use serde_json::Value;
use std::time::Duration;

/// Asks Azure Resource Manager. Cheap to clone; clones share connections, tokens and turns.
#[derive(Debug, Clone)]
pub struct Arm {}

/// What a write demands of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// That it still has this etag.
    Match(String),
    /// That it is not there.
    Absent,
}

/// What the last answers said about Azure and us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vitals {
    /// What time it was at Azure, and how long ago it said so.
    pub date: Option<(Timestamp, Duration)>,
    /// How many reads of the subscription are left.
    pub reads_left: Option<u64>,
    /// How many writes of the subscription are left.
    pub writes_left: Option<u64>,
}

impl Vitals {
    /// How far our clock is ahead of Azure's, to a second.
    pub fn skew(&self, _now: Timestamp) -> Option<SignedDuration> {
        todo!()
    }
}

impl Arm {
    /// A client. Nothing is asked yet.
    pub fn new(_settings: &Settings) -> Result<Self, Error> {
        todo!()
    }

    /// GET; none for 404. `path` is absolute below the endpoint, such as `/subscriptions/…`.
    pub async fn get(&self, _path: &str, _api: &'static str) -> Result<Option<Value>, Error> {
        todo!()
    }

    /// All pages of a list.
    pub async fn list(&self, _path: &str, _api: &'static str) -> Result<Vec<Value>, Error> {
        todo!()
    }

    /// All rows of a query of Azure Resource Graph, as objects; no subscription means every one that the
    /// identity sees.
    pub async fn graph(&self, _subscriptions: &[String], _query: &str) -> Result<Vec<Value>, Error> {
        todo!()
    }

    /// PUT, and waits until it is done.
    pub async fn put(
        &self,
        _path: &str,
        _api: &'static str,
        _body: &Value,
        _condition: &Condition,
    ) -> Result<(), Error> {
        todo!()
    }

    /// DELETE, and waits until it is done; the absent is deleted already.
    pub async fn delete(&self, _path: &str, _api: &'static str, _condition: &Condition) -> Result<(), Error> {
        todo!()
    }

    /// What the last answers said.
    pub fn vitals(&self) -> Vitals {
        todo!()
    }
}
