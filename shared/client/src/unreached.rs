//! A server that was not reached: what helps.

use std::io;
use ureq::Error;

/// What helps where a server was not reached: on this machine it may have to be started, elsewhere the way there is in question.
pub fn helps(error: &Error, is_here: bool, is_named: bool) -> &'static str {
    if is_untrusted(error) {
        return if is_named {
            "if the server's certificate is of a CA of your own, name that in the profile's `ca-file`"
        } else {
            "if the server's certificate is of a CA of your own, name that in SSL_CERT_FILE or in a profile's `ca-file`"
        };
    }
    if matches!(error, Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl) {
        return "HTTPS_PROXY names the proxy; NO_PROXY names the servers that are asked without it";
    }
    let (is_unknown, is_late) = (matches!(error, Error::HostNotFound), matches!(error, Error::Timeout(_)));
    match (is_here, is_named) {
        (true, _) if is_late => "run the same command again; the log of `portcullis up` has the cause",
        (true, _) => "start it with `portcullis up`, or name its URL with --url, PORTCULLIS_URL or --profile",
        (false, _) if is_late => {
            "check whether HTTPS_PROXY has to name a proxy; then run the same command again"
        }
        (false, true) if is_unknown => "check the `url` of the profile",
        (false, false) if is_unknown => "check the URL in --url or PORTCULLIS_URL",
        (false, true) => "check the `url` of the profile, and whether the server runs",
        (false, false) => "check the URL in --url or PORTCULLIS_URL, and whether the server runs",
    }
}

/// Is a certificate what is wrong?
fn is_untrusted(error: &Error) -> bool {
    // It may be within a failure to read, which says it in words alone.
    matches!(error, Error::Rustls(_)) || error.to_string().contains("certificate")
}

/// Did nobody listen there?
pub fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        || matches!(error, Error::HostNotFound | Error::ConnectionFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::Timeout;

    #[test]
    fn hint_fits_the_cause_and_the_place_of_the_server() {
        let untrusted = || Error::Io(io::Error::other("invalid peer certificate: UnknownIssuer"));
        let refused = || Error::Io(io::ErrorKind::ConnectionRefused.into());
        let cases: [(Error, bool, bool, &str); 10] = [
            (refused(), true, false, "start it with `portcullis up`"),
            (refused(), false, false, "whether the server runs"),
            (refused(), false, true, "`url` of the profile, and whether"),
            (Error::HostNotFound, false, true, "check the `url` of the profile"),
            (Error::HostNotFound, false, false, "--url or PORTCULLIS_URL"),
            (Error::Timeout(Timeout::Connect), true, false, "run the same command again"),
            (Error::Timeout(Timeout::Connect), false, false, "HTTPS_PROXY"),
            (Error::ConnectProxyFailed("407".to_owned()), false, true, "NO_PROXY"),
            (untrusted(), false, true, "the profile's `ca-file`"),
            (untrusted(), false, false, "SSL_CERT_FILE"),
        ];
        for (error, is_here, is_named, part) in cases {
            let hint = helps(&error, is_here, is_named);
            assert!(hint.contains(part), "{error}: {hint}");
            assert!(is_here || !hint.contains("portcullis up"), "a server elsewhere: {hint}");
        }
    }
}
