//! One transaction of the table: durable, or given up where the disk has no room for it.

use super::file::Opened;
use redb::{Durability, WriteTransaction};

/// Why a transaction was given up.
#[derive(Debug)]
pub enum Trouble {
    /// The disk has no room for it.
    NoRoom,
    /// The disk failed, or the library did: the database is of no use any more.
    Torn(String),
}

macro_rules! torn {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Torn(redb::Error::from(error).to_string())
            }
        }
    )*};
}
torn!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// A durable transaction.
pub fn begin(opened: &Opened) -> Result<WriteTransaction, Trouble> {
    let mut transaction = opened.database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

/// Makes a transaction durable, unless the disk has no room for it: then it is given up, with the growth that it wanted.
pub fn finish(opened: &Opened, transaction: WriteTransaction) -> Result<(), Trouble> {
    if opened.disk.is_overdrawn() {
        transaction.abort()?;
        return Err(Trouble::NoRoom);
    }
    Ok(transaction.commit()?)
}
