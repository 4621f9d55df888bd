//! The machines of Azure, and where they are: Resource Graph, or plain lists where that does not answer.

use crate::{
    Azure, Busy, Forbidden, NoToken,
    group::{Group, MACHINES},
    topology::{TYPES, Topology},
    versions::{COMPUTE_API, NETWORK_API, SUBSCRIPTIONS_API, api_of},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error,
    ports::{Inventory, Machine, Machines},
};
use portcullis_domain::{FirewallId, TargetId};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// How long it is taken for true where machines are. Resource Graph itself is seconds behind; every rule is
/// read anew each time.
const TOPOLOGY_MAX_AGE: SignedDuration = SignedDuration::from_secs(15);

/// How long it is taken for true that nobody answers: else all who wait would try it one after another.
const FAILURE_MAX_AGE: SignedDuration = SignedDuration::from_secs(3);

/// What was last heard of where machines are, and when.
#[derive(Debug, Default)]
pub(crate) struct Known {
    topology: Option<(Timestamp, Arc<Topology>)>,
    /// That nobody answered, and how.
    failed: Option<(Timestamp, String)>,
}

impl Azure {
    /// Where machines are, as it was a few seconds ago at most.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, Error> {
        let mut known = self.topology.lock().await;
        let now = self.time();
        if let Some((at, topology)) = known.topology.as_ref()
            && now.duration_since(*at) < TOPOLOGY_MAX_AGE
        {
            return Ok(Arc::clone(topology));
        }
        if let Some((at, why)) = known.failed.as_ref()
            && now.duration_since(*at) < FAILURE_MAX_AGE
        {
            return Err(Error::Unavailable { doing: "list machines in Azure", source: why.clone().into() });
        }
        let rows = self.rows().await;
        if let Err(Error::Unavailable { source, .. }) = &rows {
            known.failed = Some((self.time(), source.to_string()));
        }
        let (rows, unseen) = rows?;
        let topology = Arc::new(Topology::of(rows, unseen));
        *known = Known { topology: Some((now, Arc::clone(&topology))), failed: None };
        Ok(topology)
    }

    /// The next one who asks is told anew.
    pub(crate) async fn forget(&self) {
        self.topology.lock().await.topology = None;
    }

    /// Everything that says where machines are, with what could not be seen.
    async fn rows(&self) -> Result<(Vec<Value>, Vec<String>), Error> {
        let types: Vec<String> = TYPES.iter().map(|it| format!("'{it}'")).collect();
        let query = format!(
            "Resources | where type in~ ({}) | project id, name, type, location, tags, properties | order by id asc",
            types.join(", ")
        );
        match self.arm.graph(&self.bounds.subscriptions, &query).await {
            Ok(rows) => Ok((rows, vec![])),
            // Nobody would be told anything else.
            Err(Error::Broken { doing, source }) if source.is::<NoToken>() => {
                Err(Error::Broken { doing, source })
            }
            // Who does not answer at all does not list either; who is busy there may.
            Err(Error::Unavailable { doing, source }) if !source.is::<Busy>() => {
                Err(Error::Unavailable { doing, source })
            }
            Err(error) => {
                tracing::warn!(
                    error = error.full(),
                    "Resource Graph did not answer; resources are listed by type instead"
                );
                self.listed().await
            }
        }
    }

    /// The same from plain lists.
    async fn listed(&self) -> Result<(Vec<Value>, Vec<String>), Error> {
        let (mut rows, mut unseen) = (vec![], vec![]);
        for subscription in self.subscriptions().await? {
            for kind in TYPES {
                let path = format!("/subscriptions/{subscription}/providers/{kind}");
                match self.arm.list(&path, api_of(kind)).await {
                    Ok(page) => rows.extend(page.into_iter().map(|mut row| {
                        row["type"] = Value::from(kind);
                        row
                    })),
                    // Who has no classic machines often may not list them.
                    Err(error) => unseen.push(format!("{kind} of `{subscription}`: {}", error.full())),
                }
            }
        }
        Ok((rows, unseen))
    }

    /// Every subscription that is asked about.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<String>, Error> {
        if !self.bounds.subscriptions.is_empty() {
            return Ok(self.bounds.subscriptions.clone());
        }
        let all = self.arm.list("/subscriptions", SUBSCRIPTIONS_API).await?;
        Ok(all.iter().filter_map(|it| it["subscriptionId"].as_str().map(str::to_owned)).collect())
    }

    /// Every security group that can be seen, with its rules.
    pub(crate) async fn all_groups(&self, topology: &Topology) -> Result<Vec<Group>, Error> {
        let mut all = vec![];
        for subscription in topology.subscriptions() {
            let path =
                format!("/subscriptions/{subscription}/providers/Microsoft.Network/networkSecurityGroups");
            for shown in self.arm.list(&path, NETWORK_API).await? {
                let group = serde_json::from_value(shown);
                let broken = |error: serde_json::Error| Error::Broken {
                    doing: "read the security groups",
                    source: error.into(),
                };
                all.push(group.map_err(broken)?);
            }
        }
        Ok(all)
    }

    /// Does Resource Manager say of a machine that it is not there? Who may not see it is told something else.
    pub(crate) async fn is_absent(&self, target: &TargetId) -> Result<bool, Error> {
        let is_machine = target.as_str().contains(MACHINES);
        if !is_machine || self.arm.get(target.as_str(), COMPUTE_API).await?.is_some() {
            return Ok(false);
        }
        // That nothing is to be seen of a whole subscription says nothing of a machine in it.
        let subscription = target.as_str().split('/').nth(2).unwrap_or_default();
        let path = format!("/subscriptions/{subscription}");
        if self.arm.get(&path, SUBSCRIPTIONS_API).await?.is_none() {
            let source = format!("the identity cannot read the subscription `{subscription}`").into();
            return Err(Error::Unavailable { doing: "find a machine", source });
        }
        Ok(true)
    }
}

impl Inventory for Azure {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        let topology = self.topology().await?;
        let all = topology.machines.values().map(|it| &it.machine);
        let rest = all.filter(|it| after.is_none_or(|after| *after < it.id));
        Ok(Machines { items: rest.take(at_most).cloned().collect(), unseen: topology.unseen.clone() })
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        Ok(self.topology().await?.machines.get(id).map(|it| it.machine.clone()))
    }

    async fn is_gone(&self, id: &TargetId) -> Result<bool, Error> {
        match self.is_absent(id).await {
            // Who may not see a machine is refused, whether it is there or not.
            Err(Error::Broken { source, .. }) if source.is::<Forbidden>() => Ok(false),
            outcome => outcome,
        }
    }
}

impl Topology {
    /// Every subscription that something of it is in.
    fn subscriptions(&self) -> BTreeSet<String> {
        let ids = self.groups.iter().map(FirewallId::as_str);
        ids.filter_map(|it| it.split('/').nth(2).map(str::to_owned)).collect()
    }
}
