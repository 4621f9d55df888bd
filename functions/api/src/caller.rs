//! Who calls, as the platform knows it.

use axum::extract::ConnectInfo;
use lambda_http::{
    Request, RequestExt as _, aws_lambda_events::apigw::ApiGatewayV2httpRequestContext as Context,
    request::RequestContext,
};
use portcullis_app::{Issuer, Principal, PrincipalKind};
use portcullis_domain::Person;
use portcullis_http::Vouched;
use std::net::SocketAddr;

/// With what the platform knows of the caller: from where they call, and if they signed, who they are.
pub fn known(mut request: Request) -> Request {
    let RequestContext::ApiGatewayV2(Context { http, authorizer, .. }) = request.request_context() else {
        return request;
    };
    let address = http.source_ip.and_then(|it| it.parse().ok());
    let signer = authorizer.and_then(|it| it.iam).and_then(|it| principal(&it.user_arn?));
    let known = request.extensions_mut();
    address.map(|it| known.insert(ConnectInfo(SocketAddr::new(it, 0))));
    signer.map(|it| known.insert(Vouched(it)));
    request
}

/// The principal behind an ARN, as Lambda and API Gateway tell it of a call that was signed.
///
/// Whoever assumes a role names the session as they like: were that name a person, one would approve what the other
/// asked for, both being the same. So all sessions of a role are one person, but for those of IAM Identity Center, which
/// names them after their users. Whoever asks for a federation token names its user as they like, and of whom it is
/// the ARN says nothing: that is nobody.
/// <https://docs.aws.amazon.com/singlesignon/latest/userguide/howtoviewandchangepermissionset.html>,
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html>
fn principal(arn: &str) -> Option<Principal> {
    const FEDERATED: &str = ":federated-user/";
    const SESSION: &str = ":assumed-role/";
    const IDENTITY_CENTER: &str = "AWSReservedSSO_";
    if arn.contains(FEDERATED) {
        return None;
    }
    let session = arn.split_once(SESSION).and_then(|(account, rest)| Some((account, rest.split_once('/')?)));
    match session {
        Some((account, (role, _))) if !role.starts_with(IDENTITY_CENTER) => {
            let role: Person = format!("{account}{SESSION}{role}").parse().ok()?;
            Some(Principal { kind: PrincipalKind::Workload, ..Principal::person(role, Issuer::Aws) })
        }
        Some(_) | None => Some(Principal::person(arn.parse().ok()?, Issuer::Aws)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_caller_does_not_depend_on_a_session_name_of_a_role() {
        let said = |arn: &str| principal(arn).map(|it| it.id.to_string());
        let role = "arn:aws:sts::111122223333:assumed-role/Ops";
        assert_eq!(said(&format!("{role}/ann")).as_deref(), Some(role));
        assert_eq!(said(&format!("{role}/bob")).as_deref(), Some(role));
        let user =
            "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Ops_0123456789abcdef/ann@example.com";
        assert_eq!(said(user).as_deref(), Some(user));
        let user = "arn:aws:iam::111122223333:user/ann";
        assert_eq!(said(user).as_deref(), Some(user));
        assert_eq!(said("arn:aws:sts::111122223333:federated-user/ann"), None);
    }
}
