//! Evidence over HTTP: file by file, as it is made.

use crate::{
    Caller, Problem, Site,
    problem::Query,
    wire::{ExportLine, ExportQuery},
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use portcullis_app::{Error, Exporting, export, ports::Archive};
use std::{convert::Infallible, sync::Arc};
use tokio::sync::mpsc;

/// How many files wait for a slow reader: then making them waits too.
const WAITING_MAX: usize = 1;

/// The journal of a time range: a JSON object a line, each a file of it, and last its manifest.
#[utoipa::path(get, path = "/v1/export", params(ExportQuery),
    responses((status = 200, body = ExportLine, content_type = "application/x-ndjson")))]
pub(crate) async fn download<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let ExportQuery { from, to, format } = query;
    if to <= from {
        return Err(Problem::bad_input("nothing is from a time on and before an earlier one"));
    }
    let (lines, made) = mpsc::channel::<ExportLine>(WAITING_MAX);
    tokio::spawn(async move {
        let reader = Reader(lines);
        if let Err(error) = export(site.store(), &reader, &Exporting { from, to, format }).await {
            // Who breaks off has heard enough.
            drop(reader.0.send(ExportLine::Failed(error.into())).await);
        }
    });
    let lines = stream::unfold(made, async |mut made| {
        let line = made.recv().await?;
        // Serialising cannot fail: all of it is text.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), made))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// Whoever reads the answer.
struct Reader(mpsc::Sender<ExportLine>);

impl Archive for Reader {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let doing = "export the journal";
        let content = String::from_utf8(content).map_err(|it| Error::Broken { doing, source: it.into() })?;
        let sent = self.0.send(ExportLine::File { name: name.to_owned(), content }).await;
        sent.map_err(|_| Error::Unavailable { doing, source: "nobody reads on".into() })
    }
}
