//! A connection with a place for answers: the ground of every command.

use crate::{connection::Connection, globals::Globals, output::Output};
use portcullis_program::Failure;
use portcullis_wire::WhoamiView;

/// What every command works with.
#[derive(Debug)]
pub struct Client {
    pub(crate) http: Connection,
    pub(crate) out: Output,
}

impl Client {
    /// As the options say.
    pub fn of(globals: &Globals) -> Result<Self, Failure> {
        let http = Connection::to(globals)?;
        // For a person every answer is made fit for a terminal at once; a script gets it as it is, and escaped.
        let http = if globals.json { http } else { http.tame() };
        Ok(Self { http, out: Output::of(globals) })
    }

    /// With every text as it was stored, for whoever writes it down in a form that holds it.
    pub fn faithful(globals: &Globals) -> Result<Self, Failure> {
        Ok(Self { http: Connection::to(globals)?, out: Output::of(globals) })
    }

    /// The caller's name, if only theirs is wanted.
    pub(crate) fn mine(&self, is_wanted: bool) -> Result<Option<String>, Failure> {
        if !is_wanted {
            return Ok(None);
        }
        let me: WhoamiView = self.http.get("/v1/whoami")?;
        Ok(Some(me.person))
    }
}
