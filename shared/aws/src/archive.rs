//! Evidence in a bucket of S3.

use crate::{
    pauses::pauses,
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
        let (mut pauses, mut may_be_ours) = (pauses(BACKOFF, ATTEMPTS_MAX - 1), false);
        loop {
            let Some(content) = content.try_clone() else {
                return Err(Error::Broken {
                    doing: KEEP,
                    source: "its content can be read only once".into(),
                });
            };
            let Err(error) = self.put_once(name, content).await else { return Ok(()) };
            match error.as_service_error().and_then(ProvideErrorMetadata::code) {
                // Nobody else writes into the folder of one export.
                Some(TAKEN) if may_be_ours => return Ok(()),
                Some(TAKEN) => return Err(Error::Conflict),
                Some(BEING_WRITTEN) if !may_be_ours => return Err(Error::Conflict),
                Some(_) | None => {}
            }
            may_be_ours |= is_unknown(&error);
            let error = told(KEEP, error);
            match pauses.next() {
                Some(pause) if !matches!(error, Error::Broken { .. }) => tokio::time::sleep(pause).await,
                Some(_) | None => return Err(error),
            }
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

/// May it be kept all the same? Whoever is told to slow down knows that it is not.
fn is_unknown(error: &SdkError<PutObjectError>) -> bool {
    const BROKE_AT_IT: u16 = 500;
    error.raw_response().is_none_or(|it| it.status().as_u16() == BROKE_AT_IT || it.status().is_success())
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    };
    use std::sync::{Arc, Mutex};

    /// Answers with these codes, one after another; with nothing where there is none.
    #[derive(Debug, Clone)]
    struct Answers(Arc<Mutex<Vec<Option<&'static str>>>>);

    impl HttpConnector for Answers {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let next = self.0.lock().expect("whole").remove(0);
            let answer = |(status, code): (u16, &str)| {
                let body = SdkBody::from(format!("<Error><Code>{code}</Code></Error>"));
                HttpResponse::new(status.try_into().expect("a status"), body)
            };
            HttpConnectorFuture::ready(match next {
                None => Err(ConnectorError::timeout("nothing heard".into())),
                Some("Kept") => Ok(HttpResponse::new(200.try_into().expect("a status"), SdkBody::empty())),
                Some("AccessDenied") => Ok(answer((403, "AccessDenied"))),
                Some("InternalError") => Ok(answer((500, "InternalError"))),
                Some("SlowDown") => Ok(answer((503, "SlowDown"))),
                Some(BEING_WRITTEN) => Ok(answer((409, BEING_WRITTEN))),
                Some(code) => Ok(answer((412, code))),
            })
        }
    }

    /// What comes of putting where these are the answers, and how many of them nobody asked for.
    async fn put(answers: &[Option<&'static str>]) -> (Result<(), Error>, usize) {
        let left = Answers(Arc::new(Mutex::new(answers.to_vec())));
        let connector = SharedHttpConnector::new(left.clone());
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("id", "hush", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()));
        let bucket = Bucket::new(Client::from_conf(config.build()), "evidence", "folder");
        let outcome = bucket.put("manifest.json", b"{}".to_vec()).await;
        let left = left.0.lock().expect("whole").len();
        (outcome, left)
    }

    #[tokio::test]
    async fn a_retry_after_a_lost_answer_is_no_lost_race() {
        for lost in [None, Some("InternalError")] {
            let (outcome, left) = put(&[lost, Some(TAKEN)]).await;
            assert!(outcome.is_ok() && left == 0, "it was ours: {outcome:?}");
            let (outcome, left) = put(&[lost, Some(BEING_WRITTEN), Some("Kept")]).await;
            assert!(outcome.is_ok() && left == 0, "it was ours, and failed: {outcome:?}");
        }
        for taken in [TAKEN, BEING_WRITTEN] {
            let (outcome, left) = put(&[Some(taken), None]).await;
            assert!(matches!(outcome, Err(Error::Conflict)) && left == 1, "somebody else's: {outcome:?}");
        }
        let (outcome, left) = put(&[Some("SlowDown"), Some(TAKEN), None]).await;
        assert!(matches!(outcome, Err(Error::Conflict)) && left == 1, "nothing of ours: {outcome:?}");
        let (outcome, left) = put(&[Some("SlowDown"), Some("Kept"), None]).await;
        assert!(outcome.is_ok() && left == 1, "{outcome:?}");
        let (outcome, left) = put(&[None, None, None, None, Some("Kept")]).await;
        assert!(matches!(outcome, Err(Error::Unavailable { .. })) && left == 1, "{outcome:?}");
        let (outcome, left) = put(&[Some("AccessDenied"), Some("Kept")]).await;
        assert!(matches!(outcome, Err(Error::Broken { .. })) && left == 1, "{outcome:?}");
    }
}
