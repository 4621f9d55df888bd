//! Who may write next: one after another to one resource, side by side to different ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// A queue for each resource that somebody writes to.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// The turn at one resource, until it is dropped.
#[must_use = "the turn is over when it is dropped"]
#[derive(Debug)]
pub struct Turn {
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for the turn at a resource.
    pub async fn take(&self, resource: &str) -> Turn {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Who holds a turn or waits for one has a share in its queue.
            queues.retain(|_, queue| 1 < Arc::strong_count(queue));
            Arc::clone(queues.entry(resource.to_owned()).or_default())
        };
        Turn { _held: queue.lock_owned().await }
    }
}

/// What Azure changes when a path is written: a rule's security group, or the resource itself. In lower
/// case, as ids are equal in any case.
pub fn changed(path: &str) -> String {
    let path = path.to_ascii_lowercase();
    let Some(at) = path.rfind("/providers/") else { return path };
    let words: Vec<&str> = path[at..].split('/').skip(2).filter(|it| !it.is_empty()).collect();
    let [_, _, _, _, _, ..] = words[..] else { return path };
    let parent = path.rsplitn(3, '/').nth(2).unwrap_or_default();
    parent.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn a_rule_changes_its_group() {
        let group = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkSecurityGroups/N";
        assert_eq!(changed(group), group.to_ascii_lowercase());
        assert_eq!(changed(&format!("{group}/securityRules/R")), group.to_ascii_lowercase());
        assert_eq!(changed("/subscriptions/S"), "/subscriptions/s");
    }

    #[tokio::test(start_paused = true)]
    async fn queues_are_kept_for_those_in_them_only() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let soon = Duration::from_secs(1);
        assert!(timeout(soon, turns.take("a")).await.is_err(), "somebody else's turn");
        let other = timeout(soon, turns.take("b")).await.expect("nobody is at b");
        drop(first);
        let second = timeout(soon, turns.take("a")).await.expect("the first is over");
        assert_eq!(turns.0.lock().expect("not poisoned").len(), 2);
        drop((second, other));
        let third = turns.take("c").await;
        assert_eq!(turns.0.lock().expect("not poisoned").len(), 1, "only the third's");
        drop(third);
    }
}
