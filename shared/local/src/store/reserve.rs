//! Room that is kept back for what shuts: pages of the table that hold nothing, and are given up where the disk is full.

use super::{
    file::Opened,
    transaction::{Trouble, begin, finish},
};
use redb::{ReadableTableMetadata as _, TableDefinition};

/// Parts of the reserve, by number.
const RESERVE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("reserve");
/// How many parts the whole reserve has: some 8 MiB, into which thousands of closings go.
pub const PARTS_MAX: u64 = 32;
/// How long a part is, in bytes: what a page of the library holds, whose length is a power of two.
const PART_BYTES: usize = (256 << 10) - 4096;

/// Adds so many parts at most, and gives how many there are. `NoRoom` leaves it as it was.
pub fn fill(opened: &Opened, at_most: u64) -> Result<u64, Trouble> {
    let transaction = begin(opened)?;
    let count = {
        let mut table = transaction.open_table(RESERVE)?;
        let first = table.len()?;
        let last = first.saturating_add(at_most).min(PARTS_MAX);
        let part = vec![0; PART_BYTES];
        for number in first..last {
            table.insert(number, part.as_slice())?;
            if opened.disk.is_overdrawn() {
                break;
            }
        }
        table.len()?
    };
    finish(opened, transaction)?;
    Ok(count)
}

/// Gives all of it up.
pub fn give_up(opened: &Opened) -> Result<(), Trouble> {
    let transaction = begin(opened)?;
    transaction.delete_table(RESERVE)?;
    finish(opened, transaction)
}
