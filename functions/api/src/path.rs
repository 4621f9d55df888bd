//! Paths as they were asked for.

use lambda_http::{Request, http::Uri};

/// What is asked about one target, at the end of a path.
const ABOUT_ONE: [&str; 7] = ["activity", "check", "confirm", "disable", "edit", "enable", "plan"];
const TARGETS: &str = "/v1/targets/";

/// With a target's id in one segment again: API Gateway decodes the slashes that its client encoded.
pub fn encoded(mut request: Request) -> Request {
    if let Some(uri) = again(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// Nothing where the path is as it was.
fn again(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(TARGETS)?;
    let is_about_one = |(_, last): &(&str, &str)| ABOUT_ONE.contains(last);
    let (id, last) = match rest.rsplit_once('/').filter(is_about_one) {
        Some((id, last)) => (id, Some(last)),
        None => (rest, None),
    };
    if !id.contains('/') {
        return None;
    }
    let mut path = format!("{TARGETS}{}", id.replace('/', "%2F"));
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
    }

    #[test]
    fn what_was_one_segment_stays() {
        for of in
            ["/v1/targets/%2Fa%2Fb/enable", "/v1/targets/host-1/plan", "/v1/targets", "/v1/grants/g/close"]
        {
            assert_eq!(path(of), None, "{of}");
        }
    }
}
