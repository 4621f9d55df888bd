//! The way to the Portcullis of a data folder on this machine: its socket, which no flood on the network fills.

use crate::early;
use portcullis_program::{Failure, SOCKET_FILE, private};
use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use ureq::{
    Agent, Error, Timeout,
    config::Config,
    unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
};

/// How a URL names a socket.
const SCHEME: &str = "unix:";
/// The address in front of a path of the API there: nobody resolves it, and nobody connects to it.
pub const BASE: &str = "http://127.0.0.1";

/// The URL of a data folder's socket, if a process answers there. A folder that other users may write is refused: one of
/// them could answer there, and be sent the token. The owner of a token that is in the folder has it already.
pub fn of(data: &Path, token: Option<&PathBuf>) -> Result<String, Failure> {
    let path = data.join(SOCKET_FILE);
    match private::check_folder_of(data, token.map(PathBuf::as_path)) {
        Ok(()) => {}
        Err(_) if !data.exists() => return Err(absent(data)),
        Err(failure) => return Err(failure),
    }
    UnixStream::connect(&path).map_err(|_| absent(data))?;
    Ok(format!("{SCHEME}{}", path.display()))
}

fn absent(data: &Path) -> Failure {
    let data = data.display();
    Failure::unavailable(format!("Portcullis is not running on `{data}`: start it with `portcullis up`")).next(
        "for a server elsewhere give --url, PORTCULLIS_URL or --profile: the token of that folder is sent to \
            its socket alone unless an address is named",
    )
}

/// The socket that a URL names, if it names one.
pub fn named(url: &str) -> Option<PathBuf> {
    url.strip_prefix(SCHEME).filter(|it| !it.is_empty()).map(PathBuf::from)
}

/// An agent that connects there, whatever it is asked for.
pub fn agent(config: Config, path: PathBuf) -> Agent {
    early::agent(config, SocketConnector { path })
}

#[derive(Debug)]
struct SocketConnector {
    path: PathBuf,
}

impl Connector for SocketConnector {
    type Out = SocketTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<SocketTransport>, Error> {
        let stream = UnixStream::connect(&self.path)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(SocketTransport { stream, buffers }))
    }
}

#[derive(Debug)]
struct SocketTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(timeout.not_zero().map(|it| *it))?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(|error| told(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(timeout.not_zero().map(|it| *it))?;
        let read = self.stream.read(self.buffers.input_append_buf());
        let count = read.map_err(|error| told(error, timeout.reason))?;
        self.buffers.input_appended(count);
        Ok(0 < count)
    }

    /// Never known to be, so that each call opens a new one: that costs nothing on the same machine.
    fn is_open(&mut self) -> bool {
        false
    }
}

fn told(error: io::Error, reason: Timeout) -> Error {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        Error::Timeout(reason)
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_program::Exit;
    use std::{
        fs::Permissions,
        os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    };

    #[test]
    fn a_url_names_a_socket_by_its_scheme_alone() {
        assert_eq!(named("unix:/run/p.sock"), Some(PathBuf::from("/run/p.sock")));
        assert_eq!(named("unix:"), None);
        assert_eq!(named("http://127.0.0.1:7422"), None);
    }

    #[test]
    fn a_folder_without_a_socket_or_with_a_dead_one_has_no_url() {
        let folder = std::env::temp_dir().join(format!("portcullis-socket-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
        let of = |folder: &Path| of(folder, None).map_err(|it| it.exit());
        assert_eq!(of(&folder), Err(Exit::Unavailable));
        drop(std::os::unix::net::UnixListener::bind(folder.join(SOCKET_FILE)).expect("a socket"));
        assert_eq!(of(&folder), Err(Exit::Unavailable), "nobody answers there");
        let _alive = {
            std::fs::remove_file(folder.join(SOCKET_FILE)).expect("gone");
            std::os::unix::net::UnixListener::bind(folder.join(SOCKET_FILE)).expect("a socket")
        };
        assert_eq!(of(&folder), Ok(format!("unix:{}", folder.join(SOCKET_FILE).display())));
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("set");
        assert_eq!(of(&folder), Err(Exit::Usage), "anybody may put another one in its place");
        std::fs::remove_dir_all(&folder).expect("gone");
        assert_eq!(of(&folder), Err(Exit::Unavailable), "the folder is not there");
    }
}
