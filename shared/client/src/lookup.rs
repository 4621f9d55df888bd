//! Names of machines on a command line, looked up in the table first: who shuts a port must not wait for a cloud.

use crate::{
    client::Client,
    connection::{PART, PARTS_MAX},
    names::{self, find},
    ports,
};
use jiff::SignedDuration;
use portcullis_domain::TargetState;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{Catalogue, NameView, NamesView, WaitQuery};

/// How long the cloud may take to say whether a name that the table knows is another machine's too.
const BRIEF: SignedDuration = SignedDuration::from_secs(1);
/// How long it may take to say which machine has a name that the table does not know.
const LONG: SignedDuration = SignedDuration::from_secs(20);
/// How the id of a machine in Azure begins, and what is in it before its name.
const ID: (&str, &str) = ("/subscriptions/", "/virtualmachines/");

/// Which machines a command can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those that are or were guarded: an exact name among them is meant, whatever else the cloud has.
    Guarded,
    /// Every machine of the cloud.
    All,
}

/// Machines that may be meant, and where they are from.
#[derive(Debug)]
pub struct Names {
    /// By id.
    pub items: Vec<NameView>,
    /// The cloud was asked, and did not answer: these are the table's alone.
    is_silent: bool,
}

impl Names {
    /// The machine that is meant.
    pub fn find(&self, text: &str) -> Result<&NameView, Failure> {
        find(&self.items, text).map_err(|failure| self.explained(failure))
    }

    /// A name that is not in the table may be one of a cloud that did not answer: then nobody knows that there is none.
    pub fn explained(&self, failure: Failure) -> Failure {
        if !self.is_silent || failure.exit() != Exit::NotFound {
            return failure;
        }
        let because = failure.reasons().to_vec();
        Failure::unavailable(format!("{} in the table, and the cloud did not answer", failure.message()))
            .because(because)
            .next("run the same command again when the cloud answers, or give the whole id")
    }
}

impl Client {
    /// The machines among which these texts of a command line are to be found, each a name, an id or a part of one, perhaps with
    /// a port. The cloud is asked only where the table cannot tell.
    pub fn names(&self, texts: &[String], among: Among) -> Result<Names, Failure> {
        let table = self.listed(SignedDuration::ZERO)?;
        let mut items = table.items;
        items.extend(texts.iter().filter_map(|it| unlisted(&items, it)).collect::<Vec<_>>());
        let is_exact = |text: &String| {
            let name = named(&items, text);
            let is_name = || names::exact(&items, name).is_some() && find(&items, name).is_ok();
            let is_id = items.iter().any(|it| it.id.eq_ignore_ascii_case(name));
            match among {
                Among::Guarded => is_id || is_name(),
                Among::All => is_id,
            }
        };
        if texts.iter().all(is_exact) {
            return Ok(Names { items, is_silent: false });
        }
        let is_known =
            |text: &String| !find(&items, named(&items, text)).is_err_and(|it| it.exit() == Exit::NotFound);
        let wait = if texts.iter().all(is_known) { BRIEF } else { LONG };
        let all = self.listed(wait)?;
        let is_silent = all.catalogue == Catalogue::Silent;
        if !is_silent {
            for it in &all.unseen {
                output::note(format_args!("warning: {it}"));
            }
            let stubs = items.into_iter().filter(|it| all.items.iter().all(|known| known.id != it.id));
            let items = all.items.iter().cloned().chain(stubs).collect();
            return Ok(Names { items, is_silent });
        }
        output::note(format_args!(
            "warning: {}; the names are those of the table",
            all.unseen.first().map_or("the cloud did not answer", String::as_str)
        ));
        Ok(Names { items, is_silent })
    }

    /// Every machine of the cloud that could be guarded, and is not.
    pub fn unguarded(&self) -> Result<Vec<NameView>, Failure> {
        let all = self.listed(LONG)?;
        for it in &all.unseen {
            output::note(format_args!("warning: {it}"));
        }
        if all.catalogue == Catalogue::Silent {
            let said = "the cloud did not answer, so that the machines that could be guarded are not known";
            return Err(Failure::unavailable(said).next("run the same command again when the cloud answers"));
        }
        Ok(all.items.into_iter().filter(|it| it.state == TargetState::NotConfigured).collect())
    }

    /// The one machine that a text names.
    pub fn named(&self, text: &str, among: Among) -> Result<NameView, Failure> {
        self.names(&[text.to_owned()], among)?.find(text).cloned()
    }

    /// All names. A cloud that did not answer for the first part is not asked for the next.
    pub(crate) fn listed(&self, wait: SignedDuration) -> Result<NamesView, Failure> {
        let mut query = WaitQuery { wait: Some(wait), limit: Some(PART), after: None };
        let mut all: NamesView = self.http.query("/v1/names", &query)?;
        for _ in 0..PARTS_MAX {
            let Some(next) = all.next.take() else { return Ok(all) };
            if all.catalogue == Catalogue::Silent {
                query.wait = Some(SignedDuration::ZERO);
            }
            query.after = Some(next);
            let part: NamesView = self.http.query("/v1/names", &query)?;
            if part.catalogue == Catalogue::Silent {
                (all.catalogue, all.unseen) = (part.catalogue, part.unseen);
            }
            all.items.extend(part.items);
            all.next = part.next;
        }
        Err(Failure::broken("the list of names has too many pages"))
    }
}

/// The name in a text that may end in a port.
fn named<'a>(items: &[NameView], text: &'a str) -> &'a str {
    ports::split(text, items).map_or(text, |(name, _)| name)
}

/// A machine whose whole id is given and that the table does not know: whether there is one is the server's to say.
fn unlisted(items: &[NameView], text: &str) -> Option<NameView> {
    // Azure takes ids in any case, and Portcullis has them in lower case.
    let id = named(items, text).to_ascii_lowercase();
    let (_, name) = id.strip_prefix(ID.0)?.split_once(ID.1)?;
    if name.is_empty() || name.contains('/') || items.iter().any(|it| it.id == id) {
        return None;
    }
    Some(NameView {
        name: name.to_owned(),
        id,
        state: TargetState::NotConfigured,
        os: "linux".to_owned(),
        addresses: vec![],
        ports: vec![],
    })
}
