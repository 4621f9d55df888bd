//! Somebody who is called instead of AWS and answers as a test wants: what AWS itself does seldom.

use super::wire::{BODY_MAX, asked, serve};
use axum::{
    Router,
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// An operation, and with what it was called.
type Asked = (String, Value);

/// See the module. It is heard as long as the program runs.
#[derive(Debug, Clone)]
pub struct StandIn {
    url: String,
    heard: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    /// One who answers each operation so: with a status and a body.
    pub fn who(answers: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let (heard, answers) = (Arc::new(Mutex::new(vec![])), Arc::new(answers));
        let all = Arc::clone(&heard);
        let answer = move |request: Request| {
            let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
            async move {
                let (parts, body) = request.into_parts();
                let Ok(body) = to_bytes(body, BODY_MAX).await else {
                    return StatusCode::PAYLOAD_TOO_LARGE.into_response();
                };
                let (_, operation) = asked(&parts.headers, &parts.method, &body);
                let with: Value = serde_json::from_slice(&body).unwrap_or_default();
                heard.lock().expect("not poisoned").push((operation.clone(), with.clone()));
                // Whoever answers may have to ask somebody else.
                let answered = tokio::task::spawn_blocking(move || answers(&operation, &with)).await;
                answered.map_or_else(|_| StatusCode::NOT_IMPLEMENTED.into_response(), said)
            }
        };
        Self { url: serve(Router::new().fallback(answer)), heard: all }
    }

    /// Where it is called.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// With what an operation was called so far, each time.
    pub fn calls(&self, operation: &str) -> Vec<Value> {
        let heard = self.heard.lock().expect("not poisoned");
        heard.iter().filter(|(name, _)| name == operation).map(|(_, with)| with.clone()).collect()
    }
}

fn said((status, body): (u16, Value)) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}
