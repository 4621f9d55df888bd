//! The HTTP API, over an HTTP API of API Gateway or a function URL.

mod path;

use axum::extract::ConnectInfo;
use jiff::Timestamp;
use lambda_http::{
    Request, RequestExt as _, Service as _,
    aws_lambda_events::apigw::ApiGatewayV2httpRequestContext as Context, request::RequestContext, service_fn,
};
use portcullis_http::{Vouched, router};
use portcullis_lambda::{BoxError, Environment, Failed, LambdaSite, Place};
use std::{net::SocketAddr, sync::Arc};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let router = router(Arc::new(LambdaSite::of(&place, dice)?));
    let answer = |request: Request| router.clone().call(path::encoded(known(request)));
    Ok(lambda_http::run(service_fn(answer)).await?)
}

/// With what the platform knows of the caller: from where they call, and if they signed, who they are.
fn known(mut request: Request) -> Request {
    let RequestContext::ApiGatewayV2(Context { http, authorizer, .. }) = request.request_context() else {
        return request;
    };
    let address = http.source_ip.and_then(|it| it.parse().ok());
    let signer = authorizer.and_then(|it| it.iam).and_then(|it| it.user_arn?.parse().ok());
    let known = request.extensions_mut();
    address.map(|it| known.insert(ConnectInfo(SocketAddr::new(it, 0))));
    signer.map(|it| known.insert(Vouched(it)));
    request
}

fn dice() -> Result<[u8; 32], BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
