//! An event as one sentence, for people.

use portcullis_domain::{Access, Entry, Fact, What, few, short};

/// How long a sentence may be, in characters: an event has a bound, and its fact has all of it.
const SENTENCE_MAX: usize = 600;

/// An entry as an event of this kind in one sentence.
pub(crate) fn sentence(kind: &str, entry: &Entry) -> String {
    let speakers = entry.fact.about().speakers();
    let said = match (&entry.fact, kind) {
        (
            Fact::ApprovalNeeded { asked, why, request, until, approvers, because, .. },
            "request.needs_approval",
        ) => {
            let of = approvers.as_ref().map(|it| format!(" of {}", it.in_words())).unwrap_or_default();
            let asked = asks(speakers.as_deref(), asked, why.as_deref());
            let waits = format!("request {request} waits for the approval{of} until {until}");
            Some([asked, waits].iter().chain(because).map(String::as_str).collect::<Vec<_>>().join("; "))
        }
        (
            Fact::ApprovalNeeded { asked, why, .. } | Fact::RequestRefused { asked, why, .. },
            "request.received",
        ) => Some(asks(speakers.as_deref(), asked, why.as_deref())),
        (Fact::Opened { access: Some(access), .. }, _) => {
            let target = entry.chain.target();
            Some(opened(access, target.as_ref().map_or("the machine", |it| short(it.as_str()))))
        }
        (_, _) => None,
    };
    let whole = said.unwrap_or_else(|| {
        let machine = entry.chain.target().map(|it| format!("{}: ", short(it.as_str()))).unwrap_or_default();
        let by = speakers.map(|it| format!(" (by {it})")).unwrap_or_default();
        format!("{machine}{}{by}", entry.fact.in_words())
    });
    match whole.char_indices().nth(SENTENCE_MAX) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

fn asks(speakers: Option<&str>, asked: &What, why: Option<&str>) -> String {
    let why = why.map(|why| format!(", because: {why}")).unwrap_or_default();
    format!("{} asks for {}{why}", speakers.unwrap_or_default(), asked.in_words())
}

fn opened(access: &Access, machine: &str) -> String {
    let Access { by, gate, sources, until, connect, .. } = access;
    let connect = match connect.as_slice() {
        [] => String::new(),
        [first, ..] => format!(": connect to {first}"),
    };
    format!("{gate} of {machine} is open to {by} from {} until {until}{connect}", few(sources))
}
