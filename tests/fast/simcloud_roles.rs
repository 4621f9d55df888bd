//! What callers of the simulated Azure may do: in Azure's words, and with what each call needed.

use portcullis_simcloud::{Assignment, Faults, Lock, LockLevel, Permissions, Restrictions};
use portcullis_tests::azure::{Azure, VERSION, allow};
use serde_json::{Value, json};

#[test]
fn a_forbidden_call_is_answered_with_the_missing_action() {
    let azure = Azure::new(1);
    let (subscription, network) = (azure.cloud.subscription(), "Microsoft.Network");
    azure.permit(&["*/read", "Microsoft.Network/networkSecurityGroups/securityRules/delete"]);
    let rule = azure.rule("web-1-nsg", "Ours");
    let put = azure.call("PUT", &rule, Some(&allow(100)));
    assert_eq!((put.status, put.code()), (403, "AuthorizationFailed"));
    let said = put.body["error"]["message"].as_str().expect("a message").to_owned();
    let scope = rule.split('?').next().expect("a path");
    for part in [
        "The client '",
        "' with object id '",
        &format!(
            "' does not have authorization to perform action '{network}/networkSecurityGroups/securityRules/write' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
        ),
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(azure.call("DELETE", &rule, None).status, 204);
    assert_eq!(azure.call("GET", &rule, None).status, 404, "who may read is told that it is not there");

    // Reading needs an action as well: also Resource Graph, without which clients go by lists.
    azure.permit(&["Microsoft.Network/*/read", "Microsoft.Resources/subscriptions/read"]);
    let groups = azure.path("Microsoft.Network/networkSecurityGroups", "");
    assert_eq!(azure.call("GET", &groups, None).status, 200);
    let machines = azure.call("GET", &azure.path("Microsoft.Compute/virtualMachines", ""), None);
    let said = machines.body["error"]["message"].as_str().expect("a message");
    assert!(
        said.contains(&format!("over scope '/subscriptions/{subscription}/resourceGroups/demo'")),
        "{said}"
    );
    let graph = format!("/providers/Microsoft.ResourceGraph/resources?{VERSION}");
    let query = json!({ "query": "Resources | where type =~ 'microsoft.compute/virtualmachines'" });
    assert_eq!(azure.call("POST", &graph, Some(&query)).status, 403);
    azure.cloud.permit(Permissions::default());
    assert_eq!(azure.call("POST", &graph, Some(&query)).status, 200);
}

#[test]
fn writing_a_firewall_needs_join_on_what_it_refers_to() {
    let azure = Azure::new(1);
    let path = azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let mut firewall = azure.call("GET", &path, None).body;
    let (write, subnet, address, group) = (
        "Microsoft.Network/azureFirewalls/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/publicIPAddresses/join/action",
        "Microsoft.Network/ipGroups/join/action",
    );
    // Who names no group needs none.
    azure.permit(&[write, subnet, address]);
    assert_eq!(azure.call("PUT", &path, Some(&firewall)).status, 200);
    firewall["properties"]["natRuleCollections"][0]["properties"]["rules"][0]["sourceIpGroups"] =
        json!(["/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/ipGroups/offices"]);
    for (allowed, missing) in [
        ([write, address, group], subnet),
        ([write, subnet, group], address),
        ([write, subnet, address], group),
    ] {
        azure.permit(&allowed);
        let refused = azure.call("PUT", &path, Some(&firewall));
        assert_eq!((refused.status, refused.code()), (403, "LinkedAuthorizationFailed"));
        let said = refused.body["error"]["message"].as_str().expect("a message");
        assert!(said.contains(&format!("does not have permission to perform action '{missing}'")), "{said}");
    }
    azure.permit(&[write, subnet, address, group]);
    assert_eq!(azure.call("PUT", &path, Some(&firewall)).status, 200);
}

#[test]
fn a_call_is_remembered_with_the_action_that_it_needed() {
    let azure = Azure::new(1);
    let subscription = format!("/subscriptions/{}", azure.cloud.subscription());
    let at = |path: &str| format!("{subscription}{path}?{VERSION}");
    let group = |rest: &str| azure.path("Microsoft.Network/networkSecurityGroups", rest);
    azure.call("GET", &format!("/subscriptions?{VERSION}"), None);
    azure.call("GET", &at("/resourceGroups"), None);
    azure.call("GET", &group(""), None);
    azure.call("GET", &group("/web-1-nsg"), None);
    azure.call("GET", &azure.rule("web-1-nsg", ""), None);
    let put = azure.call("PUT", &azure.rule("web-1-nsg", "Ours"), Some(&allow(100)));
    azure.call("GET", put.header("azure-asyncoperation"), None);
    let delete = azure.call("DELETE", &azure.rule("web-1-nsg", "Ours"), None);
    azure.call("GET", delete.header("location"), None);
    azure.call("POST", &format!("/providers/Microsoft.ResourceGraph/resources?{VERSION}"), None);
    azure.call("GET", &at("/providers/Microsoft.Authorization/permissions"), None);
    azure.call("GET", "/nothing", None);
    let calls = azure.cloud.calls();
    let actions: Vec<&str> = calls.iter().map(|it| it.action.as_deref().unwrap_or("none")).collect();
    assert_eq!(
        actions,
        [
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Network/networkSecurityGroups/read",
            "Microsoft.Network/networkSecurityGroups/read",
            "Microsoft.Network/networkSecurityGroups/securityRules/read",
            "Microsoft.Network/networkSecurityGroups/securityRules/write",
            "Microsoft.Network/locations/operations/read",
            "Microsoft.Network/networkSecurityGroups/securityRules/delete",
            "Microsoft.Network/locations/operationResults/read",
            "Microsoft.ResourceGraph/resources/read",
            "Microsoft.Authorization/permissions/read",
            "none",
        ]
    );
}

#[test]
fn what_a_caller_may_do_is_listed() {
    let azure = Azure::new(1);
    let subscription = azure.cloud.subscription();
    let list = |scope: &str| {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions?{VERSION}");
        azure.call("GET", &path, None)
    };
    let role = |actions: Value| json!({ "value": [{ "actions": actions, "notActions": [], "dataActions": [], "notDataActions": [] }] });
    let scope = format!("/subscriptions/{subscription}");
    assert_eq!(list(&scope).body, role(json!(["*"])));
    azure.permit(&["*/read", "Microsoft.Network/networkSecurityGroups/securityRules/write"]);
    let allowed = json!(["*/read", "Microsoft.Network/networkSecurityGroups/securityRules/write"]);
    assert_eq!(list(&format!("{scope}/resourceGroups/demo")).body, role(allowed));
    assert_eq!(list(&format!("{scope}/resourceGroups/x")).code(), "ResourceGroupNotFound");
    azure.permit(&[]);
    assert_eq!(list(&scope).status, 403);
}

/// Locks of `level` on a scope, and no policy.
fn locked(scope: &str, level: LockLevel) -> Restrictions {
    let lock = Lock { name: "keep".to_owned(), scope: scope.to_owned(), level };
    Restrictions { locks: vec![lock], ..Restrictions::default() }
}

#[test]
fn a_lock_against_deletion_refuses_delete_below_its_scope_and_lets_put_pass() {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults::quick());
    let subscription = format!("/subscriptions/{}", azure.cloud.subscription());
    let (group, rule) = (format!("{subscription}/resourceGroups/demo"), azure.rule("web-1-nsg", "Ours"));
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    azure.cloud.restrict(locked(&group, LockLevel::CanNotDelete));
    let refused = azure.call("DELETE", &rule, None);
    assert_eq!((refused.status, refused.code()), (409, "ScopeLocked"));
    let said = refused.body["error"]["message"].as_str().expect("a message");
    let scope = rule.split('?').next().expect("a path");
    assert!(said.contains(&format!("'{scope}' cannot perform delete")) && said.contains(&group), "{said}");
    assert_eq!(azure.call("PUT", &rule, Some(&allow(101))).status, 200);
    // A list of a subscription has the locks of everything in it.
    let list = format!("{subscription}/providers/Microsoft.Authorization/locks?api-version=2020-05-01");
    let locks = azure.call("GET", &list, None).body["value"].clone();
    assert_eq!(locks[0]["properties"]["level"], "CanNotDelete");
    assert_eq!(locks[0]["id"], format!("{group}/providers/Microsoft.Authorization/locks/keep"));
    azure.permit(&["Microsoft.Network/*"]);
    assert_eq!(azure.call("GET", &list, None).code(), "AuthorizationFailed", "reading them needs an action");
    azure.cloud.permit(Permissions::default());

    azure.cloud.restrict(locked(&group, LockLevel::ReadOnly));
    assert_eq!(azure.call("PUT", &rule, Some(&allow(102))).code(), "ScopeLocked");
    let elsewhere = locked(&format!("{group}-2"), LockLevel::ReadOnly);
    azure.cloud.restrict(elsewhere);
    assert_eq!(azure.call("DELETE", &rule, None).status, 200, "another group's lock is nobody's business");
}

#[test]
fn a_policy_against_deletion_refuses_delete_in_several_lines() {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults::quick());
    let rule = azure.rule("web-1-nsg", "Ours");
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    let scope = format!("/subscriptions/{}", azure.cloud.subscription());
    let deny_delete = vec![Assignment { name: "no-deletion".to_owned(), scope }];
    azure.cloud.restrict(Restrictions { deny_delete, ..Restrictions::default() });
    let refused = azure.call("DELETE", &rule, None);
    assert_eq!((refused.status, refused.code()), (403, "RequestDisallowedByPolicy"));
    let said = refused.body["error"]["message"].as_str().expect("a message");
    assert!(1 < said.lines().count() && said.contains("no-deletion"), "{said}");
    assert_eq!(azure.call("PUT", &rule, Some(&allow(101))).status, 200);
}

#[test]
fn a_token_that_is_refused_before_its_end_is_answered_with_a_challenge() {
    let azure = Azure::new(1);
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        let path = format!("/subscriptions?{VERSION}");
        azure.send("GET", &path, &[("authorization", &bearer)], None).expect("an answer")
    };
    let issued = |more: &str| {
        let path = format!("/{}/oauth2/v2.0/token", azure.cloud.tenant());
        let form = format!("grant_type=client_credentials&client_id=x&client_secret=y&scope=z{more}");
        let answer = azure.send("POST", &path, &[], Some(("application/x-www-form-urlencoded", &form)));
        answer.expect("an answer").body["access_token"].as_str().expect("a token").to_owned()
    };
    let early = issued("");
    assert_eq!(with(&early).status, 200);
    azure.cloud.refuse_tokens(None);
    let refused = with(&early);
    assert_eq!((refused.status, refused.code()), (401, "InvalidAuthenticationToken"));
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
    assert_eq!(with(&issued("")).status, 200, "a new one is good");

    azure.cloud.refuse_tokens(Some("{\"access_token\":{}}".to_owned()));
    let challenge = with(&issued("")).header("www-authenticate").to_owned();
    let claims = "error=\"insufficient_claims\"";
    assert!(
        challenge.contains(claims) && challenge.contains("claims=\"eyJhY2Nlc3NfdG9rZW4iOnt9fQ==\""),
        "{challenge}"
    );
    assert_eq!(with(&issued("&claims=%7B%22access_token%22%3A%7B%7D%7D")).status, 200);
}
