//! The simulated Azure, over real HTTP: what it answers, when it is in force, and what can go wrong.

use portcullis_simcloud::{Fault, Faults, On, Packet, PacketProtocol, Permissions, Planned, Simcloud};
use portcullis_tests::azure::{ANN, Azure, VERSION, allow, brisk};
use serde_json::{Value, json};
use std::sync::Arc;

const SECOND: i64 = 1000;

fn passes(azure: &Azure, vm: &str) -> (bool, String) {
    let packet = Packet { from: ANN.parse().expect("valid"), protocol: PacketProtocol::Tcp, port: 22 };
    let passage = azure.cloud.passes(vm, packet).expect("a machine");
    (passage.passes, passage.by)
}

fn plan(azure: &Azure, planned: &[(On, Fault)]) {
    let planned = planned.iter().map(|(on, fault)| Planned { on: *on, skip: 0, times: 1, fault: *fault });
    azure.cloud.plan(Faults { planned: planned.collect(), ..brisk() });
}

#[test]
fn a_call_needs_an_api_version_and_a_token() {
    let azure = Azure::new(1);
    let call =
        |path: &str, headers: &[(&str, &str)]| azure.send("GET", path, headers, None).expect("an answer");
    let path = "/subscriptions?api-version=2022-12-01";
    assert_eq!(call("/subscriptions", &[]).code(), "MissingApiVersionParameter");
    for version in ["", "2014-01-01", "2031-01-01", "2024-13-01", "2024-01-01-alpha", "latest"] {
        let answer = call(&format!("/subscriptions?api-version={version}"), &[]);
        assert_eq!((answer.status, answer.code()), (400, "InvalidApiVersionParameter"), "{version}");
    }
    let answer = call(path, &[]);
    assert_eq!((answer.status, answer.code()), (401, "AuthenticationFailed"));
    assert!(answer.header("www-authenticate").starts_with("Bearer "));
    assert_eq!(call(path, &[("authorization", "Bearer x")]).code(), "InvalidAuthenticationToken");
    for version in ["2015-01-01", "2020-01-01-preview", "2030-12-31"] {
        let answer = azure.call("GET", &format!("/SUBSCRIPTIONS?api-version={version}"), None);
        assert_eq!(answer.body["value"][0]["subscriptionId"], json!(azure.cloud.subscription()), "{version}");
    }
    azure.pass(3600 * SECOND);
    assert_eq!(azure.call("GET", path, None).code(), "ExpiredAuthenticationToken");
}

#[test]
fn tokens_come_from_the_tenant_and_from_the_machine() {
    let azure = Azure::new(1);
    let tenant = azure.cloud.tenant();
    let known = azure.send("GET", &format!("/{tenant}/v2.0/.well-known/openid-configuration"), &[], None);
    let endpoint = known.expect("an answer").body["token_endpoint"].as_str().expect("a URL").to_owned();
    let ask = |form: &str| {
        let form = Some(("application/x-www-form-urlencoded", form));
        azure.send("POST", &endpoint, &[], form).expect("an answer")
    };
    let whole = "grant_type=client_credentials&client_id=c&scope=https%3A%2F%2Fx%2F.default&client_secret=s";
    assert_eq!(ask("client_id=c").body["error"], "invalid_request");
    let secretless = ask(whole.trim_end_matches("&client_secret=s"));
    assert_eq!((secretless.status, &secretless.body["error"]), (401, &json!("invalid_client")));
    let from_tenant = ask(whole).body["access_token"].as_str().expect("a token").to_owned();

    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fx";
    assert_eq!(azure.send("GET", path, &[], None).expect("an answer").status, 400, "without its header");
    let answer = azure.send("GET", path, &[("Metadata", "true")], None).expect("an answer");
    assert_eq!(answer.body["expires_on"], (1_767_225_600 + 3600).to_string());
    let from_machine = answer.body["access_token"].as_str().expect("a token").to_owned();
    for token in [from_tenant, from_machine] {
        let bearer = format!("Bearer {token}");
        let path = format!("/subscriptions?{VERSION}");
        let answer = azure.send("GET", &path, &[("authorization", &bearer)], None).expect("an answer");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn the_fleet_is_listed_page_by_page() {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults { page_size: 5, ..brisk() });
    let subscription = azure.cloud.subscription();
    let kind = "Microsoft.Compute/virtualMachines";
    let in_subscription = format!("/subscriptions/{subscription}/providers/{kind}?{VERSION}");
    for first in [in_subscription, azure.path(kind, "")] {
        let (mut next, mut names, mut pages) = (Some(first), vec![], 0);
        while let Some(path) = next {
            let body = azure.call("GET", &path, None).body;
            names.extend(body["value"].as_array().expect("a page").iter().map(|it| it["name"].clone()));
            next = body["nextLink"].as_str().map(str::to_owned);
            pages += 1;
        }
        names.dedup();
        assert_eq!((names.len(), pages), (15, 3), "{names:?}");
    }
    for (kind, at_least) in
        [("networkInterfaces", 14), ("publicIPAddresses", 12), ("virtualNetworks", 3), ("azureFirewalls", 2)]
    {
        azure.cloud.plan(brisk());
        let list = azure.call("GET", &azure.path(&format!("Microsoft.Network/{kind}"), ""), None).body;
        let list = list["value"].as_array().expect("a list");
        assert!(at_least <= list.len(), "{kind}: {}", list.len());
        let id = list[0]["id"].as_str().expect("an id").to_ascii_uppercase();
        assert_eq!(
            azure.call("GET", &format!("{id}?{VERSION}"), None).body,
            list[0],
            "by its id, in any case"
        );
    }
    let subnets =
        azure.call("GET", &azure.path("Microsoft.Network/virtualNetworks", "/main-vnet/subnets"), None);
    assert_eq!(subnets.body["value"].as_array().expect("a list").len(), 4);
}

#[test]
fn there_is_a_machine_for_each_reason_not_to_guard_it() {
    let azure = Azure::new(1);
    let get = |kind: &str, rest: &str| azure.call("GET", &azure.path(kind, rest), None).body;
    let (compute, classic) =
        ("Microsoft.Compute/virtualMachines", "Microsoft.ClassicCompute/virtualMachines");
    let quiet = get(compute, "/quiet-1");
    assert_eq!(quiet["tags"], json!({ "portcullis": "disabled" }));
    assert_eq!(passes(&azure, "quiet-1"), (true, "SSH".to_owned()), "it has a security group");
    let old = get(classic, "");
    let (old, more) = (&old["value"][0], &old["value"][1]);
    assert_eq!((&old["name"], &old["type"], more), (&json!("old-1"), &json!(classic), &Value::Null));
    assert_eq!(&get(classic, "/OLD-1"), old);
    let names: Vec<String> = get(compute, "")["value"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["name"].to_string())
        .collect();
    assert!(!names.contains(&"\"old-1\"".to_owned()), "{names:?}");
    assert_eq!(get(compute, "/spare-1")["properties"]["networkProfile"]["networkInterfaces"], json!([]));

    let path = format!("/providers/Microsoft.ResourceGraph/resources?{VERSION}");
    let query = format!("Resources | where type in~ ('{compute}', '{classic}') | project name, type, tags");
    let rows = azure.call("POST", &path, Some(&json!({ "query": query }))).body;
    let rows = rows["data"].as_array().expect("rows");
    let old = json!({ "name": "old-1", "type": "microsoft.classiccompute/virtualmachines", "tags": {} });
    assert!(rows.contains(&old), "{rows:?}");
    let quiet = json!({ "name": "quiet-1", "type": "microsoft.compute/virtualmachines", "tags": { "portcullis": "disabled" } });
    assert!(rows.contains(&quiet), "{rows:?}");
}

#[test]
fn a_farm_is_as_large_as_wanted() {
    let azure = Azure::with(|clock| Simcloud::farm(1, clock, 3, 40));
    azure.cloud.plan(Faults { page_size: 1000, ..brisk() });
    let list = |kind: &str| {
        let list = azure.call("GET", &azure.path(kind, ""), None).body;
        list["value"].as_array().expect("a list").clone()
    };
    let machines = list("Microsoft.Compute/virtualMachines");
    assert_eq!((machines.len(), &machines[119]["name"]), (120, &json!("vm-119")));
    for kind in ["networkInterfaces", "publicIPAddresses"] {
        assert_eq!(list(&format!("Microsoft.Network/{kind}")).len(), 120, "{kind}");
    }
    let groups = list("Microsoft.Network/networkSecurityGroups");
    let names = groups.iter().map(|it| it["name"].clone()).collect::<Value>();
    assert_eq!(names, json!(["farm-00-nsg", "farm-01-nsg", "farm-02-nsg"]));
    assert_eq!(groups[1]["properties"]["subnets"].as_array().map(Vec::len), Some(1));
    assert!(list("Microsoft.Network/azureFirewalls").is_empty());
    let rule = azure.rule("farm-02-nsg", "Ours");
    azure.call("PUT", &rule, Some(&allow(100)));
    azure.pass(SECOND);
    assert_eq!(passes(&azure, "vm-079"), (false, "DenyAllInBound".to_owned()));
    assert_eq!(passes(&azure, "vm-080"), (true, "Ours".to_owned()));
    let most = Simcloud::farm(1, Arc::new(jiff::Timestamp::now), 1, 300);
    assert_eq!(most.snapshot().matches("\"vmId\"").count(), 250);
}

#[test]
fn a_security_group_shows_its_rules_and_whom_it_guards() {
    let azure = Azure::new(1);
    let group = |name: &str| azure.path("Microsoft.Network/networkSecurityGroups", &format!("/{name}"));
    let farm = azure.call("GET", &group("farm-subnet-nsg"), None).body;
    assert_eq!(farm["properties"]["subnets"].as_array().map(Vec::len), Some(1));
    assert_eq!(farm["properties"]["defaultSecurityRules"].as_array().map(Vec::len), Some(6));
    let web = azure.call("GET", &group("web-1-nsg"), None);
    assert_eq!(web.body["properties"]["networkInterfaces"].as_array().map(Vec::len), Some(1));
    assert_eq!(web.body["properties"]["securityRules"][0]["name"], "SSH");
    assert_eq!(web.body["properties"]["securityRules"][0]["properties"]["priority"], 300);
    assert_eq!(web.body["etag"], web.header("etag"));
    let jit = azure.call("GET", &azure.rule("jit-1-nsg", ""), None).body;
    let name = jit["value"][0]["name"].as_str().expect("a name");
    assert!(name.starts_with("MicrosoftDefenderForCloud-JITRule-"), "{name}");
}

#[test]
fn a_missing_resource_is_answered_in_azures_words() {
    let azure = Azure::new(1);
    let code = |path: &str| azure.call("GET", path, None).code().to_owned();
    assert_eq!(code(&azure.rule("web-1-nsg", "nobody")), "ResourceNotFound");
    assert_eq!(code(&azure.path("Microsoft.Compute/virtualMachines", "/nobody")), "ResourceNotFound");
    assert_eq!(code(&format!("/subscriptions/x?{VERSION}")), "SubscriptionNotFound");
    let group = format!("/subscriptions/{}/resourceGroups/x?{VERSION}", azure.cloud.subscription());
    assert_eq!(code(&group), "ResourceGroupNotFound");
    assert_eq!(code(&azure.path("Microsoft.Network/natGateways", "")), "InvalidResourceType");
    let deleted = azure.call("DELETE", &azure.path("Microsoft.Compute/virtualMachines", "/web-1"), None);
    assert_eq!(deleted.status, 405);
}

#[test]
fn a_rule_is_in_force_when_its_write_is_done() {
    let azure = Azure::new(1);
    let path = azure.rule("build-1-nsg", "Ours");
    let put = azure.call("PUT", &path, Some(&allow(100)));
    assert_eq!((put.status, &put.body["properties"]["provisioningState"]), (201, &json!("Updating")));
    let poll = put.header("azure-asyncoperation").to_owned();
    assert_eq!(azure.call("GET", &poll, None).body["status"], "InProgress");
    assert_eq!(passes(&azure, "build-1"), (false, "DenyAllInBound".to_owned()));
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", &poll, None).body["status"], "Succeeded");
    assert_eq!(passes(&azure, "build-1"), (true, "Ours".to_owned()));
    let there = azure.call("GET", &azure.rule("BUILD-1-nsg", "ours"), None);
    assert_eq!(there.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!((&there.body["name"], there.header("etag")), (&json!("Ours"), put.header("etag")));
    assert_eq!(azure.call("PUT", &path, Some(&there.body)).status, 200, "as it was read");

    let delete = azure.call("DELETE", &path, None);
    assert_eq!(delete.status, 202);
    assert_eq!(azure.call("GET", &path, None).body["properties"]["provisioningState"], "Deleting");
    let (poll, result) = (delete.header("azure-asyncoperation"), delete.header("location"));
    assert_eq!(azure.call("GET", result, None).status, 202);
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", poll, None).body["status"], "Succeeded");
    assert_eq!(azure.call("GET", result, None).status, 204);
    assert_eq!(azure.call("GET", &path, None).status, 404);
    assert_eq!(azure.call("DELETE", &path, None).status, 204, "the absent is deleted already");
    assert_eq!(passes(&azure, "build-1").1, "DenyAllInBound");
}

#[test]
fn conditions_are_held() {
    let azure = Azure::new(1);
    let path = azure.rule("build-1-nsg", "Ours");
    let put = |headers: &[(&str, &str)], priority| {
        azure.try_call("PUT", &path, headers, Some(&allow(priority))).expect("an answer")
    };
    assert_eq!(put(&[("If-Match", "*")], 100).code(), "PreconditionFailed", "there is none yet");
    let first = put(&[("If-None-Match", "*")], 100);
    assert_eq!(first.status, 201);
    let again = put(&[("If-None-Match", "*")], 100);
    assert_eq!((again.status, again.code()), (412, "PreconditionFailed"));
    let seen = first.header("etag").to_owned();
    assert_eq!(put(&[("If-Match", &seen)], 101).status, 200);
    assert_eq!(put(&[("If-Match", &seen)], 102).status, 412, "it is not what was seen");
    let delete =
        |etag: &str| azure.try_call("DELETE", &path, &[("If-Match", etag)], None).expect("an answer");
    assert_eq!((delete(&seen).status, delete("*").status), (412, 202));

    // Where the group has one etag, a write of any rule changes that of all.
    azure.cloud.plan(Faults { one_etag_per_group: true, ..brisk() });
    let seen = azure.call("PUT", &path, Some(&allow(103))).header("etag").to_owned();
    azure.call("PUT", &azure.rule("build-1-nsg", "Other"), Some(&allow(104)));
    assert_eq!(put(&[("If-Match", &seen)], 105).status, 412);
}

#[test]
fn limits_are_azures() {
    let azure = Azure::new(1);
    let put = |name: &str, body: &Value| {
        let answer = azure.call("PUT", &azure.rule("web-1-nsg", name), Some(body));
        (answer.status, answer.code().to_owned())
    };
    let refused = |code: &str| (400, code.to_owned());
    assert_eq!(put("Ours", &allow(300)), refused("SecurityRuleConflict"), "`SSH` has it");
    let mut outbound = allow(300);
    outbound["properties"]["direction"] = json!("Outbound");
    assert_eq!(put("Out", &outbound).0, 201, "unique per direction");
    assert_eq!(put("Ours", &allow(99)), refused("SecurityRuleInvalidPriority"));
    assert_eq!(put(&"a".repeat(81), &allow(100)), refused("InvalidResourceName"));
    let prefixes = |n: u32| {
        let mut body = allow(100);
        let all: Vec<String> =
            (0..n).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
        body["properties"]["sourceAddressPrefixes"] = json!(all);
        body
    };
    let too_many = refused("SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached");
    assert_eq!(put("Many", &prefixes(4001)), too_many);
    assert_eq!(put("Many", &prefixes(4000)), too_many, "`Out` has one already");
    assert_eq!(put("Many", &prefixes(3999)).0, 201);
    assert_eq!(put("One-more", &allow(101)), too_many, "all rules of a group together");
    assert_eq!(put("Many", &prefixes(1)).0, 200);
    for n in 0..996 {
        assert_eq!(put(&format!("R{n}"), &allow(1000 + n)).0, 201, "{n}");
    }
    assert_eq!(put("One-too-many", &allow(101)), refused("SecurityRuleCountLimitReached"));
}

#[test]
fn a_rule_has_addresses_of_one_family() {
    let azure = Azure::new(1);
    let put = |prefixes: &[&str]| {
        let mut body = allow(100);
        body["properties"]["sourceAddressPrefixes"] = json!(prefixes);
        azure.call("PUT", &azure.rule("app-1-nsg", "Ours"), Some(&body))
    };
    let refused = put(&[ANN, "2001:db8::1"]);
    let code = "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies";
    assert_eq!((refused.status, refused.code()), (400, code));
    let tagged = put(&["Internet", "*"]);
    assert_eq!((tagged.status, tagged.code()), (400, "SecurityRuleParameterContainsUnsupportedValue"));
    assert_eq!(put(&["2001:db8::1", "2001:db8:9::/48"]).status, 201, "to `*`");
}

#[test]
fn two_writes_at_once_are_refused_where_that_is_planned() {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults { one_operation_at_a_time: true, ..brisk() });
    assert_eq!(azure.call("PUT", &azure.rule("build-1-nsg", "One"), Some(&allow(100))).status, 201);
    let second = azure.call("PUT", &azure.rule("build-1-nsg", "Two"), Some(&allow(101)));
    assert_eq!((second.status, second.code(), second.header("retry-after")), (429, "RetryableError", "10"));
    let detail = &second.body["error"]["details"][0]["code"];
    assert_eq!(detail, "RetryableErrorDueToAnotherOperation");
    assert_eq!(
        azure.call("PUT", &azure.rule("web-1-nsg", "Two"), Some(&allow(101))).status,
        201,
        "elsewhere"
    );
    azure.pass(SECOND);
    assert_eq!(azure.call("PUT", &azure.rule("build-1-nsg", "Two"), Some(&allow(101))).status, 201);
}

#[test]
fn a_planned_fault_strikes_once() {
    let azure = Azure::new(1);
    let path = azure.rule("build-1-nsg", "Ours");
    let throttled = Fault::Throttled { retry_after_secs: 7 };
    let (lost, unheard) = (Fault::Unanswered { done: false }, Fault::Unanswered { done: true });
    let writes = [throttled, Fault::AnotherOperation, Fault::Broken, lost, unheard].map(|it| (On::Write, it));
    plan(&azure, &[writes.as_slice(), &[(On::Read, throttled)]].concat());
    let read = azure.call("GET", &path, None);
    assert_eq!((read.status, read.header("retry-after")), (429, "7"));
    let put = || azure.try_call("PUT", &path, &[], Some(&allow(100)));
    let statuses: Vec<u16> = (0..3).map(|_| put().expect("an answer").status).collect();
    assert_eq!(statuses, [429, 409, 500]);
    put().expect_err("nothing was done, and nobody answered");
    assert_eq!(azure.call("GET", &path, None).status, 404);
    put().expect_err("it was done, and nobody answered");
    assert_eq!(azure.call("GET", &path, None).status, 200);
    assert_eq!(put().expect("an answer").status, 200, "nothing more is planned");
    let calls = azure.cloud.calls();
    let puts: Vec<u16> = calls.iter().filter(|it| it.method == "PUT").map(|it| it.status).collect();
    assert_eq!(puts, [429, 409, 500, 0, 0, 200]);
}

#[test]
fn an_answer_is_dated_and_says_what_is_left_of_the_limits() {
    let azure = Azure::new(1);
    let (reads, writes) =
        ("x-ms-ratelimit-remaining-subscription-reads", "x-ms-ratelimit-remaining-subscription-writes");
    let get = || azure.call("GET", &azure.rule("web-1-nsg", ""), None);
    let put = || azure.call("PUT", &azure.rule("web-1-nsg", "Ours"), Some(&allow(100)));
    let first = get();
    assert_eq!(first.header("date"), "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!((first.header(reads), first.header(writes)), ("11999", ""));
    assert_eq!((put().header(writes), get().header(reads)), ("1199", "11998"));
    azure.pass(90 * SECOND);
    let without_token = azure.send("GET", &format!("/subscriptions?{VERSION}"), &[], None);
    assert_eq!(without_token.expect("an answer").header("date"), "Thu, 01 Jan 2026 00:01:30 GMT");

    // Whoever plans so sees them near their end, and all there again in the next hour.
    azure.cloud.plan(Faults { reads_remaining: 2, writes_remaining: 1, ..brisk() });
    let left: Vec<String> = (0..3).map(|_| get().header(reads).to_owned()).collect();
    assert_eq!((left, put().header(writes)), (["1", "0", "0"].map(str::to_owned).to_vec(), "0"));
    azure.pass(3510 * SECOND);
    let bearer = format!("Bearer {}", azure.cloud.issue_token());
    let path = format!("/subscriptions?{VERSION}");
    let later = azure.send("GET", &path, &[("authorization", &bearer)], None).expect("an answer");
    assert_eq!(later.header(reads), "1");
}

#[test]
fn microsofts_policies_are_listed_written_and_deleted() {
    let azure = Azure::new(1);
    let subscription = format!("/subscriptions/{}", azure.cloud.subscription());
    let below = |scope: &str, rest: &str| {
        format!("{subscription}{scope}/providers/Microsoft.Security{rest}?api-version=2020-01-01")
    };
    let (all, here) = ("/jitNetworkAccessPolicies", "/locations/westeurope/jitNetworkAccessPolicies");
    let group = "/resourceGroups/demo";
    let names = |path: &str| {
        let list = azure.call("GET", path, None).body;
        let names = list["value"].as_array().expect("a list").iter().map(|it| it["name"].clone());
        names.collect::<Value>()
    };
    for path in [below("", all), below("", here), below(group, all), below(group, &here.to_uppercase())] {
        assert_eq!(names(&path), json!(["default"]), "{path}");
    }
    assert_eq!(names(&below("", "/locations/eastus/jitNetworkAccessPolicies")), json!([]));
    assert_eq!(azure.call("GET", &below("/resourceGroups/x", all), None).code(), "ResourceGroupNotFound");

    // It says what stands in the security group: a deny for its ports.
    let one = below(group, &format!("{here}/default"));
    let policy = azure.call("GET", &one, None).body;
    let machine = &policy["properties"]["virtualMachines"][0];
    assert!(machine["id"].as_str().is_some_and(|it| it.ends_with("/jit-1")), "{machine}");
    let ports = machine["ports"].as_array().expect("ports").iter().map(|it| it["number"].to_string());
    let rules = azure.call("GET", &azure.rule("jit-1-nsg", ""), None).body;
    let deny = &rules["value"][1]["properties"];
    assert_eq!((&deny["access"], &deny["priority"]), (&json!("Deny"), &json!(4096)));
    assert_eq!(deny["destinationPortRanges"], ports.collect::<Value>());

    // A PUT is of the whole policy: what it leaves out is gone.
    let port = json!({
        "number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": ["203.0.113.0/24"], "maxRequestAccessDuration": "PT1H",
    });
    let body = |port: &Value| json!({ "kind": "Basic", "properties": { "virtualMachines": [{ "id": machine["id"], "ports": [port] }] } });
    let other = below(group, &format!("{here}/Other"));
    let put = azure.call("PUT", &other, Some(&body(&port)));
    assert_eq!((put.status, &put.body["location"]), (200, &json!("westeurope")));
    assert_eq!(put.body["properties"]["virtualMachines"][0]["ports"], json!([port]));
    assert_eq!(azure.call("GET", &other.replace("Other", "OTHER"), None).body, put.body);
    assert_eq!(names(&below(group, all)), json!(["default", "Other"]));
    assert_eq!(azure.call("PUT", &one, Some(&body(&port))).body["properties"]["requests"], json!([]));
    let mut both = port.clone();
    both["allowedSourceAddressPrefix"] = json!("*");
    assert_eq!(azure.call("PUT", &other, Some(&body(&both))).status, 400, "they exclude each other");

    azure.permit(&["Microsoft.Security/locations/jitNetworkAccessPolicies/read"]);
    assert_eq!(azure.call("DELETE", &other, None).status, 403);
    azure.permit(&["Microsoft.Security/locations/jitNetworkAccessPolicies/*"]);
    assert_eq!(azure.call("DELETE", &other, None).status, 200);
    assert_eq!(azure.call("DELETE", &other, None).status, 204, "the absent is deleted already");
    assert_eq!(azure.call("GET", &other, None).status, 404);
}

#[test]
fn a_late_write_says_that_it_is_done_and_lands_over_what_came_after() {
    let azure = Azure::new(1);
    let path = azure.rule("build-1-nsg", "Ours");
    plan(&azure, &[(On::Write, Fault::Late { millis: 60_000 })]);
    let put = azure.call("PUT", &path, Some(&allow(100)));
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", put.header("azure-asyncoperation"), None).body["status"], "Succeeded");
    assert_eq!(azure.call("GET", &path, None).status, 404, "and yet it is not there");
    assert_eq!(azure.call("PUT", &path, Some(&allow(150))).status, 201);
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", &path, None).body["properties"]["priority"], 150);
    azure.pass(60 * SECOND);
    assert_eq!(azure.call("GET", &path, None).body["properties"]["priority"], 100, "the late one won");
    plan(&azure, &[(On::Write, Fault::Late { millis: 60_000 })]);
    assert_eq!(azure.call("DELETE", &path, None).status, 202);
    azure.pass(2 * SECOND);
    assert!(passes(&azure, "build-1").0);
    azure.pass(60 * SECOND);
    assert!(!passes(&azure, "build-1").0);
}

#[test]
fn a_security_group_is_written_whole() {
    let azure = Azure::new(1);
    let path = azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg");
    let named = |name: &str, priority| {
        let mut rule = allow(priority);
        rule["name"] = json!(name);
        rule
    };
    let before = azure.call("GET", &path, None).body;
    let seen = before["etag"].as_str().expect("an etag").to_owned();
    let ssh = before["properties"]["securityRules"][0].clone();
    let body =
        |rules: &[&Value]| json!({ "location": "westeurope", "properties": { "securityRules": rules } });
    let put =
        |body: &Value| azure.try_call("PUT", &path, &[("If-Match", &seen)], Some(body)).expect("an answer");
    for (rules, code) in [
        ([named("A", 100), named("B", 100)], "SecurityRuleConflict"),
        ([named("A", 100), named("a", 101)], "DuplicateResourceName"),
        ([named("A", 100), named("B", 99)], "SecurityRuleInvalidPriority"),
        ([named("A", 100), named("-", 101)], "InvalidResourceName"),
    ] {
        let refused = put(&body(&[&rules[0], &rules[1]]));
        assert_eq!((refused.status, refused.code()), (400, code));
    }
    // `HTTPS` is left out, `SSH` stays as it was read, and there is a new one.
    let answer = put(&body(&[&ssh, &named("Ours", 100)]));
    assert_eq!((answer.status, &answer.body["properties"]["provisioningState"]), (200, &json!("Updating")));
    assert_eq!(answer.body["etag"], answer.header("etag"));
    assert_eq!(put(&body(&[])).status, 412, "it is not what was seen");
    let poll = answer.header("azure-asyncoperation").to_owned();
    assert_eq!(azure.call("GET", &poll, None).body["status"], "InProgress");
    let states = || {
        let rules = azure.call("GET", &azure.rule("web-1-nsg", ""), None).body;
        let rules = rules["value"].as_array().expect("a list").iter();
        rules.map(|it| json!([it["name"], it["properties"]["provisioningState"]])).collect::<Value>()
    };
    assert_eq!(states(), json!([["Ours", "Updating"], ["SSH", "Succeeded"]]));
    assert_eq!(passes(&azure, "web-1").1, "SSH", "the new one is not in force yet");
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", &poll, None).body["status"], "Succeeded");
    assert_eq!(states(), json!([["Ours", "Succeeded"], ["SSH", "Succeeded"]]));
    assert_eq!(passes(&azure, "web-1").1, "Ours");
    let after = azure.call("GET", &path, None);
    assert_eq!(after.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(after.body["properties"]["securityRules"][1]["etag"], ssh["etag"], "it was not changed");
    assert_eq!(azure.call("PUT", &path, Some(&after.body)).status, 200, "as it was read");
    azure.permit(&["*/read", "Microsoft.Network/networkSecurityGroups/securityRules/*"]);
    assert_eq!(azure.call("PUT", &path, Some(&after.body)).status, 403);
}

#[test]
fn a_late_write_of_a_security_group_lands_over_its_rules() {
    let azure = Azure::new(1);
    let path = azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg");
    plan(&azure, &[(On::Write, Fault::Late { millis: 60_000 })]);
    let none = json!({ "tags": { "a": "b" }, "properties": {} });
    let put = azure.call("PUT", &path, Some(&none));
    assert_eq!((put.status, &put.body["properties"]["securityRules"]), (200, &json!([])));
    azure.pass(SECOND);
    assert_eq!(azure.call("PUT", &azure.rule("web-1-nsg", "Ours"), Some(&allow(100))).status, 201);
    azure.pass(SECOND);
    assert_eq!(passes(&azure, "web-1").1, "Ours");
    azure.pass(60 * SECOND);
    assert_eq!(passes(&azure, "web-1").1, "DenyAllInBound");
    let shown = azure.call("GET", &path, None).body;
    assert_eq!((&shown["properties"]["securityRules"], &shown["tags"]), (&json!([]), &json!({ "a": "b" })));
}

#[test]
fn a_rule_names_application_security_groups() {
    let azure = Azure::new(1);
    let asg = azure.path("Microsoft.Network/applicationSecurityGroups", "/app-asg");
    let id = azure.call("GET", &asg, None).body["id"].clone();
    let nic = azure.call("GET", &azure.path("Microsoft.Network/networkInterfaces", "/app-1-nic"), None).body;
    let configuration = &nic["properties"]["ipConfigurations"][0]["properties"];
    assert_eq!(configuration["applicationSecurityGroups"], json!([{ "id": id }]));
    let there = azure.call("GET", &azure.rule("data-subnet-nsg", "SSH-from-app"), None).body;
    assert_eq!(there["properties"]["sourceApplicationSecurityGroups"], json!([{ "id": id }]));

    let from = |address: &Value| {
        let from = address.as_str().expect("text").parse().expect("an address");
        let packet = Packet { from, protocol: PacketProtocol::Tcp, port: 22 };
        azure.cloud.passes("db-1", packet).expect("a machine").by
    };
    assert_eq!(from(&configuration["privateIPAddress"]), "SSH-from-app");
    assert_eq!(from(&json!("10.1.1.4")), "AllowVnetInBound", "it is not in the group");
    let of = |group: &Value| {
        let mut rule = allow(100);
        rule["properties"]["access"] = json!("Deny");
        rule["properties"]["sourceAddressPrefixes"] = json!([]);
        rule["properties"]["sourceApplicationSecurityGroups"] = json!([{ "id": group }]);
        rule
    };
    let path = azure.rule("data-subnet-nsg", "Ours");
    let put = |rule: &Value| azure.call("PUT", &path, Some(rule)).code().to_owned();
    assert_eq!(put(&of(&json!("/nobody"))), "InvalidResourceReference");
    let mut both = of(&id);
    both["properties"]["sourceAddressPrefix"] = json!("*");
    assert_eq!(put(&both), "SecurityRuleParametersConflict");
    azure.permit(&["Microsoft.Network/networkSecurityGroups/*"]);
    assert_eq!(put(&of(&id)), "LinkedAuthorizationFailed");
    azure.cloud.permit(Permissions::default());
    assert_eq!(put(&of(&id)), "");
    azure.pass(SECOND);
    assert_eq!(from(&configuration["privateIPAddress"]), "Ours");

    // Its members are found as a destination as well.
    let mut to = allow(100);
    to["properties"]["destinationAddressPrefix"] = Value::Null;
    to["properties"]["destinationApplicationSecurityGroups"] = json!([{ "id": id }]);
    assert_eq!(azure.call("PUT", &azure.rule("app-subnet-nsg", "To-app"), Some(&to)).status, 201);
    assert_eq!(azure.call("PUT", &azure.rule("app-1-nsg", "To-app"), Some(&to)).status, 201);
    azure.pass(SECOND);
    assert_eq!(passes(&azure, "app-1").1, "To-app");
}

#[test]
fn the_tag_of_a_service_is_taken_and_lets_nobody_pass() {
    let azure = Azure::new(1);
    for (priority, tag) in (100..).zip(["Sql", "AzureCloud", "Storage.WestEurope"]) {
        let mut rule = allow(priority);
        rule["properties"]["sourceAddressPrefixes"] = json!([]);
        rule["properties"]["sourceAddressPrefix"] = json!(tag);
        assert_eq!(azure.call("PUT", &azure.rule("build-1-nsg", tag), Some(&rule)).status, 201, "{tag}");
    }
    azure.pass(SECOND);
    assert_eq!(passes(&azure, "build-1"), (false, "DenyAllInBound".to_owned()));
}

#[test]
fn a_firewall_is_written_whole() {
    let azure = Azure::new(1);
    let path = azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let mut firewall = azure.call("GET", &path, None).body;
    let rules = &mut firewall["properties"]["natRuleCollections"][0]["properties"]["rules"];
    rules[0]["translatedPort"] = json!("22");
    let seen = firewall["etag"].as_str().expect("an etag").to_owned();
    let put = || azure.try_call("PUT", &path, &[("If-Match", &seen)], Some(&firewall)).expect("an answer");
    assert_eq!(put().status, 200);
    assert_eq!(put().status, 412);
    let shown = azure.call("GET", &path, None).body;
    assert_eq!(shown["properties"]["provisioningState"], "Updating", "who reads it sees what was written");
    assert_eq!(shown["properties"]["natRuleCollections"], firewall["properties"]["natRuleCollections"]);
    assert!(!passes(&azure, "vault-1").0, "it is not in force yet");
    azure.pass(SECOND);
    assert_eq!(azure.call("GET", &path, None).body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(
        passes(&azure, "vault-1"),
        (true, "AllowVnetInBound".to_owned()),
        "it comes from the firewall"
    );
    let hub = azure.path("Microsoft.Network/azureFirewalls", "/hub-fw");
    let mut managed = azure.call("GET", &hub, None).body;
    managed["properties"]["natRuleCollections"] = firewall["properties"]["natRuleCollections"].clone();
    assert_eq!(azure.call("PUT", &hub, Some(&managed)).status, 400, "its rules are in its policy");
}

#[test]
fn resource_graph_lists_by_type() {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults { page_size: 20, ..brisk() });
    let path = format!("/providers/Microsoft.ResourceGraph/resources?{VERSION}");
    let ask = |query: &str, token: Option<&str>| {
        let options = json!({ "$skipToken": token, "resultFormat": "objectArray" });
        let subscriptions = [azure.cloud.subscription()];
        let body = json!({ "query": query, "subscriptions": subscriptions, "options": options });
        azure.call("POST", &path, Some(&body))
    };
    let query = "Resources | where type in~ ('Microsoft.Compute/virtualMachines', 'microsoft.network/networkinterfaces') \
                 | project id, os = properties.storageProfile.osDisk.osType | order by id asc";
    let first = ask(query, None).body;
    assert_eq!((&first["count"], &first["totalRecords"]), (&json!(20), &json!(30)));
    let second = ask(query, first["$skipToken"].as_str()).body;
    assert_eq!((&second["count"], &second["$skipToken"]), (&json!(10), &Value::Null));
    assert_eq!(first["data"][0].as_object().map(|it| it.keys().len()), Some(2));
    assert_eq!((&first["data"][0]["os"], &second["data"][9]["os"]), (&json!("Linux"), &Value::Null));
    let groups = ask("resources | where type =~ 'microsoft.network/networksecuritygroups'", None).body;
    assert_eq!(groups["data"][0]["type"], "microsoft.network/networksecuritygroups");
    assert_eq!(groups["data"][0]["resourceGroup"], "demo");
    assert!(groups["data"][0]["properties"]["securityRules"].is_array());
    let either = "Resources | where type =~ 'microsoft.network/azurefirewalls' or type == 'microsoft.network/virtualnetworks' \
                  | order by id asc";
    let rows = ask(either, None).body;
    let names = rows["data"].as_array().expect("rows").iter().map(|it| it["name"].clone());
    assert_eq!(names.collect::<Value>(), json!(["edge-fw", "hub-fw", "edge-vnet", "hub-vnet", "main-vnet"]));
    for column in ["id", "name", "type", "location", "resourceGroup", "subscriptionId", "tags", "properties"]
    {
        assert!(!rows["data"][0][column].is_null(), "{column}");
    }
    for query in ["Resources", "Resources | where name == 'x'", "Resources | where type =~ 'x' | take 5"] {
        let refused = ask(query, None);
        assert_eq!(refused.status, 400);
        assert!(refused.body["error"]["message"].as_str().expect("a message").contains(query));
    }
}

#[test]
fn the_operator_of_the_simulator_may_test_packets_and_plan_faults() {
    let azure = Azure::new(1);
    azure.cloud.guard_control("sesame");
    let secret = [("authorization", "Bearer sesame")];
    let get = |path: &str| azure.send("GET", path, &secret, None).expect("an answer").body;
    let packet = format!("/_simcloud/packet?vm=web-1&from={ANN}&protocol=tcp&port=22");
    assert_eq!(azure.send("GET", &packet, &[], None).expect("an answer").status, 401);
    assert_eq!(get(&packet), json!({ "passes": true, "by": "SSH" }));
    let faults =
        json!({ "planned": [{ "on": "write", "fault": { "throttled": { "retry_after_secs": 2 } } }] });
    let text = faults.to_string();
    let planned = azure.send("POST", "/_simcloud/faults", &secret, Some(("application/json", &text)));
    assert_eq!(planned.expect("an answer").status, 204);
    assert_eq!(get("/_simcloud/faults")["planned"][0]["times"], 1);
    assert_eq!(azure.call("PUT", &azure.rule("web-1-nsg", "R"), Some(&allow(100))).status, 429);
    assert_eq!(get("/_simcloud/calls")[0]["status"], 429);
    let permissions = json!({ "actions": ["Microsoft.Network/*/read"] });
    let text = permissions.to_string();
    let permitted = azure.send("POST", "/_simcloud/permissions", &secret, Some(("application/json", &text)));
    assert_eq!(permitted.expect("an answer").status, 204);
    assert_eq!(get("/_simcloud/permissions"), permissions);
    assert_eq!(azure.call("PUT", &azure.rule("web-1-nsg", "R"), Some(&allow(100))).status, 403);
}

#[test]
fn a_snapshot_holds_everything_also_what_is_under_way() {
    let azure = Azure::new(7);
    let path = azure.rule("build-1-nsg", "Ours");
    azure.call("PUT", &path, Some(&allow(100)));
    let snapshot = azure.cloud.snapshot();
    let again = Azure::with(|clock| Simcloud::restore(&snapshot, clock).expect("a snapshot"));
    assert_eq!(again.cloud.snapshot().len(), {
        azure.cloud.issue_token();
        azure.cloud.snapshot().len()
    });
    again.pass(SECOND);
    assert_eq!(again.call("GET", &path, None).body["properties"]["provisioningState"], "Succeeded");
    assert!(Simcloud::restore("{}", std::sync::Arc::new(jiff::Timestamp::now)).is_err());
}

#[test]
fn the_same_seed_is_the_same_cloud() {
    let fleet = |seed| Azure::new(seed).cloud.snapshot();
    assert_eq!(fleet(3), fleet(3));
    assert_ne!(fleet(3), fleet(4));
}
