//! Where the emulators come from: Python's and npm's registries, pinned. `Err` says why there are none here.

use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Who redistributes AWS's DynamoDB Local, and as what: the license bars us from it.
const DYNAMODB: &str = "amplify-dynamodb-simulator@2.9.30";
/// What npm says of that.
const INTEGRITY: &str =
    "sha512-xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==";

/// Python's registry.
pub(super) const PYPI: &str = "pypi";
/// npm's, and Java to run what comes from there.
pub(super) const NPM: &str = "npm";

/// The folder of programs of a Python that has ministack, microburst and boto3.
pub(super) fn programs() -> Result<&'static Path, String> {
    static PROGRAMS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let pins = scripts().join("requirements.txt");
    let wanted = fs::read_to_string(&pins).expect("reads");
    let make = |place: &Path| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(place.join("bin/python")).args(install).arg(&pins)).map(drop)
    };
    let programs = PROGRAMS.get_or_init(|| once("python", &wanted, make).map(|it| it.join("bin")));
    programs.as_deref().map_err(Clone::clone)
}

/// The folder of DynamoDB Local.
pub(super) fn dynamodb_local() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = |place: &Path| {
        fs::create_dir_all(place).map_err(|error| error.to_string())?;
        let pack = ["pack", "--json", "--ignore-scripts", DYNAMODB];
        let packed = run(Command::new("npm").args(pack).current_dir(place))?;
        let packed: Value = serde_json::from_str(&packed).map_err(|error| format!("{packed}: {error}"))?;
        let packed = &packed[0];
        if packed["integrity"] != INTEGRITY {
            return Err(format!("{DYNAMODB} is not what it was: {packed}"));
        }
        let name = packed["filename"].as_str().ok_or("npm named no file")?;
        run(Command::new("tar").args(["-xzf", name]).current_dir(place)).map(drop)
    };
    let folder = FOLDER.get_or_init(|| {
        run(Command::new("java").arg("-version"))?;
        once("dynamodb", INTEGRITY, make).map(|it| it.join("package/emulator"))
    });
    folder.as_deref().map_err(Clone::clone)
}

/// Our scripts.
pub(super) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// Where emulators are installed and run: in the target folder, which a test's own program is two folders below.
pub(super) fn place() -> PathBuf {
    let program = env::current_exe().expect("a program");
    let place = program.ancestors().nth(3).expect("the target folder").join("tmp/aws");
    fs::create_dir_all(&place).expect("a folder");
    place
}

/// What a script of ours prints.
pub(super) fn script(name: &str, words: &[&Path]) -> Result<String, String> {
    run(Command::new(programs()?.join("python")).arg(scripts().join(name)).args(words))
}

/// What a command prints that succeeds.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(told());
    }
    String::from_utf8(output.stdout).map_err(|_| told())
}

/// A folder that is made once, by whoever comes first, and anew when what is wanted changes.
fn once(name: &str, wanted: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let (folder, installed) = (place().join(name), place().join(format!("{name}.installed")));
    let lock = File::create(place().join(format!("{name}.lock"))).map_err(|error| error.to_string())?;
    // Several programs of tests may run at once. It is free again when it is dropped.
    lock.lock().map_err(|error| error.to_string())?;
    if fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return Ok(folder);
    }
    // What is half made does not stay.
    drop(fs::remove_file(&installed));
    drop(fs::remove_dir_all(&folder));
    make(&folder)?;
    fs::write(installed, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}
