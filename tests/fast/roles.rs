//! Roles: each operation, by each role, on the machine and beside it, over HTTP and by a bot: one answer on every channel.

use jiff::SignedDuration;
use portcullis_app::{
    Bots, Incoming, Operation, OperationKind, Submitted,
    ports::{Batch, Store as _},
    submit,
};
use portcullis_domain::{
    Authority, BINDINGS_MAX, Binding, Chain, Fact, Facts, MachineFacts, Member, Object, Right, Role, Scope,
    TargetId,
};
use portcullis_tests::{
    given::{named, ssh, ssh_with_approval},
    place::{Answered, Place},
    roles::{binding, only},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The codes of refusals for want of a role.
const WANTING: [&str; 3] = ["not-permitted", "not-the-operator", "not-theirs-to-give"];

/// The role without which a request of this person's is not approved.
fn requester(name: &str) -> Binding {
    binding(Role::Requester, &format!("person:{name}"), Scope::Everything)
}

/// A machine with a lease and a waiting request of carol's and a lease of ann's, and a machine beside it.
struct Scene {
    place: Place,
    here: TargetId,
    beside: TargetId,
    ann: String,
    /// The ids that paths have.
    ids: BTreeMap<&'static str, String>,
    /// Where ann has her role.
    scope: Scope,
}

impl Scene {
    async fn new() -> Self {
        let place = Place::with_bots(r#"[{"source": "chatops", "for": ["ann"]}]"#);
        let here = place.guard("web-1", &ssh_with_approval()).await;
        let beside = place.guard("db-1", &ssh()).await;
        let (ann, carol) = (place.token("ann").await, place.token("carol").await);
        let ask = |target: &TargetId| json!({ "asks": [{ "target": target, "port": 22, "for": "PT1H" }] });
        let bob = place.token("bob").await;
        let mut ids = BTreeMap::new();
        for (token, name) in [(&carol, "theirs"), (&ann, "own"), (&carol, "request")] {
            // A request without a key is known by its time.
            place.pass(SignedDuration::from_secs(1));
            let asked = place.call(token, "POST", "/v1/requests", Some(ask(&here))).await;
            let (id, shown) = (asked.body["request"]["id"].clone(), asked.body["request"]["shown"].clone());
            let id = id.as_str().unwrap_or_else(|| panic!("{asked:?}")).to_owned();
            if name == "request" {
                ids.insert(name, id);
                continue;
            }
            let path = format!("/v1/requests/{id}/approve");
            let approved = place.call(&bob, "POST", &path, Some(json!({ "shown": shown }))).await;
            assert_eq!(approved.status, 200, "{approved:?}");
            ids.insert(name, format!("{id}-1"));
        }
        place.expire().await;
        Self { place, here, beside, ann, ids, scope: Scope::Everything }
    }

    /// The same, where ann has this role on everything, on the machine or beside it, and nobody but the requester has another one.
    async fn with(role: Role, place: &str) -> Self {
        let scene = Self::new().await;
        let scope = match place {
            "everything" => Scope::Everything,
            "here" => Scope::Target(scene.here.clone()),
            _ => Scope::Target(scene.beside.clone()),
        };
        only(&scene.place, [binding(role, "person:ann", scope.clone()), requester("carol")]).await;
        Self { scope, ..scene }
    }

    /// A call of ann's for each operation that has a route.
    fn call(&self, operation: Operation) -> Option<(&'static str, String, Option<Value>)> {
        let target = self.here.as_str().replace('/', "%2F");
        let of_target = |rest: &str| format!("/v1/targets/{target}{rest}");
        let (theirs, request) = (&self.ids["theirs"], &self.ids["request"]);
        let asks = json!({ "asks": [{ "target": self.here, "port": 22, "for": "PT1H" }] });
        let ports = json!({ "ports": [{ "port": 22 }] });
        let role = json!({ "role": "reader", "member": "person:dave", "on": "everything" });
        let path = |path: String| path;
        Some(match operation {
            Operation::Initiate => ("POST", path("/v1/requests".to_owned()), Some(asks)),
            Operation::Explain => ("POST", path("/v1/requests/explain".to_owned()), Some(asks)),
            Operation::Foresee => ("POST", path("/v1/requests/explain?wait=PT30S".to_owned()), Some(asks)),
            Operation::Extend => {
                let until =
                    json!({ "until": (self.place.now() + SignedDuration::from_hours(2)).to_string() });
                ("POST", format!("/v1/grants/{theirs}/extend"), Some(until))
            }
            Operation::Approve => {
                ("POST", format!("/v1/requests/{request}/approve"), Some(json!({ "shown": "it" })))
            }
            Operation::Reject => {
                ("POST", format!("/v1/requests/{request}/reject"), Some(json!({ "shown": "it" })))
            }
            Operation::Withdraw => ("POST", format!("/v1/requests/{request}/withdraw"), None),
            Operation::Close => ("POST", format!("/v1/grants/{theirs}/close"), None),
            Operation::Enable => ("POST", of_target("/enable"), Some(ports)),
            Operation::Edit => ("POST", of_target("/edit"), Some(ports)),
            Operation::Disable => ("POST", of_target("/disable"), None),
            Operation::Confirm => ("POST", of_target("/confirm"), None),
            Operation::Plan => ("POST", of_target("/plan"), Some(ports)),
            Operation::Check => ("GET", of_target("/check?port=22&from=203.0.113.9"), None),
            Operation::Activity => ("GET", of_target("/activity"), None),
            Operation::ShowMachine => ("GET", of_target(""), None),
            Operation::ShowRequest => ("GET", format!("/v1/requests/{request}"), None),
            Operation::ShowGrant => ("GET", format!("/v1/grants/{theirs}"), None),
            Operation::Adopt => {
                ("POST", path("/v1/adopt".to_owned()), Some(json!({ "what": "it", "delete": false })))
            }
            Operation::Adoptables => ("GET", path("/v1/adoptable".to_owned()), None),
            Operation::IssueToken => {
                ("POST", path("/v1/tokens".to_owned()), Some(json!({ "person": "dave" })))
            }
            Operation::RevokeToken => ("DELETE", path("/v1/tokens/dave".to_owned()), None),
            Operation::Tokens => ("GET", path("/v1/tokens".to_owned()), None),
            Operation::GrantRole => ("POST", path("/v1/roles".to_owned()), Some(role)),
            Operation::RevokeRole => ("POST", path("/v1/roles/revoke".to_owned()), Some(role)),
            Operation::Roles => ("GET", path("/v1/roles".to_owned()), None),
            Operation::ApplyPolicies => {
                ("POST", path("/v1/policies".to_owned()), Some(json!({ "files": { "a.cedar": "" } })))
            }
            Operation::RollBackPolicies => {
                ("POST", path("/v1/policies/rollback".to_owned()), Some(json!({ "version": 0 })))
            }
            Operation::Policies => ("GET", path("/v1/policies".to_owned()), None),
            Operation::PolicyVersions => ("GET", path("/v1/policies/history".to_owned()), None),
            Operation::Verify => ("GET", path("/v1/verify".to_owned()), None),
            Operation::Doctor => ("GET", path("/v1/doctor".to_owned()), None),
            Operation::Whoami => ("GET", path("/v1/whoami".to_owned()), None),
            Operation::Export => {
                let times = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
                ("GET", format!("/v1/export?{times}&format=jsonl"), None)
            }
            // Lists are narrowed, never refused.
            Operation::Requests => ("GET", path("/v1/requests".to_owned()), None),
            Operation::Grants => ("GET", path("/v1/grants".to_owned()), None),
            Operation::Machines => ("GET", path("/v1/targets".to_owned()), None),
            Operation::Names => ("GET", path("/v1/names".to_owned()), None),
            Operation::Happened => ("GET", path("/v1/events".to_owned()), None),
            // By an event alone.
            Operation::OrderExport => return None,
        })
    }

    async fn by_ann(&self, operation: Operation) -> Option<Answered> {
        let (method, path, body) = self.call(operation)?;
        Some(self.place.call(&self.ann, method, &path, body).await)
    }

    /// The same by a bot, for each operation that has an event.
    async fn by_bot(&self, operation: Operation) -> Option<Submitted> {
        let (theirs, request) = (&self.ids["theirs"], &self.ids["request"]);
        let targets = json!({ "targets": [{ "target": self.here,
            "ports": [{ "port": 22, "duration": "PT1H", "sources": ["203.0.113.9"] }] }] });
        let (kind, more) = match operation {
            Operation::Initiate => ("access.request", targets),
            Operation::Explain => ("access.explain", targets),
            Operation::Extend => {
                let end = self.place.now() + SignedDuration::from_hours(2);
                ("access.extend", json!({ "grant": theirs, "end": end }))
            }
            Operation::Approve => ("access.approve", json!({ "request": request, "shown": "it" })),
            Operation::Reject => ("access.reject", json!({ "request": request })),
            Operation::Withdraw => ("access.withdraw", json!({ "request": request })),
            Operation::Close => ("access.close", json!({ "grant": theirs })),
            Operation::OrderExport => (
                "export.request",
                json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "format": "jsonl" }),
            ),
            Operation::Foresee
            | Operation::Enable
            | Operation::Edit
            | Operation::Disable
            | Operation::Confirm
            | Operation::Adopt
            | Operation::IssueToken
            | Operation::RevokeToken
            | Operation::GrantRole
            | Operation::RevokeRole
            | Operation::ApplyPolicies
            | Operation::RollBackPolicies
            | Operation::Policies
            | Operation::PolicyVersions
            | Operation::Requests
            | Operation::ShowRequest
            | Operation::Grants
            | Operation::ShowGrant
            | Operation::Machines
            | Operation::ShowMachine
            | Operation::Names
            | Operation::Activity
            | Operation::Check
            | Operation::Plan
            | Operation::Adoptables
            | Operation::Happened
            | Operation::Verify
            | Operation::Export
            | Operation::Doctor
            | Operation::Whoami
            | Operation::Roles
            | Operation::Tokens => return None,
        };
        let mut detail = json!({ "version": 1, "on_behalf_of": "ann" });
        detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let time = self.place.now();
        let body =
            json!({ "source": "chatops", "detail-type": kind, "id": kind, "time": time, "detail": detail });
        let body = body.to_string();
        let incoming = Incoming { body: body.as_bytes(), source: None, has_archive: true };
        let (place, bots) = (&self.place, named::<Bots>(r#"[{"source": "chatops", "for": ["ann"]}]"#));
        Some(
            submit(place.store(), place.terms(), place.rights(), &bots, incoming, time).await.expect("heard"),
        )
    }
}

/// Is it refused for want of a role?
fn is_wanting(answer: &Answered) -> bool {
    let is_wanting = |it: &Value| WANTING.iter().any(|code| it["code"] == *code);
    answer.status == 403 && answer.body["reasons"].as_array().is_some_and(|it| it.iter().any(is_wanting))
}

/// The answer of the table: does this role, on this scope, permit the operation?
fn permits(scene: &Scene, role: Role, scope: &Scope, operation: Operation) -> bool {
    let facts = |it: &TargetId| Object::Machine(Box::new(Facts::of(it)));
    let object = match operation {
        // Of oneself, of requests of one's own, and lists.
        Operation::Whoami
        | Operation::Withdraw
        | Operation::Requests
        | Operation::Grants
        | Operation::Machines
        | Operation::Names
        | Operation::Happened => return true,
        Operation::Adopt
        | Operation::Adoptables
        | Operation::IssueToken
        | Operation::RevokeToken
        | Operation::Tokens
        | Operation::GrantRole
        | Operation::RevokeRole
        | Operation::ApplyPolicies
        | Operation::RollBackPolicies
        | Operation::Policies
        | Operation::PolicyVersions
        | Operation::Roles
        | Operation::Verify
        | Operation::Doctor
        | Operation::Export
        | Operation::OrderExport => Object::Installation,
        Operation::Initiate
        | Operation::Explain
        | Operation::Foresee
        | Operation::Extend
        | Operation::Approve
        | Operation::Reject
        | Operation::Close
        | Operation::Enable
        | Operation::Edit
        | Operation::Disable
        | Operation::Confirm
        | Operation::Plan
        | Operation::Check
        | Operation::Activity
        | Operation::ShowMachine
        | Operation::ShowRequest
        | Operation::ShowGrant => facts(&scene.here),
    };
    // The lease is carol's.
    let right = operation.right();
    role.rights().contains(&right) && !role.is_for_own_alone(right) && scope.holds(&object)
}

#[tokio::test]
async fn each_operation_is_permitted_by_the_roles_that_give_its_right_on_every_channel_and_by_no_other() {
    let mut seen = BTreeSet::new();
    for role in Role::ALL.iter().copied() {
        for place in ["everything", "here", "beside"] {
            let mut scene = Scene::with(role, place).await;
            for operation in Operation::ALL.iter().copied() {
                let expected = permits(&scene, role, &scene.scope, operation);
                let row = format!("{} by a {role} on {place}", operation.name());
                // First the bot: what a call changes would be in its way.
                if let Some(answer) = scene.by_bot(operation).await {
                    let wants = |it: &String| it.contains("that takes the role");
                    let is_refused = matches!(&answer, Submitted::Refused(why) if why.iter().any(wants));
                    assert_eq!(!is_refused, expected, "{row}, by a bot: {answer:?}");
                    seen.insert(operation);
                }
                if let Some(answer) = scene.by_ann(operation).await {
                    assert_eq!(!is_wanting(&answer), expected, "{row}: {answer:?}");
                    seen.insert(operation);
                }
                if expected && operation.kind() == OperationKind::Command {
                    scene = Scene::with(role, place).await;
                }
            }
        }
    }
    assert_eq!(seen, Operation::ALL.iter().copied().collect(), "each operation has its row");
}

#[tokio::test]
async fn lists_hold_the_machines_that_their_reader_may_read() {
    let scene = Scene::new().await;
    only(&scene.place, [binding(Role::Reader, "person:ann", Scope::Target(scene.beside.clone()))]).await;
    let of = async |path: &str, field: &str| -> BTreeSet<String> {
        let answer = scene.place.call(&scene.ann, "GET", path, None).await;
        let items = answer.body["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        items.iter().filter_map(|it| it[field].as_str()).map(str::to_owned).collect()
    };
    let beside = BTreeSet::from([scene.beside.to_string()]);
    // Where a part of the list has nothing for its reader, the next one is named all the same.
    for list in ["/v1/targets", "/v1/names"] {
        let (mut seen, mut path) = (BTreeSet::new(), format!("{list}?limit=1"));
        loop {
            seen.extend(of(&path, "id").await);
            let next = scene.place.call(&scene.ann, "GET", &path, None).await.body["next"].clone();
            let Some(next) = next.as_str() else { break };
            path = format!("{list}?limit=1&after={}", next.replace('/', "%2F"));
        }
        assert_eq!(seen, beside, "{list}");
    }
    assert_eq!(of("/v1/targets", "id").await, beside);
    assert_eq!(of("/v1/names", "id").await, beside);
    assert_eq!(of("/v1/grants", "target").await, BTreeSet::new());
    assert_eq!(of("/v1/requests", "id").await, BTreeSet::new());
    // An event of the installation alone, after those of the machines.
    let operator = scene.place.token("operator").await;
    scene.place.pass(SignedDuration::from_mins(10));
    let role = json!({ "role": "auditor", "member": "person:dave", "on": "everything" });
    assert_eq!(scene.place.call(&operator, "POST", "/v1/roles", Some(role)).await.status, 200);
    let since = format!("/v1/events?since={}", scene.place.now());
    let events = scene.place.call(&scene.ann, "GET", &since, None).await;
    assert_eq!(events.body["events"], json!([]), "who has which role is not hers to read");
    let all = scene.place.call(&operator, "GET", &since, None).await;
    assert_eq!(all.body["events"][0]["kind"], "role.changed", "{all:?}");
    let events = scene.place.call(&scene.ann, "GET", "/v1/events?since=2020-01-01T00:00:00Z", None).await;
    let items = events.body["events"].as_array().expect("events");
    assert!(
        !items.is_empty() && items.iter().all(|it| it["detail"]["target"] == scene.beside.as_str()),
        "{items:?}"
    );
}

#[tokio::test]
async fn explaining_a_request_that_no_role_permits_is_a_refusal_with_that_reason() {
    let scene = Scene::new().await;
    only(&scene.place, [binding(Role::Reader, "person:ann", Scope::Everything)]).await;
    let explained = scene.by_ann(Operation::Explain).await.expect("a route");
    let codes: Vec<&Value> =
        explained.body["reasons"].as_array().into_iter().flatten().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["not-permitted"], "{explained:?}");
}

#[tokio::test]
async fn a_requester_closes_their_own_lease_and_no_other() {
    let scene = Scene::new().await;
    only(&scene.place, [binding(Role::Requester, "person:ann", Scope::Everything)]).await;
    let close = async |grant: &str| {
        scene.place.call(&scene.ann, "POST", &format!("/v1/grants/{}/close", scene.ids[grant]), None).await
    };
    assert!(is_wanting(&close("theirs").await));
    assert_eq!(close("own").await.status, 200);
}

#[tokio::test]
async fn roles_are_granted_and_revoked_by_an_operator_of_their_scope_and_each_change_is_recorded() {
    let scene = Scene::new().await;
    let place = &scene.place;
    let operator = place.token("operator").await;
    let change = async |token: &str, path: &str, role: &str, member: &str, on: &str| {
        let body = json!({ "role": role, "member": member, "on": on });
        place.call(token, "POST", path, Some(body)).await
    };
    let on = format!("target:{}", scene.here);
    let granted = change(&operator, "/v1/roles", "operator", "person:ann", &on).await;
    assert_eq!((granted.status.as_u16(), &granted.body["version"]), (200, &json!(1)), "{granted:?}");
    let again = change(&operator, "/v1/roles", "operator", "person:Ann", &on).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["version"]),
        (200, &json!(1)),
        "another spelling is the same person"
    );
    // Within the scope she gives what she has, and nothing beside it.
    assert_eq!(change(&scene.ann, "/v1/roles", "approver", "group:dba", &on).await.status, 200);
    for elsewhere in ["everything", &format!("target:{}", scene.beside)] {
        let refused = change(&scene.ann, "/v1/roles", "reader", "person:dave", elsewhere).await;
        assert!(is_wanting(&refused), "{refused:?}");
    }
    let everyone = change(&operator, "/v1/roles", "operator", "everyone", "everything").await;
    assert_eq!(
        (everyone.status.as_u16(), &everyone.body["reasons"][0]["code"]),
        (422, &json!("everyone-an-operator"))
    );
    let revoked = change(&operator, "/v1/roles/revoke", "configurator", "everyone", "everything").await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let missing = change(&operator, "/v1/roles/revoke", "configurator", "everyone", "everything").await;
    assert_eq!(missing.status, 404, "{missing:?}");
    // The operator whom the installation names needs no binding.
    let all = place.call(&operator, "GET", "/v1/roles", None).await;
    assert_eq!(all.body["operator"], "operator");
    let entries = place.store().entries(&Chain::rest(), 0, 100).await.expect("loads");
    let facts: Vec<&Fact> = entries.iter().map(|it| &it.fact).collect();
    let count = |is: fn(&Fact) -> bool| facts.iter().filter(|it| is(it)).count();
    assert_eq!(count(|it| matches!(it, Fact::RoleGranted { .. })), 2);
    assert_eq!(count(|it| matches!(it, Fact::RoleRevoked { .. })), 1);
    assert_eq!(count(|it| matches!(it, Fact::RoleRefused { .. })), 3);
    // Folding the entries gives what is stored.
    let mut told = Authority::founding();
    for entry in &entries {
        told.follow(entry);
    }
    assert_eq!(Some(told), place.store().authority().await.expect("loads"));
}

#[tokio::test]
async fn roles_by_tag_count_on_machines_with_the_tag_alone() {
    let scene = Scene::new().await;
    let store = scene.place.store();
    let (target, seen) = store.target(&scene.here).await.expect("loads").expect("is there");
    let machine = target.machine().expect("its cloud told of it").clone();
    let tagged = MachineFacts { tags: [("Team".to_owned(), "data".to_owned())].into(), ..machine };
    let next = target.with_machine(tagged).note(vec![Fact::DriftHealed], scene.place.now());
    store.commit(Batch::of(next, seen)).await.expect("committed");
    let (key, value) = ("team".to_owned(), "data".to_owned());
    only(
        &scene.place,
        [binding(Role::Approver, "person:ann", Scope::Tag { key: key.clone(), value }), requester("carol")],
    )
    .await;
    assert!(!is_wanting(&scene.by_ann(Operation::Approve).await.expect("a route")));
    let other = Scope::Tag { key, value: "another".to_owned() };
    only(&scene.place, [binding(Role::Approver, "person:ann", other)]).await;
    assert!(is_wanting(&scene.by_ann(Operation::Approve).await.expect("a route")));
}

#[test]
fn members_and_scopes_are_read_as_they_are_written() {
    for text in
        ["everyone", "person:ann", "group:ops and more", "workload:ci", "workload:arn:aws:iam::1:role/x"]
    {
        assert_eq!(text.parse::<Member>().expect(text).to_string(), text);
    }
    for text in ["", "ann", "person:", "person:*", "group: ", "team:x", "everyone:x"] {
        let refused = text.parse::<Member>().expect_err(text).to_string();
        assert!(refused.contains("`everyone`, `person:NAME`"), "{refused}");
    }
    for text in ["everything", "account:5a1c", "group:5a1c/demo", "tag:team=a=b", "target:host/web-1"] {
        assert_eq!(text.parse::<Scope>().expect(text).to_string(), text);
    }
    for text in ["", "all", "account:", "group:5a1c", "tag:team", "tag:=x", "target:", "target:two words"] {
        let refused = text.parse::<Scope>().expect_err(text).to_string();
        assert!(refused.contains("`everything`, `account:ID`"), "{refused}");
    }
    let upper: Scope = named("group:5A1C/Demo");
    assert_eq!(upper.to_string(), "group:5a1c/demo", "Azure compares these without regard to case");
}

#[test]
fn scope_covers_what_lies_within_it_surely() {
    let id = "/subscriptions/5a1c/resourceGroups/Demo/providers/Microsoft.Compute/virtualMachines/web-1";
    let scopes: Vec<Scope> = ["everything", "account:5a1c", "group:5a1c/demo"]
        .map(named)
        .into_iter()
        .chain([named(&format!("target:{id}"))])
        .collect();
    for (n, wide) in scopes.iter().enumerate() {
        for (m, narrow) in scopes.iter().enumerate() {
            assert_eq!(wide.covers(narrow), n <= m, "{wide} and {narrow}");
        }
    }
    let tag: Scope = named("tag:team=data");
    assert!(
        Scope::Everything.covers(&tag) && tag.covers(&tag) && !tag.covers(&named(&format!("target:{id}")))
    );
    assert!(!named::<Scope>("account:5a1c").covers(&tag), "a tag may be on machines of any account");
}

#[tokio::test]
async fn an_authority_that_is_full_takes_no_more_roles() {
    let place = Place::new();
    let bindings =
        (0..BINDINGS_MAX).map(|n| binding(Role::Reader, &format!("person:p{n}"), Scope::Everything));
    only(&place, bindings).await;
    let operator = place.token("operator").await;
    let body = json!({ "role": "reader", "member": "person:one-more", "on": "everything" });
    let refused = place.call(&operator, "POST", "/v1/roles", Some(body)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["reasons"][0]["code"]),
        (409, &json!("too-many-roles"))
    );
}

#[test]
fn every_right_is_given_by_a_role_and_the_operator_has_all() {
    for right in Right::ALL {
        assert!(Role::ALL.iter().any(|it| it.rights().contains(right)), "{right}");
        assert!(Role::Operator.rights().contains(right));
    }
    assert!(Authority::founding().bindings.iter().all(|it| it.role != Role::Operator));
}
