//! What a function says: one JSON object a line, on standard output, where Lambda takes it to CloudWatch.

use crate::{BadSetting, Environment};
use portcullis_domain::redacted;
use std::io::{self, Write};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Begins to log from the level in `PORTCULLIS_LOG` on: `error`, `warn`, `info` (the default) or `debug`. There is no
/// `trace`: the runtime would log every event as it came, and with it the tokens of callers.
pub fn begin(environment: &Environment) -> Result<(), BadSetting> {
    const LEVEL: &str = "PORTCULLIS_LOG";
    let level = environment.parsed(LEVEL, "a level: `error`, `warn`, `info` or `debug`")?;
    lines(level.unwrap_or(LevelFilter::INFO).min(LevelFilter::DEBUG), || Redacting(io::stdout())).init();
    Ok(())
}

/// Lines from this level on. Each says in `spans` all that it belongs to, whatever level is logged: the invocation, by the
/// name that Lambda gives it, and within that the message or the call, with the correlation id.
fn lines<W>(level: LevelFilter, to: W) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let is_said = move |it: &Metadata<'_>| *it.level() <= level || it.is_span() && *it.level() <= Level::INFO;
    let is_said = filter_fn(is_said).with_max_level_hint(level.max(LevelFilter::INFO));
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(true);
    tracing_subscriber::registry().with(is_said).with(lines.log_internal_errors(false).with_writer(to))
}

/// Without bearer tokens: whatever a line names, and whoever wrote that. A line comes in one piece.
struct Redacting<W>(W);

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(redacted(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked with it").write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is said meanwhile, from this level on.
    pub(crate) fn said(level: LevelFilter, meanwhile: impl FnOnce()) -> Vec<Value> {
        let page = Page::default();
        let to = page.clone();
        tracing::subscriber::with_default(lines(level, move || Redacting(to.clone())), meanwhile);
        let text = page.0.lock().expect("nobody panicked with it").clone();
        let text = String::from_utf8(text).expect("text");
        text.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect()
    }

    #[test]
    fn a_line_holds_no_token_whatever_it_names() {
        let token = format!("pct_{}", "aB3-_".repeat(9));
        let lines = said(LevelFilter::INFO, || tracing::warn!(name = token, "a name"));
        assert_eq!(lines[0]["name"], "pct_[redacted]");
    }

    #[test]
    fn a_line_says_all_that_it_belongs_to_whatever_the_level() {
        let work = || {
            let invoked = tracing::info_span!("Lambda runtime invoke", requestId = "invocation-1");
            let message = || tracing::info_span!("message", correlation_id = "thread-7");
            invoked.in_scope(|| {
                message().in_scope(|| {
                    tracing::info!("usual");
                    tracing::warn!(answer = 1, "unusual");
                });
            });
        };
        for (level, wanted) in [(LevelFilter::INFO, 2), (LevelFilter::WARN, 1)] {
            let lines = said(level, work);
            assert_eq!(lines.len(), wanted, "{lines:#?}");
            let last = &lines[wanted - 1];
            assert_eq!(last["message"], "unusual");
            assert_eq!(last["answer"], 1);
            for line in lines {
                assert_eq!(line["spans"][0]["requestId"], "invocation-1", "{line}");
                assert_eq!(line["spans"][1]["correlation_id"], "thread-7", "{line}");
            }
        }
    }
}
