//! Connections that stand when a lease ends.

use portcullis_domain::Sessions;

/// What becomes of established connections when a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Established {
    /// They go on, as in Azure; new ones are refused.
    Survive,
    /// Their packets are dropped too.
    Cut,
}

impl From<Established> for Sessions {
    fn from(established: Established) -> Self {
        match established {
            Established::Survive => Self::Survive,
            Established::Cut => Self::EndWithLease,
        }
    }
}
