//! How the client's connections leave: by the same certificates and proxies as every other connection of the program.

use portcullis_outgoing::{BadRoots, Proxies, Proxy, Roots};
use portcullis_program::{Failure, private};
use std::{error::Error as _, path::Path};
use ureq::{
    Proxy as Through, ProxyProtocol,
    http::Uri,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// The certificates that are trusted: those of a file alone where one is named, else those of the environment.
pub fn roots(file: Option<&Path>) -> Result<Roots, Failure> {
    let found = match file {
        None => Roots::of_environment(),
        Some(file) => {
            // Who writes it decides who is taken for Portcullis, and is sent the token.
            private::check_file(file)?;
            Roots::only("ca-file", file)
        }
    };
    found.map_err(|error| unusable(&error))
}

/// How an agent reaches a server.
pub struct Network {
    /// TLS, with the certificates that are trusted.
    pub tls: TlsConfig,
    /// The proxy in between; where none is named there is none, whatever the environment says.
    pub proxy: Option<Through>,
}

impl Network {
    /// The way to a server.
    pub fn to(server: &Uri, roots: &Roots) -> Result<Self, Failure> {
        let proxy = Proxies::of_environment().before(server);
        let proxy = proxy.map_err(|error| Failure::usage(error.to_string()).next("change the variable"))?;
        Ok(Self { tls: tls(roots), proxy: proxy.map(|it| through(&it)).transpose()? })
    }
}

/// TLS that trusts these.
fn tls(roots: &Roots) -> TlsConfig {
    let roots = match roots.all() {
        None => RootCerts::WebPki,
        Some(all) => {
            let all: Vec<_> = all.map(|it| Certificate::from_der(it).to_owned()).collect();
            RootCerts::new_with_certs(&all)
        }
    };
    TlsConfig::builder().root_certs(roots).build()
}

fn through(proxy: &Proxy) -> Result<Through, Failure> {
    let builder = Through::builder(ProxyProtocol::Http).host(proxy.host()).port(proxy.port());
    let builder = match proxy.name_and_password() {
        Some((name, password)) => builder.username(&name).password(&password),
        None => builder,
    };
    builder.build().map_err(|error| Failure::cannot("use the proxy", error))
}

/// Why certificates cannot be trusted.
pub fn unusable(error: &BadRoots) -> Failure {
    let source = error.source().map(ToString::to_string);
    Failure::usage(error.to_string()).because(source)
}
