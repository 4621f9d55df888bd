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
use portcullis_app::{Error, Exporting, perform, ports::Archive, query};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::{sync::mpsc, time::timeout};

/// How many files wait for a slow reader: then making them waits too.
const WAITING_MAX: usize = 1;

/// Exports the journal of a period: one JSON object per line, each a file of the export, the manifest last.
#[utoipa::path(get, path = "/v1/export", params(ExportQuery),
    responses((status = 200, body = ExportLine, content_type = "application/x-ndjson"), (status = 403, body = Problem)))]
pub(crate) async fn download<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let ExportQuery { from, to, format } = query;
    if to <= from {
        return Err(Problem::bad_input("`to` must be later than `from`"));
    }
    let turn = site.turns().export().await?;
    let (lines, mut made) = mpsc::channel::<ExportLine>(WAITING_MAX);
    let (bounds, call) = (site.bounds(), caller.call(site.now()));
    let reader = Reader { lines, left: AtomicUsize::new(bounds.bytes), is_full: AtomicBool::new(false) };
    tokio::spawn(async move {
        let _turn = turn;
        let exporting = Exporting { from, to, format };
        let export = query::Export { exporting, archive: &reader };
        let failed = match timeout(bounds.time, perform(site.parts(), &call, export)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) if !reader.is_full.load(Ordering::Relaxed) => Problem::from(error),
            Ok(Err(_)) => Problem::too_much(bounds, TAKE_LESS),
            Err(_) => Problem::too_much(bounds, TAKE_TIME),
        };
        // Who breaks off has heard enough.
        drop(reader.lines.send(ExportLine::Failed(failed.0)).await);
    });
    // An export that is refused, or fails before its first file, has an answer like any other.
    let first = match made.recv().await {
        Some(ExportLine::Failed(problem)) => return Err(Problem(problem)),
        first => first,
    };
    let lines = stream::unfold((first, made), async |(first, mut made)| {
        let line = match first {
            Some(line) => line,
            None => made.recv().await?,
        };
        // Serialising cannot fail: all of it is text.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), (None, made)))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// What to do where a range is too long for an answer.
const TAKE_LESS: &str =
    "ask for a shorter period, or send the event `export.request`, which exports to the archive";

/// The same where it takes too long, however short the time is: each chain is looked at.
const TAKE_TIME: &str = "send the event `export.request`, which exports to the archive";

/// Whoever reads the answer, and how much of it may yet come.
struct Reader {
    lines: mpsc::Sender<ExportLine>,
    left: AtomicUsize,
    is_full: AtomicBool,
}

impl Archive for Reader {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let doing = "export the journal";
        let content = String::from_utf8(content).map_err(|it| Error::Broken { doing, source: it.into() })?;
        // In JSON a quotation mark is two characters.
        let length = content.len() + content.bytes().filter(|it| matches!(it, b'"' | b'\\' | b'\n')).count();
        let left = self.left.load(Ordering::Relaxed);
        if left < length {
            self.is_full.store(true, Ordering::Relaxed);
            return Err(Error::Unavailable { doing, source: "the answer would be too long".into() });
        }
        self.left.store(left - length, Ordering::Relaxed);
        let sent = self.lines.send(ExportLine::File { name: name.to_owned(), content }).await;
        sent.map_err(|_| Error::Unavailable { doing, source: "the caller stopped reading".into() })
    }
}
