//! README.md's section "Run it in your AWS account", followed to the letter: its commands are read from it and
//! run, with an emulator for AWS and a simulated Azure.

use jiff::Timestamp;
use portcullis_gate::aws::{Auth, Ministack, function};
use portcullis_simcloud::{Faults, Packet, PacketProtocol, Simcloud};
use portcullis_tests::{
    azure::{ANN, Azure},
    binary::{program, text},
    needs::lacking,
    python::programs,
};
use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

const MACHINE: &str = "web-1";
/// Somebody else.
const BOB: &str = "198.51.100.7";

/// All of it but the compiling: `sam build` is given functions that are built already, which `scripts/cargo-lambda`
/// hands it.
#[test]
#[ignore = "needs pypi"]
fn the_section_is_true_to_the_letter() {
    let built = function("api").parent().expect("a folder");
    is_followed(&Builder { program: tests().join("scripts"), functions: Some(built.to_owned()) });
}

/// And with it. The profile of release that cargo-lambda chooses is its own, so nothing that is built already
/// is of use: `cargo test --workspace --test aws readme_aws:: -- --ignored`.
mod at_night {
    use super::*;

    #[test]
    #[ignore = "takes long: it builds everything anew, as whoever follows the README does"]
    fn the_section_is_true_with_all_that_it_builds() {
        let program = programs(&tests().join("scripts/cargo_lambda.txt"), &place().join("cargo_lambda"));
        let program = program.unwrap_or_else(|why| lacking("pypi", &why));
        is_followed(&Builder { program, functions: None });
    }
}

/// Who is `cargo-lambda`: its folder, and where the functions are that it need not build.
struct Builder {
    program: PathBuf,
    functions: Option<PathBuf>,
}

fn is_followed(builder: &Builder) {
    let tools = programs(&tests().join("scripts/tools.txt"), &place().join("aws_tools"));
    let tools = tools.unwrap_or_else(|why| lacking("pypi", &why));
    let aws = Ministack::start(Auth::Enforced);
    let azure = Azure::with(|_| Simcloud::new(1, Arc::new(Timestamp::now)));
    azure.cloud.plan(Faults { operation_millis: 100, ..Faults::quick() });
    let tenant = azure.cloud.tenant();

    let mut script = Command::new(tools.join("python"));
    script.arg(tests().join("scripts/readme.py"));
    // The emulator keeps no archive of events; the rest is the simulated Azure, and this machine.
    for (name, value) in [
        ("Architecture", "x86_64"),
        ("EventArchiveDays", "0"),
        ("AzureLogin", "client-secret"),
        ("AzureClientSecret", "simulated"),
        ("AzureArm", azure.url.as_str()),
        ("AzureAuthority", azure.url.as_str()),
        ("AzureAudience", azure.url.as_str()),
    ] {
        script.arg("--parameter").arg(format!("{name}={value}"));
    }
    script.args(["--api", &format!("{}/_aws/execute-api/{{id}}/$default", aws.url())]);
    script.args(["YOU=ann", &format!("TENANT={tenant}"), "CLIENT=portcullis", "READER=portcullis"]);
    let folders = [builder.program.as_path(), &tools, program().parent().expect("a folder")];
    script.env("PATH", path(&folders)).env("SAM_CLI_TELEMETRY", "0").envs(aws.environment());
    script.envs(builder.functions.as_ref().map(|it| ("FUNCTIONS", it)));
    let ran = script.output().expect("runs");
    assert!(ran.status.success(), "{}\n{}", text(&ran.stdout), text(&ran.stderr));
    let ran: Value = serde_json::from_slice(&ran.stdout).expect("JSON");

    let commands: Vec<&str> =
        ran["ran"].as_array().expect("commands").iter().filter_map(|it| it["command"].as_str()).collect();
    for wanted in
        ["sam build", "sam deploy", "portcullis token create", "portcullis enable", "portcullis request"]
    {
        assert!(commands.iter().any(|it| it.starts_with(wanted)), "{wanted}: {commands:#?}");
    }
    let passes = |from: &str| {
        let from = from.parse().expect("an address");
        let packet = Packet { from, protocol: PacketProtocol::Tcp, port: 22 };
        azure.cloud.passes(MACHINE, packet).expect("decided").passes
    };
    assert!(passes(ANN) && !passes(BOB), "{ran:#}");

    // And every other command of the page, as it is.
    let ask = |words: &[&str]| {
        let of = |name: &str| ran[name].as_str().expect("text");
        let mut portcullis = Command::new(program());
        portcullis.args(words).env("PORTCULLIS_URL", of("url")).env("PORTCULLIS_TOKEN", of("token"));
        let asked = portcullis.output().expect("runs");
        assert!(asked.status.success(), "{words:?}: {}{}", text(&asked.stdout), text(&asked.stderr));
        asked.stdout
    };
    let grants: Value = serde_json::from_slice(&ask(&["grants", "--json"])).expect("JSON");
    let [grant] = grants.as_array().expect("a list").as_slice() else {
        panic!("one was asked for: {grants}");
    };
    assert_eq!(grant["by"], "ann", "{grant}");
    ask(&["close", grant["id"].as_str().expect("an id")]);
    aws.wait("it is shut", |_| (!passes(ANN)).then_some(()));
    ask(&["verify"]);
}

/// These folders before all others.
fn path(folders: &[&Path]) -> OsString {
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().map(|it| it.to_path_buf()).chain(env::split_paths(&rest));
    env::join_paths(all).expect("folders")
}

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn place() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
