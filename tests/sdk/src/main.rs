//! A function that has a client of DynamoDB, over our connector, and does next to nothing with it: what AWS's own SDK takes
//! to start.

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use portcullis_aws::connector;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("an-id", "a-secret", None, None, "written here"))
        .http_client(connector()?);
    let client = Client::from_conf(config.build());
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        client.list_tables().send().await?;
        Ok::<_, Error>(event.payload)
    }))
    .await
}
