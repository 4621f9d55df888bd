//! Whose turn it is at each chain: one writer at a time, the first by rank and then by arrival.

use portcullis_app::ports::{Rank, Turn};
use portcullis_domain::Chain;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::oneshot;

/// The chains that are being written to, each with the writers that wait for it.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<Chain, Waiting>>>);

/// The writers that wait for one chain, by rank.
#[derive(Debug, Default)]
struct Waiting([VecDeque<oneshot::Sender<Held>>; Rank::ALL.len()]);

/// A turn. Its end is the beginning of the next one.
#[derive(Debug)]
struct Held {
    turns: Turns,
    /// Nothing once the turn was given to nobody.
    chain: Option<Chain>,
}

impl Turns {
    /// Waits for a turn. A caller that stops waiting loses its place, and a turn that it was given meanwhile is over.
    pub async fn take(&self, chain: &Chain, rank: Rank) -> Turn {
        let waiting = {
            let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Waiting(ranks)) = chains.get_mut(chain) {
                let (place, waiting) = oneshot::channel();
                ranks[rank as usize].push_back(place);
                Some(waiting)
            } else {
                chains.insert(chain.clone(), Waiting::default());
                None
            }
        };
        let held = match waiting {
            // Its sender goes only once it has sent: the queue lives as long as the turn before.
            Some(waiting) => waiting.await.ok(),
            None => Some(Held { turns: self.clone(), chain: Some(chain.clone()) }),
        };
        held.map(Turn::of).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(chain) = self.chain.take() else { return };
        let mut chains = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Waiting(ranks)) = chains.get_mut(&chain) else { return };
        while let Some(next) = ranks.iter_mut().find_map(VecDeque::pop_front) {
            let held = Self { turns: self.turns.clone(), chain: Some(chain.clone()) };
            match next.send(held) {
                Ok(()) => return,
                // That writer has stopped waiting: its turn must not end, since it never began.
                Err(mut unsent) => unsent.chain = None,
            }
        }
        chains.remove(&chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::{Future, poll_fn},
        task::Poll,
    };

    fn vm() -> Chain {
        Chain::from(&"vm".parse().expect("a target"))
    }

    #[tokio::test]
    async fn a_chain_without_waiters_takes_no_memory() {
        let turns = Turns::default();
        let vm = vm();
        let turn = turns.take(&vm, Rank::Asking).await;
        let mut gone = Box::pin(turns.take(&vm, Rank::Asking));
        let is_pending = poll_fn(|task| Poll::Ready(gone.as_mut().poll(task).is_pending())).await;
        assert!(is_pending, "one at a time");
        drop((gone, turn));
        assert!(turns.0.lock().expect("sound").is_empty());
    }
}
