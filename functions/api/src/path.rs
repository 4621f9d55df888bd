//! Paths as they were asked for.

use lambda_http::{Request, http::Uri};

/// What is asked about one target, at the end of a path.
const ABOUT_ONE: [&str; 7] = ["activity", "check", "confirm", "disable", "edit", "enable", "plan"];
const TARGETS: &str = "/v1/targets/";
/// Whose token it is, and nothing more.
const TOKENS: &str = "/v1/tokens/";

/// With the id of a target or the name of a person in one segment again: API Gateway decodes the slashes that its client
/// encoded.
pub fn encoded(mut request: Request) -> Request {
    if let Some(uri) = again(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// Nothing where the path is as it was.
fn again(uri: &Uri) -> Option<Uri> {
    let (before, about_one): (_, &[&str]) =
        if uri.path().starts_with(TOKENS) { (TOKENS, &[]) } else { (TARGETS, &ABOUT_ONE) };
    let rest = uri.path().strip_prefix(before)?;
    let (id, last) = match rest.rsplit_once('/').filter(|(_, last)| about_one.contains(last)) {
        Some((id, last)) => (id, Some(last)),
        None => (rest, None),
    };
    if !id.contains('/') {
        return None;
    }
    let mut path = format!("{before}{}", id.replace('/', "%2F"));
    if let Some(last) = last {
        path = format!("{path}/{last}");
    }
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(of: &str) -> Option<String> {
        again(&of.parse().expect("a URI")).map(|it| it.to_string())
    }

    #[test]
    fn a_targets_id_is_one_segment_again() {
        let decoded = "https://api.example/v1/targets//subscriptions/s/vm-1/check?port=22";
        let encoded = "https://api.example/v1/targets/%2Fsubscriptions%2Fs%2Fvm-1/check?port=22";
        assert_eq!(path(decoded).as_deref(), Some(encoded));
        assert_eq!(path("/v1/targets//a/b").as_deref(), Some("/v1/targets/%2Fa%2Fb"));
        let role = "arn:aws:sts::111122223333:assumed-role";
        let encoded = format!("/v1/tokens/{role}%2Fplan");
        assert_eq!(path(&format!("/v1/tokens/{role}/plan")), Some(encoded));
    }

    #[test]
    fn what_was_one_segment_stays() {
        for of in [
            "/v1/targets/%2Fa%2Fb/enable",
            "/v1/targets/host-1/plan",
            "/v1/targets",
            "/v1/grants/g/close",
            "/v1/tokens/ann",
            "/v1/tokens",
        ] {
            assert_eq!(path(of), None, "{of}");
        }
    }
}
