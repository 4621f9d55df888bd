//! Connections that stand when a lease ends.

/// What becomes of established connections when a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Established {
    /// They go on, as in Azure; new ones are refused.
    Survive,
    /// Their packets are dropped too.
    Cut,
}
