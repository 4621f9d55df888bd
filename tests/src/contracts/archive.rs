//! The contract of [`Archive`], as its doc comment says it. Every function begins with an empty archive; `read` gives
//! what is kept under a name.

use futures_util::future::join_all;
use portcullis_app::{Error, ports::Archive};

/// What is put is kept, also what is empty.
pub async fn what_is_put_is_kept(archive: &impl Archive, read: impl Fn(&str) -> Option<Vec<u8>>) {
    assert_eq!(read("one"), None);
    archive.put("one", b"first".to_vec()).await.expect("kept");
    archive.put("two", vec![]).await.expect("kept");
    assert_eq!(read("one").as_deref(), Some(b"first".as_slice()));
    assert_eq!(read("two").as_deref(), Some(b"".as_slice()));
}

/// A name that is taken stays what it is, also when the same is put again: whoever retries is told.
pub async fn what_is_kept_is_never_overwritten(
    archive: &impl Archive,
    read: impl Fn(&str) -> Option<Vec<u8>>,
) {
    archive.put("one", b"first".to_vec()).await.expect("kept");
    for content in [b"second".to_vec(), b"first".to_vec(), vec![]] {
        let again = archive.put("one", content).await;
        assert!(matches!(again, Err(Error::Conflict)), "{again:?}");
    }
    assert_eq!(read("one").as_deref(), Some(b"first".as_slice()));
}

/// Of many who put under one name at once, one is kept whole and the others conflict.
pub async fn one_of_many_writers_is_kept_whole(
    archive: &impl Archive,
    read: impl Fn(&str) -> Option<Vec<u8>>,
) {
    const WRITERS: u8 = 8;
    /// Longer than what is written at a time.
    const LENGTH: usize = 1 << 20;
    let put = async |n: u8| archive.put("one", vec![n; LENGTH]).await;
    let outcomes = join_all((0..WRITERS).map(put)).await;
    let mut won = vec![];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(()) => won.push(n),
            Err(Error::Conflict) => {}
            Err(error) => panic!("{}", error.full()),
        }
    }
    let kept = read("one").expect("kept");
    assert_eq!(won.len(), 1, "one is kept");
    assert_eq!(kept, vec![u8::try_from(won[0]).expect("few"); LENGTH], "whole, and the winner's");
}
