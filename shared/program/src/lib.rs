//! The common ground of the program's two halves, `portcullis up` and the commands that ask it: how a command ends, what a
//! terminal gets, and which files are safe to obey.

mod data;
mod dice;
mod failure;
pub mod output;
pub mod private;
mod terminal;

pub use data::{SOCKET_FILE, TOKEN_FILE};
pub use dice::secret;
pub use failure::{Exit, Failure};
