//! Who may write next: one after another to one resource, side by side to different ones. What ends access comes before
//! what shuts a port, and that before what opens one; those of one rank in the order in which they came.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// What a write is for: the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It ends access that somebody has.
    Ends,
    /// It shuts a port.
    Shuts,
    /// It opens a port, or puts things in order.
    Opens,
}

/// A queue for each resource that somebody writes to.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<Queues>>);

type Queues = BTreeMap<String, Queue>;

/// Those who wait while somebody has the turn. It is there only as long as somebody has.
#[derive(Debug, Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<(Rank, u64), oneshot::Sender<Turn>>,
}

/// The turn at one resource, until it is dropped.
#[must_use = "the turn is over when it is dropped"]
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    resource: String,
}

impl Turns {
    /// Waits for the turn at a resource.
    pub async fn take(&self, resource: &str, rank: Rank) -> Turn {
        loop {
            let given = {
                let mut queues = self.queues();
                let Some(queue) = queues.get_mut(resource) else {
                    queues.insert(resource.to_owned(), Queue::default());
                    return self.turn(resource);
                };
                let (give, given) = oneshot::channel();
                queue.last += 1;
                queue.waiting.insert((rank, queue.last), give);
                given
            };
            if let Ok(turn) = given.await {
                return turn;
            }
        }
    }

    fn turn(&self, resource: &str) -> Turn {
        Turn { turns: self.clone(), resource: resource.to_owned() }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queues = self.turns.queues();
            let Some(queue) = queues.get_mut(&self.resource) else { return };
            queue.waiting.retain(|_, it| !it.is_closed());
            let Some((_, next)) = queue.waiting.pop_first() else {
                queues.remove(&self.resource);
                return;
            };
            next
        };
        // A writer that gives up just now drops the turn that it is given, and so passes it on.
        drop(next.send(self.turns.turn(&self.resource)));
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
    async fn a_queue_is_kept_only_for_those_in_it() {
        let turns = Turns::default();
        let first = turns.take("a", Rank::Opens).await;
        let soon = Duration::from_secs(1);
        assert!(timeout(soon, turns.take("a", Rank::Opens)).await.is_err(), "somebody else's turn");
        let other = timeout(soon, turns.take("b", Rank::Opens)).await.expect("nobody is at b");
        drop(first);
        let second = timeout(soon, turns.take("a", Rank::Opens)).await.expect("the first is over");
        assert_eq!(turns.queues().len(), 2);
        drop((second, other));
        assert_eq!(turns.queues().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_access_comes_first_and_what_opens_last() {
        let turns = Turns::default();
        let held = turns.take("a", Rank::Opens).await;
        let order = Mutex::new(vec![]);
        let wait = async |name: &'static str, rank, patience: u64| {
            let taken = timeout(Duration::from_secs(patience), turns.take("a", rank)).await;
            if let Ok(_turn) = taken {
                order.lock().expect("not poisoned").push(name);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let release = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(held);
        };
        tokio::join!(
            wait("opens", Rank::Opens, 60),
            wait("shuts", Rank::Shuts, 60),
            wait("gave up", Rank::Ends, 1),
            wait("ends", Rank::Ends, 60),
            wait("ends later", Rank::Ends, 60),
            release,
        );
        assert_eq!(*order.lock().expect("not poisoned"), ["ends", "ends later", "shuts", "opens"]);
        assert_eq!(turns.queues().len(), 0, "nobody is left");
    }
}
