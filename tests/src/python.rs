//! Programs in Python, as they are published: pinned, and installed into the target folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the programs that a file of pins names; installed once, and anew when the pins change.
///
/// `place` is a folder of its own, such as one in `CARGO_TARGET_TMPDIR`. `Err` says why there are none here.
pub fn programs(pins: &Path, place: &Path) -> Result<PathBuf, String> {
    let told = |error: std::io::Error| error.to_string();
    let installed = place.join("installed");
    let wanted = fs::read_to_string(pins).expect("reads");
    fs::create_dir_all(place).map_err(told)?;
    let lock = File::create(place.with_extension("lock")).map_err(told)?;
    // Several tests may want them at once. It is free again when it is dropped.
    lock.lock().map_err(told)?;
    if !fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(place.join("bin/python")).args(install).arg(pins))?;
        fs::write(installed, wanted).map_err(told)?;
    }
    Ok(place.join("bin"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(told()) }
}
