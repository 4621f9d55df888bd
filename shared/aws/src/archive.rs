//! Evidence in a bucket of S3.

use crate::store::told;
use aws_sdk_s3::{Client, error::ProvideErrorMetadata, primitives::ByteStream};
use portcullis_app::{Error, ports::Archive};
use std::fmt;

/// What the bucket answers if a name is taken, and while somebody else writes it.
const TAKEN: [&str; 2] = ["PreconditionFailed", "ConditionalRequestConflict"];

/// A folder of a bucket that keeps what is put into it.
pub struct Bucket {
    client: Client,
    name: String,
    folder: String,
}

impl Bucket {
    /// This folder of the bucket of this name.
    pub fn new(client: Client, name: impl Into<String>, folder: impl Into<String>) -> Self {
        Self { client, name: name.into(), folder: folder.into() }
    }
}

impl Archive for Bucket {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let call = self.client.put_object().bucket(&self.name).key(format!("{}/{name}", self.folder));
        let outcome = call.if_none_match("*").body(ByteStream::from(content)).send().await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => {
                let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
                let is_taken = code.is_some_and(|code| TAKEN.contains(&code));
                if is_taken { Err(Error::Conflict) } else { Err(told("keep evidence", error)) }
            }
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
