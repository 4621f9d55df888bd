//! The operator's way in, also while strangers flood the network: a socket in the data folder, with places of its own.

use portcullis_program::{Failure, SOCKET_FILE};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The folder's owner may connect.
const MODE: u32 = 0o600;

/// A socket that callers are heard on; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

/// Makes the socket of a data folder that is ours alone. One that is left by a process that died is replaced; where another
/// process answers, that is refused. `None` where the folder cannot hold one: then there is the network alone.
pub fn bind(data: &Path) -> Result<Option<(UnixListener, Socket)>, Failure> {
    let path = data.join(SOCKET_FILE);
    make_room(&path)?;
    let bound = UnixListener::bind(&path).and_then(|listener| {
        fs::set_permissions(&path, Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(Some((listener, Socket { path }))),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "The socket of the operator could not be made: calls go over the network");
            Ok(None)
        }
    }
}

fn make_room(path: &Path) -> Result<(), Failure> {
    let cannot =
        |error: io::Error| Failure::broken(format!("cannot make the socket `{}`: {error}", path.display()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(error)),
        Ok(found) if !found.file_type().is_socket() => {
            let message = format!("`{}` is not a socket", path.display());
            return Err(
                Failure::usage(message).next("move the file away, or choose another folder with --data")
            );
        }
        Ok(_) => {}
    }
    if UnixStream::connect(path).is_ok() {
        let message = format!("another portcullis answers at `{}`", path.display());
        return Err(Failure::unavailable(message)
            .next("stop that process first, or choose another folder with --data"));
    }
    fs::remove_file(path).map_err(cannot)
}

impl Socket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is left is replaced by the next start.
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_alone_and_a_dead_one_is_replaced_while_a_live_one_is_refused() {
        let folder = std::env::temp_dir().join(format!("portcullis-up-socket-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join(SOCKET_FILE);
        drop(UnixListener::bind(&path).expect("left by a process that died"));
        let (listener, socket) = bind(&folder).expect("replaced").expect("a socket");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let told = bind(&folder).expect_err("one answers").message().to_owned();
        assert!(told.contains("another portcullis answers"), "{told}");
        drop((listener, socket));
        assert!(!path.exists());
        fs::write(&path, "precious").expect("written");
        bind(&folder).expect_err("not a socket");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        fs::remove_dir_all(&folder).expect("gone");
    }

    #[test]
    fn a_folder_whose_path_is_too_long_for_a_socket_has_none() {
        let folder =
            std::env::temp_dir().join(format!("portcullis-{}-{}", std::process::id(), "x".repeat(120)));
        fs::create_dir(&folder).expect("a folder");
        assert!(bind(&folder).expect("goes on").is_none());
        fs::remove_dir_all(&folder).expect("gone");
    }
}
