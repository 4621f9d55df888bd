//! Where entries stand in the feed: the order of their times over all chains.

use jiff::Timestamp;
use portcullis_domain::Chain;

/// An item of the feed: the entries that one commit recorded at one time in one chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedItem {
    /// The time of all of them.
    pub at: Timestamp,
    /// Their chain.
    pub chain: Chain,
    /// The number of the last of them.
    pub last: u64,
}
