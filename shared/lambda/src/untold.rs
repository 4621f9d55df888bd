//! What a stream that is told in order does after a failure.

use crate::Failed;

/// Tells records in their order, and gives the first that has to be told again: it and all that come after it are
/// delivered once more, so that none overtakes it.
pub async fn first_untold<T: Copy>(
    records: impl IntoIterator<Item = T>,
    tell: impl AsyncFn(T) -> Result<(), Failed>,
) -> Option<T> {
    for record in records {
        if tell(record).await.is_err() {
            return Some(record);
        }
    }
    None
}
