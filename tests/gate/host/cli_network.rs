//! The real program in a network with a CA and a proxy of its own: the client and Azure go by one set of rules.

use portcullis_tests::{
    binary::{Up, program, text},
    private_network::{PrivateNetwork, other_ca},
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
};
use tempfile::{TempDir, tempdir};

/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 5;
/// Variables of the environment.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Names that lead nowhere (RFC 6761) but through the proxy.
const API: &str = "portcullis.test";
const ARM: &str = "arm.test";

fn code(output: &Output) -> i32 {
    output.status.code().expect("exits by itself")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Where a URL of this machine leads.
fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// Without what the environment of the tests says of networks.
fn alone(command: &mut Command) -> &mut Command {
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.env_remove("SSL_CERT_FILE")
}

/// A Portcullis in such a network.
struct Place {
    up: Up,
    network: PrivateNetwork,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempdir().expect("a folder");
        let up = Up::start(&folder.path().join("data"), &[], &[]);
        let network = PrivateNetwork::before(address(up.url()), API);
        // A bundle, with a certificate before the one that is needed.
        fs::write(folder.path().join("ca.pem"), format!("# two\n{}{}", other_ca(), network.ca))
            .expect("written");
        fs::write(folder.path().join("other.pem"), other_ca()).expect("written");
        Self { up, network, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `whoami` with these variables and options.
    fn ask(&self, variables: &[(&str, &str)], options: &[&str]) -> Output {
        let token = fs::read_to_string(self.folder.path().join("data/token")).expect("a token");
        let mut client = Command::new(program());
        alone(&mut client)
            .env("PORTCULLIS_CONFIG", self.file("config.toml"))
            .env("PORTCULLIS_TOKEN", token.trim());
        client.env_remove("PORTCULLIS_URL").env_remove("PORTCULLIS_PROFILE");
        client.envs(variables.iter().copied()).arg("whoami").args(options).output().expect("runs")
    }
}

#[test]
fn client_asks_through_the_proxy_and_trusts_the_bundle_of_the_environment() {
    let it = Place::new();
    let (ca, other) = (it.file("ca.pem"), it.file("other.pem"));
    let url = format!("https://{API}");
    let ask = |variables: &[(&str, &str)]| it.ask(variables, &["--url", &url]);
    let proxy = it.network.proxy.as_str();
    let through = ask(&[("HTTPS_PROXY", proxy), ("SSL_CERT_FILE", &ca)]);
    assert_eq!(code(&through), DONE, "{}", told(&through));
    assert!(told(&through).starts_with("operator"), "{}", told(&through));
    assert_eq!(it.network.asked(), [format!("CONNECT {API}:443 HTTP/1.1")]);
    let small = ask(&[("https_proxy", proxy), ("SSL_CERT_FILE", &ca)]);
    assert_eq!(code(&small), DONE, "{}", told(&small));

    // Each failure is helped with what is missing.
    let cases: [(Variables<'_>, i32, &str); 5] = [
        (&[("SSL_CERT_FILE", &ca)], UNAVAILABLE, "check the URL in --url"),
        (
            &[("HTTPS_PROXY", proxy), ("SSL_CERT_FILE", &ca), ("NO_PROXY", ".test")],
            UNAVAILABLE,
            "check the URL in --url",
        ),
        (&[("HTTPS_PROXY", proxy)], UNAVAILABLE, "name that in SSL_CERT_FILE or in a profile's `ca-file`"),
        (&[("HTTPS_PROXY", proxy), ("SSL_CERT_FILE", &other)], UNAVAILABLE, "name that in SSL_CERT_FILE"),
        (
            &[("HTTPS_PROXY", proxy), ("SSL_CERT_FILE", "/nowhere/ca.pem")],
            USAGE,
            "`SSL_CERT_FILE` names `/nowhere/ca.pem`",
        ),
    ];
    for (variables, exit, part) in cases {
        let failed = ask(variables);
        assert_eq!(code(&failed), exit, "{variables:?}: {}", told(&failed));
        assert!(told(&failed).contains(part), "{variables:?}: {}", told(&failed));
        assert!(!told(&failed).contains("start it with"), "it is not here: {}", told(&failed));
    }
    let before = it.network.asked().len();
    let here = it
        .ask(&[("HTTPS_PROXY", proxy), ("HTTP_PROXY", proxy), ("ALL_PROXY", proxy)], &["--url", it.up.url()]);
    assert_eq!(code(&here), DONE, "{}", told(&here));
    assert_eq!(it.network.asked().len(), before, "no proxy stands between a machine and itself");
}

#[test]
fn profile_trusts_every_certificate_of_its_bundle_and_no_other() {
    let it = Place::new();
    let config = |ca: &str| {
        let token = it.file("data/token");
        let text =
            format!("[profiles.lab]\nurl = 'https://{API}'\ntoken-file = '{token}'\nca-file = '{ca}'\n");
        fs::write(it.file("config.toml"), text).expect("written");
    };
    let ask = |variables: &[(&str, &str)]| {
        let proxy = [("HTTPS_PROXY", it.network.proxy.as_str())];
        it.ask(&[&proxy, variables].concat(), &["--profile", "lab"])
    };
    // Beside the configuration file.
    config("ca.pem");
    let asked = ask(&[]);
    assert_eq!(code(&asked), DONE, "{}", told(&asked));
    config("other.pem");
    let refused = ask(&[("SSL_CERT_FILE", &it.file("ca.pem"))]);
    assert_eq!(code(&refused), UNAVAILABLE, "{}", told(&refused));
    assert!(told(&refused).contains("in the profile's `ca-file`"), "{}", told(&refused));
    for (text, part) in [("no PEM", "has no certificate in PEM"), ("", "has no certificate in PEM")] {
        fs::write(it.file("bad.pem"), text).expect("written");
        config("bad.pem");
        let bad = ask(&[]);
        assert_eq!(code(&bad), USAGE, "{}", told(&bad));
        assert!(told(&bad).contains("`ca-file` names `") && told(&bad).contains(part), "{}", told(&bad));
    }
}

#[test]
fn azure_is_asked_through_the_same_proxy_and_trusts_every_certificate_of_the_bundle() {
    let it = Place::new();
    let network = PrivateNetwork::before(address(it.up.azure()), ARM);
    let kept = fs::read_to_string(it.folder.path().join("data/simcloud.json")).expect("it is kept");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let tenant = kept["tenant"].as_str().expect("a tenant");
    let (url, ca) = (format!("https://{ARM}"), it.file("arm.pem"));
    fs::write(&ca, format!("{}{}", other_ca(), network.ca)).expect("written");
    let options = [
        "--guard",
        "azure",
        "--azure-arm",
        &url,
        "--azure-authority",
        &url,
        "--azure-audience",
        &url,
        "--azure-ca",
        &ca,
        "--azure-login",
        "client-secret",
        "--azure-tenant",
        tenant,
        "--azure-client",
        "portcullis",
    ];
    let guards = Up::start_with(&it.folder.path().join("azure"), &options, &[], |up| {
        alone(up).env("HTTPS_PROXY", &network.proxy).env("AZURE_CLIENT_SECRET", "of-the-test");
    });
    let found = guards.json(&["targets", "--wait", "20s"]);
    assert!(found.as_array().is_some_and(|it| it.iter().any(|it| it["name"] == "web-1")), "{found}");
    let asked = network.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|it| it == &format!("CONNECT {ARM}:443 HTTP/1.1")),
        "{asked:?}"
    );
}
