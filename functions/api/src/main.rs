//! The HTTP API, over an HTTP API of API Gateway or a function URL.

mod caller;
mod path;

use jiff::Timestamp;
use lambda_http::{Request, Service as _, service_fn};
use portcullis_http::router;
use portcullis_lambda::{BoxError, Environment, Failed, LambdaSite, Place};
use portcullis_policy::Cedar;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let router = router(Arc::new(LambdaSite::of(&place, dice, Arc::new(Cedar))?));
    let answer = |request: Request| router.clone().call(path::encoded(caller::known(request)));
    Ok(lambda_http::run(service_fn(answer)).await?)
}

fn dice() -> Result<[u8; 32], BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
