//! The certificates by which a server is trusted.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The variable that names a bundle, as for OpenSSL and the programs that use it.
const VARIABLE: &str = "SSL_CERT_FILE";
/// The mark that some editors put before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The certificates that are trusted: those of Mozilla, unless a bundle takes their place, and more.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// In place of Mozilla's.
    instead: Option<Vec<CertificateDer<'static>>>,
    more: Vec<CertificateDer<'static>>,
}

/// Certificates that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BadRoots {
    /// The file is not there, or may not be read.
    #[error("`{place}` names `{}`, which cannot be read", file.display())]
    Unreadable {
        /// The option, the variable or the field that names it.
        place: String,
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has no certificate.
    #[error("`{place}` names `{}`, which has no certificate in PEM", file.display())]
    Empty {
        /// The option, the variable or the field that names it.
        place: String,
        /// The file.
        file: PathBuf,
    },
    /// A certificate is none.
    #[error("a certificate that is to be trusted cannot be read")]
    NoCertificate(#[source] rustls::Error),
}

impl Roots {
    /// As the environment says: the bundle in the file that `SSL_CERT_FILE` names, else the certificates of Mozilla.
    pub fn of_environment() -> Result<Self, BadRoots> {
        match env::var_os(VARIABLE).filter(|it| !it.is_empty()) {
            Some(file) => Self::only(VARIABLE, Path::new(&file)),
            None => Ok(Self::default()),
        }
    }

    /// Those of a file alone. `place` is the option, the variable or the field that names it.
    pub fn only(place: &str, file: &Path) -> Result<Self, BadRoots> {
        Ok(Self { instead: Some(read(place, file)?), more: vec![] })
    }

    /// These, and all of a file.
    pub fn and(mut self, place: &str, file: &Path) -> Result<Self, BadRoots> {
        self.more.extend(read(place, file)?);
        Ok(self)
    }

    /// These, and one more in DER.
    #[must_use]
    pub fn and_one(mut self, certificate: Vec<u8>) -> Self {
        self.more.push(certificate.into());
        self
    }

    /// The certificates, where Mozilla's are none of them.
    pub fn all(&self) -> Option<impl Iterator<Item = &CertificateDer<'static>>> {
        self.instead.as_ref().map(|it| it.iter().chain(&self.more))
    }

    /// TLS that trusts these.
    pub fn config(&self) -> Result<ClientConfig, BadRoots> {
        let mut store = RootCertStore::empty();
        if self.instead.is_none() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for certificate in self.instead.iter().flatten().chain(&self.more) {
            store.add(certificate.clone()).map_err(BadRoots::NoCertificate)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(BadRoots::NoCertificate)?;
        Ok(config.with_root_certificates(store).with_no_client_auth())
    }
}

/// Every certificate of a bundle; what else is in it, such as comments, is passed over.
fn read(place: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BadRoots> {
    let (place, at) = (place.to_owned(), file.to_owned());
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(source) => return Err(BadRoots::Unreadable { place, file: at, source }),
    };
    let text = text.strip_prefix(MARK).unwrap_or(&text);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(BadRoots::Empty { place, file: at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certificate(name: &str) -> String {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.self_signed(&key).expect("a certificate").pem()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn every_certificate_of_a_bundle_is_trusted() {
        let bundle = file(&format!("\u{feff}# one\n{}\n# two\n{}", certificate("one"), certificate("two")));
        let roots = Roots::only("ca-file", bundle.path()).expect("a bundle");
        assert_eq!(roots.all().map(Iterator::count), Some(2));
        assert!(roots.config().is_ok());
        let more = Roots::default().and("--azure-ca", bundle.path()).expect("a bundle");
        assert!(more.all().is_none(), "Mozilla's are trusted too");
        assert_eq!(more.more.len(), 2);
    }

    #[test]
    fn file_without_a_certificate_is_named_with_what_names_it() {
        let why = |path: &Path| Roots::only("SSL_CERT_FILE", path).expect_err("no bundle").to_string();
        let none = why(Path::new("/nowhere/ca.pem"));
        assert_eq!(none, "`SSL_CERT_FILE` names `/nowhere/ca.pem`, which cannot be read");
        for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"] {
            let empty = file(text);
            assert!(why(empty.path()).ends_with("which has no certificate in PEM"), "{text}");
        }
        let bad = Roots::default().and_one(vec![1, 2, 3]);
        assert!(matches!(bad.config(), Err(BadRoots::NoCertificate(_))));
    }
}
