//! How much a machine takes, how much of that one person may hold, and how much is kept for breaking glass.

use crate::{Gate, Grant, Person, Refusal, Target};
use jiff::Timestamp;
use std::{collections::BTreeMap, fmt};

/// How many leases one machine may have: each has at least one range, of which a gate takes no more.
pub const LEASES_MAX: usize = SOURCES_MAX;
/// How many ranges the leases of one gate may have together: an NSG rule takes as many.
pub const SOURCES_MAX: usize = 4_000;
/// How long the grants of one machine may be together, in bytes as JSON: a change of all of them, as when its policy is
/// taken away, is one transaction, and a table takes 4 MB in one.
pub const GRANTS_BYTES_MAX: usize = 3_600_000;

/// One person may hold this part of a machine, so that a few people never lock out the others.
const SHARES: usize = 4;
/// This part of a machine is kept for leases that break glass, so that ordinary ones never lock those out.
const RESERVES: usize = 10;

/// What a machine has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Leases.
    Leases,
    /// Source ranges.
    Ranges,
    /// What is stored of them.
    Bytes,
}

impl Room {
    const ALL: [Self; 3] = [Self::Leases, Self::Ranges, Self::Bytes];

    /// How much there is: of ranges for each gate, of everything else for the whole machine.
    pub fn max(self) -> usize {
        match self {
            Self::Leases => LEASES_MAX,
            Self::Ranges => SOURCES_MAX,
            Self::Bytes => GRANTS_BYTES_MAX,
        }
    }

    /// How much of that one person may hold, over all gates of the machine.
    pub fn share(self) -> usize {
        self.max() / SHARES
    }

    /// How much of that leases may take that break no glass.
    pub fn unreserved(self) -> usize {
        self.max() - self.max() / RESERVES
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leases => "leases",
            Self::Ranges => "source ranges in leases",
            Self::Bytes => "bytes of leases",
        })
    }
}

/// What some grants take together.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    leases: usize,
    ranges: usize,
    bytes: usize,
}

impl Taken {
    fn by<'a>(grants: impl IntoIterator<Item = &'a Grant>) -> Self {
        let mut taken = Self::default();
        for grant in grants {
            taken.add(Self::one(grant));
        }
        taken
    }

    fn one(grant: &Grant) -> Self {
        Self { leases: 1, ranges: grant.sources.ranges().len(), bytes: grant.length() }
    }

    fn add(&mut self, more: Self) {
        self.leases += more.leases;
        self.ranges += more.ranges;
        self.bytes += more.bytes;
    }

    fn of(self, room: Room) -> usize {
        match room {
            Room::Leases => self.leases,
            Room::Ranges => self.ranges,
            Room::Bytes => self.bytes,
        }
    }
}

/// Why there is no room on a machine for what one person asks for beside what it has. Leases that are over count until they
/// were seen to be shut, but for their ranges on a gate: those are not written again.
pub(crate) fn no_room(target: &Target, by: &Person, asked: &[&Grant], now: Timestamp) -> Vec<Refusal> {
    let id = || target.id.clone();
    let kept = || target.grants().values();
    let ordinary = || asked.iter().copied().filter(|it| !it.broke_glass);
    let (mut all, mut theirs) = (Taken::default(), Taken::default());
    for grant in kept() {
        // A machine may have thousands, and every ask comes by here: each is measured once.
        let one = Taken::one(grant);
        all.add(one);
        if grant.by == *by {
            theirs.add(one);
        }
    }
    let (more, wanted) = (Taken::by(ordinary()), Taken::by(asked.iter().copied()));
    let mut reasons = vec![];
    for room in Room::ALL {
        let (held, asked, max) = (theirs.of(room), more.of(room), room.share());
        if 0 < asked && max < held + asked {
            reasons.push(Refusal::ShareUsedUp { target: id(), by: by.clone(), room, held, asked, max });
        }
    }
    for room in [Room::Leases, Room::Bytes] {
        let (held, asked, max) = (all.of(room), more.of(room), room.unreserved());
        if 0 < asked && max < held + asked {
            reasons.push(Refusal::OnlyReserveLeft { target: id(), room, held, asked, max });
        } else if room.max() < held + wanted.of(room) {
            reasons.push(Refusal::TooManyLeases { target: id(), count: all.leases });
        }
    }
    let mut gates = BTreeMap::<Gate, (usize, usize)>::new();
    for grant in asked {
        let (ordinary, any) = gates.entry(grant.gate).or_default();
        *any += grant.sources.ranges().len();
        *ordinary += if grant.broke_glass { 0 } else { grant.sources.ranges().len() };
    }
    for (gate, (asked, any)) in gates {
        let live = kept().filter(|it| it.gate == gate && !it.lease.is_over(now));
        let held: usize = live.map(|it| it.sources.ranges().len()).sum();
        let room = Room::Ranges;
        if 0 < asked && room.unreserved() < held + asked {
            reasons.push(Refusal::OnlyReserveLeft {
                target: id(),
                room,
                held,
                asked,
                max: room.unreserved(),
            });
        } else if room.max() < held + any {
            reasons.push(Refusal::TooManySources { target: id(), gate, count: held + any, max: room.max() });
        }
    }
    reasons
}
