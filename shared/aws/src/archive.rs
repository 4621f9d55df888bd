//! Evidence in a bucket of S3.

use crate::{
    settings::{ATTEMPTS_MAX, BACKOFF},
    store::told,
};
use aws_sdk_s3::{
    Client,
    config::{Config, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::put_object::PutObjectError,
    primitives::{ByteStream, SdkBody},
};
use portcullis_app::{Error, ports::Archive};
use std::fmt;

/// What the bucket answers if a name is taken.
const TAKEN: &str = "PreconditionFailed";
/// And while somebody else writes it.
const BEING_WRITTEN: &str = "ConditionalRequestConflict";

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
    /// Tried here and not by the SDK, which would take what its own lost try left for somebody else's.
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let content = SdkBody::from(content);
        let (mut wait, mut may_be_ours) = (BACKOFF, false);
        let mut tries_left = ATTEMPTS_MAX;
        loop {
            let Some(content) = content.try_clone() else {
                return Err(Error::Broken {
                    doing: KEEP,
                    source: "its content can be read only once".into(),
                });
            };
            tries_left -= 1;
            let Err(error) = self.put_once(name, content).await else { return Ok(()) };
            match error.as_service_error().and_then(ProvideErrorMetadata::code) {
                // Nobody else writes into the folder of one export.
                Some(TAKEN) if may_be_ours => return Ok(()),
                Some(TAKEN) => return Err(Error::Conflict),
                Some(BEING_WRITTEN) if !may_be_ours => return Err(Error::Conflict),
                Some(_) | None => {}
            }
            let error = told(KEEP, error);
            if tries_left == 0 || matches!(error, Error::Broken { .. }) {
                return Err(error);
            }
            may_be_ours = true;
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
}

impl Bucket {
    async fn put_once(&self, name: &str, content: SdkBody) -> Result<(), SdkError<PutObjectError>> {
        let call = self.client.put_object().bucket(&self.name).key(format!("{}/{name}", self.folder));
        let call = call.if_none_match("*").body(ByteStream::new(content)).customize();
        let once = Config::builder().retry_config(RetryConfig::disabled());
        call.config_override(once).send().await.map(|_| ())
    }
}

const KEEP: &str = "keep evidence";

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
