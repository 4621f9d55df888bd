//! A terminal for a program, of a size of its own.

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::{File, OpenOptions},
    io::Read,
    process::{Command, ExitStatus},
    thread,
};

/// Runs a program whose standard output and error are a terminal that wide; how it ended, and all that the terminal got.
pub fn on_terminal(mut command: Command, columns: u16) -> (ExitStatus, String) {
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&own).expect("granted");
    unlockpt(&own).expect("unlocked");
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&own, size).expect("sized");
    let name = ptsname(&own, vec![]).expect("a name").into_string().expect("text");
    let theirs = OpenOptions::new().read(true).write(true).open(name).expect("opens");
    let again = theirs.try_clone().expect("opens");
    command.env_remove("COLUMNS").stdout(theirs).stderr(again);
    let mut process = command.spawn().expect("starts");
    // Else the terminal would stay open after the program's end.
    drop(command);
    let read = thread::spawn(move || {
        let mut bytes = vec![];
        // Where nobody writes to a terminal any more, Linux says EIO.
        drop(File::from(own).read_to_end(&mut bytes));
        String::from_utf8(bytes).expect("text").replace("\r\n", "\n")
    });
    let status = process.wait().expect("ends");
    (status, read.join().expect("reads"))
}
