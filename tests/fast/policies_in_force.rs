//! Policies of the installation: their versions, and what servers refuse and permit by them, over HTTP and by a bot.

use jiff::SignedDuration;
use portcullis_app::{
    Absent, Bots, Error, Incoming, Parts, Rights, Submitted, command, events, perform,
    ports::{Batch, Store as _},
    query, submit,
};
use portcullis_domain::{
    Authority, Binding, Chain, Entry, Fact, POLICY_BYTES_MAX, PoliciesAt, Refusal, Refusals, Role, Scope,
    TargetId, Terms,
};
use portcullis_tests::{
    door,
    given::{all_entries, named, person, ssh},
    idp::{Idp, Key},
    place::{Answered, BOTS, Place},
};
use serde_json::{Value, json};

/// Sets three bounds to requests: what they forbid has an id, and a reason but for the last one.
const BOUNDS: &str = r#"
@id("no-wide-ssh")
@reason("SSH is open to a /24 at most.")
forbid (principal, action == Action::"request", resource)
when { context has port && context.port == 22 && context has prefix && context has family && context.family == 4 && context.prefix < 24 };

@id("no-weekends")
@reason("No access at weekends.")
forbid (principal, action == Action::"request", resource)
when { context.weekday >= 6 };

@id("an-hour")
forbid (principal, action in [Action::"request", Action::"extend"], resource)
when { context has minutes && context.minutes > 60 };
"#;

/// An installation whose operator has a token.
struct Scene {
    place: Place,
    operator: String,
}

impl Scene {
    async fn new() -> Self {
        Self::of(Place::new()).await
    }

    async fn of(place: Place) -> Self {
        let operator = place.token("operator").await;
        Self { place, operator }
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answered {
        self.place.call(token, method, path, body).await
    }

    /// Applies one file in UTC.
    async fn apply(&self, text: &str) -> Answered {
        self.apply_all(json!({ "files": { "all.cedar": text } })).await
    }

    async fn apply_all(&self, body: Value) -> Answered {
        self.call(&self.operator, "POST", "/v1/policies", Some(body)).await
    }

    async fn applied(&self, text: &str) -> Value {
        let answer = self.apply(text).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call(&self.operator, "GET", path, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn rest(&self) -> Vec<Entry> {
        self.place.store().entries(&Chain::rest(), 0, 1_000).await.expect("loads")
    }

    /// The changes of policies that the journal has.
    async fn changes(&self) -> usize {
        self.rest().await.iter().filter(|it| matches!(it.fact, Fact::PoliciesChanged { .. })).count()
    }
}

fn ask(target: &TargetId, length: &str, from: &str) -> Value {
    json!({ "asks": [{ "target": target, "port": 22, "for": length, "sources": [from] }] })
}

/// The version of policies that a decision on a request names.
fn decided_by(fact: &Fact) -> Option<(&str, Option<u64>)> {
    if let Fact::Approved { grant, .. } = fact {
        return Some(("approved", grant.authority));
    }
    let Fact::RequestRefused { authority, .. } = fact else { return None };
    Some(("refused", *authority))
}

fn codes(answer: &Answered) -> Vec<&str> {
    answer.body["reasons"].as_array().into_iter().flatten().filter_map(|it| it["code"].as_str()).collect()
}

/// All reasons in one text.
fn said(answer: &Answered) -> String {
    let all = answer.body["reasons"].as_array().into_iter().flatten();
    all.filter_map(|it| it["message"].as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn applied_policies_are_a_version_with_one_entry_and_applying_them_again_changes_nothing() {
    let it = Scene::new().await;
    assert_eq!(it.get("/v1/policies").await["version"], 0);
    assert_eq!(it.get("/v1/policies/history").await, json!({ "items": [], "next": null }));
    let first = it.applied(BOUNDS).await;
    assert_eq!((&first["version"], &first["is_new"]), (&json!(1), &json!(true)));
    assert_eq!(first["added"], json!(["an-hour", "no-weekends", "no-wide-ssh"]));
    let again = it.applied(BOUNDS).await;
    assert_eq!((&again["version"], &again["is_new"]), (&json!(1), &json!(false)));
    // A role has a version in between.
    let role = json!({ "role": "reader", "member": "person:ann", "on": "everything" });
    assert_eq!(it.call(&it.operator, "POST", "/v1/roles", Some(role)).await.status, 200);
    let text = BOUNDS.replace("> 60", "> 90").replace("no-weekends", "not-at-weekends");
    let second = it.applied(&text).await;
    assert_eq!(second["version"], 3);
    let names = [&second["added"], &second["changed"], &second["removed"]];
    assert_eq!(names, [&json!(["not-at-weekends"]), &json!(["an-hour"]), &json!(["no-weekends"])]);
    assert_eq!(it.changes().await, 2);
    // What was, and what is.
    let shown = it.get("/v1/policies").await;
    assert_eq!((&shown["files"]["all.cedar"], &shown["zone"]), (&json!(text), &json!("UTC")));
    assert_eq!((&shown["by"], &shown["digest"]), (&json!("operator"), &second["digest"]));
    assert_eq!(it.get("/v1/policies?version=1").await["files"]["all.cedar"], BOUNDS);
    let history = it.get("/v1/policies/history").await;
    let versions: Vec<&Value> =
        history["items"].as_array().expect("a list").iter().map(|it| &it["version"]).collect();
    assert_eq!(versions, [3, 1]);
    let before = it.get("/v1/policies/history?before=3").await;
    assert_eq!(before["items"].as_array().map(Vec::len), Some(1));
    // INVARIANT (journal-equals-state): folding the entries gives what is stored.
    let (mut told, entries) = (Authority::founding(), it.rest().await);
    for entry in &entries {
        told.follow(entry);
    }
    assert_eq!(Some(told), it.place.store().authority().await.expect("loads"));
    assert_eq!(it.get("/v1/verify").await["whole"], true);
}

#[tokio::test]
async fn a_change_of_policies_is_published_with_the_names_of_policies_and_without_their_text() {
    let it = Scene::new().await;
    let why = json!({ "files": { "all.cedar": BOUNDS }, "why": "INC-4711" });
    assert_eq!(it.apply_all(why).await.status, 200);
    let entry = it.rest().await.pop().expect("an entry");
    let [event] = &events(&entry)[..] else { panic!("{entry:?}") };
    assert_eq!(event.kind, "policies.changed");
    let detail = serde_json::to_value(&event.detail).expect("JSON");
    assert_eq!(detail["fact"]["added"], json!(["an-hour", "no-weekends", "no-wide-ssh"]));
    assert!(!detail.to_string().contains("forbid"), "{detail}");
    let sentence = "the policies of the installation are version 1: added an-hour, no-weekends, no-wide-ssh, because: INC-4711 (by operator)";
    assert_eq!(detail["sentence"], sentence);
}

#[tokio::test]
async fn a_version_is_gone_back_to_and_becomes_a_new_one() {
    let it = Scene::new().await;
    it.applied(BOUNDS).await;
    it.applied("").await;
    let back = async |version: u64| {
        let body = json!({ "version": version, "why": "the night shift" });
        it.call(&it.operator, "POST", "/v1/policies/rollback", Some(body)).await
    };
    let first = back(1).await.body;
    assert_eq!(
        (&first["version"], &first["back_to"], &first["why"]),
        (&json!(3), &json!(1), &json!("the night shift"))
    );
    assert_eq!(it.get("/v1/policies").await["files"]["all.cedar"], BOUNDS);
    let none = back(0).await.body;
    assert_eq!((&none["version"], &none["back_to"]), (&json!(4), &json!(0)));
    assert_eq!(it.get("/v1/policies").await["files"], json!({}));
    assert_eq!(back(0).await.body["is_new"], false);
    let missing = back(7).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    assert_eq!(it.call(&it.operator, "GET", "/v1/policies?version=2", None).await.status, 200);
    assert_eq!(it.call(&it.operator, "GET", "/v1/policies?version=9", None).await.status, 404);
}

#[tokio::test]
async fn a_change_of_another_version_than_the_expected_one_is_refused_with_its_author() {
    let it = Scene::new().await;
    let expecting = |version: u64, text: &str| json!({ "files": { "all.cedar": text }, "expect": version });
    assert_eq!(it.apply_all(expecting(0, BOUNDS)).await.body["version"], 1);
    let late = it.apply_all(expecting(0, "")).await;
    assert_eq!((late.status.as_u16(), codes(&late)), (409, vec!["policies-newer"]));
    assert!(said(&late).contains("version 1, by `operator`, and not version 0"), "{late:?}");
    let back = json!({ "version": 0, "expect": 7 });
    let back = it.call(&it.operator, "POST", "/v1/policies/rollback", Some(back)).await;
    assert_eq!(codes(&back), ["policies-newer"]);
    assert_eq!(it.changes().await, 1);
    assert_eq!(it.apply_all(expecting(1, "")).await.body["version"], 2);
}

#[tokio::test]
async fn policies_with_a_fault_are_refused_as_a_whole_with_its_place_and_each_bound_is_named() {
    let it = Scene::new().await;
    let two = json!({ "good.cedar": BOUNDS, "bad.cedar": "permit (principal, action,\n  resource" });
    let files = |name: &str, text: &str| json!({ name: text });
    let many = "permit (principal, action, resource);\n".repeat(1_001);
    let long = format!("// {}", "x".repeat(POLICY_BYTES_MAX));
    for (files, code, expected) in [
        (two, "policy-faults", "bad.cedar:2:11: unexpected end of input"),
        (
            files("a.cedar", "permit (principal, action == Action::\"fly\", resource);"),
            "policy-faults",
            "a.cedar:1:30: ",
        ),
        (files("a.txt", ""), "bad-policy-file", "`a.txt` is not the name of a policy file"),
        (files("../a.cedar", ""), "bad-policy-file", "`../a.cedar`"),
        (files("a.cedar", &many), "too-many-policies", "`1001` policies are too many: at most 1000"),
        (files("a.cedar", &long), "policies-too-long", "at most 204800"),
    ] {
        let refused = it.apply_all(json!({ "files": files })).await;
        assert_eq!((refused.status.as_u16(), codes(&refused)), (422, vec![code]), "{refused:?}");
        assert!(said(&refused).contains(expected), "{refused:?}");
    }
    let zone = it.apply_all(json!({ "files": {}, "zone": "Mars/Olympus" })).await;
    assert!(said(&zone).contains("`Mars/Olympus` is not a time zone"), "{zone:?}");
    let huge = it.apply_all(json!({ "files": { "a.cedar": "x".repeat(2 * POLICY_BYTES_MAX) } })).await;
    assert_eq!(huge.status, 413, "{huge:?}");
    assert_eq!(it.changes().await, 0);
    let refused =
        it.rest().await.into_iter().filter(|it| matches!(it.fact, Fact::PoliciesRefused { .. })).count();
    assert_eq!(refused, 7, "each refusal is recorded, and what is too long to be read is none");
}

#[tokio::test]
async fn names_that_nothing_vouches_for_are_warnings_of_a_change() {
    let it = Scene::new().await;
    it.place.token("ann").await;
    let here = it.place.id("web-1").await;
    let text = format!(
        "permit (principal == Person::\"ann\", action, resource == Machine::\"{here}\");\n\
         permit (principal in Person::\"nobody-here\", action, resource == Machine::\"gone-1\");"
    );
    let warnings = it.applied(&text).await["warnings"].clone();
    let expected = [
        "the policy `all.cedar#2` names the person `nobody-here`, for whom no token, issuer, bot or platform vouches",
        "the policy `all.cedar#2` names the machine `gone-1`, which is not there",
    ];
    // The place has bots that speak for any person.
    let expected: Vec<&str> =
        expected.into_iter().filter(|it| !it.contains("person") || !BOTS.contains('*')).collect();
    assert_eq!(warnings, json!(expected));
}

#[tokio::test]
async fn policies_by_which_their_author_could_not_administer_any_more_are_refused() {
    let it = Scene::new().await;
    for (text, expected) in [
        (
            "@id(\"all\") @reason(\"A freeze.\") forbid (principal, action, resource);",
            "forbidden by the policy `all`: A freeze.",
        ),
        (
            "forbid (principal == Person::\"Operator\", action == Action::\"administer\", resource);",
            "forbidden by the policy `all.cedar#1`",
        ),
    ] {
        let refused = it.apply(text).await;
        assert_eq!((refused.status.as_u16(), codes(&refused)), (422, vec!["locks-out"]), "{refused:?}");
        assert!(said(&refused).contains(expected), "{refused:?}");
    }
    // A second operator, whom the first one keeps out.
    let ann = it.place.token("ann").await;
    let role = json!({ "role": "operator", "member": "person:ann", "on": "everything" });
    assert_eq!(it.call(&it.operator, "POST", "/v1/roles", Some(role)).await.status, 200);
    let hers = "permit (principal == Person::\"ann\", action, resource);";
    let by_ann = async |text: &str| {
        it.call(&ann, "POST", "/v1/policies", Some(json!({ "files": { "all.cedar": text } }))).await
    };
    assert_eq!(by_ann(hers).await.status, 200);
    it.applied("@id(\"not-ann\") @reason(\"On leave.\") forbid (principal in Person::\"ann\", action == Action::\"administer\", resource);").await;
    let refused = by_ann("").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(said(&refused).contains("forbidden by the policy `not-ann`: On leave."), "{refused:?}");
    // Nor does she grant roles.
    let role = json!({ "role": "operator", "member": "person:dave", "on": "everything" });
    let refused = it.call(&ann, "POST", "/v1/roles", Some(role)).await;
    assert!(said(&refused).contains("not-ann"), "{refused:?}");
}

#[tokio::test]
async fn a_request_that_a_policy_forbids_is_refused_with_its_id_and_reason_over_http_and_by_a_bot() {
    let it = Scene::new().await;
    let here = it.place.guard("web-1", &ssh()).await;
    let ann = it.place.token("ann").await;
    let request = async |length: &str, from: &str| {
        it.place.pass(SignedDuration::from_secs(1));
        it.call(&ann, "POST", "/v1/requests", Some(ask(&here, length, from))).await
    };
    assert_eq!(
        it.apply_all(json!({ "files": { "all.cedar": BOUNDS }, "zone": "Pacific/Auckland" })).await.status,
        200
    );
    assert_eq!(request("PT1H", "203.0.113.0/24").await.status, 202);
    for (length, from, expected) in [
        ("PT1H", "203.0.112.0/23", "forbidden by the policy `no-wide-ssh`: SSH is open to a /24 at most."),
        ("PT61M", "203.0.113.9", "forbidden by the policy `an-hour`"),
        (
            "PT1H1S",
            "203.0.112.0/23",
            "forbidden by the policies `no-wide-ssh`, `an-hour`: SSH is open to a /24 at most.",
        ),
    ] {
        let refused = request(length, from).await;
        assert_eq!((refused.status.as_u16(), codes(&refused)), (403, vec!["not-permitted"]), "{refused:?}");
        assert!(said(&refused).ends_with(expected), "{refused:?}");
        let explained = it.call(&ann, "POST", "/v1/requests/explain", Some(ask(&here, length, from))).await;
        assert!(said(&explained).contains(expected), "{explained:?}");
    }
    let entries = all_entries(it.place.store(), &Chain::from(&here)).await;
    let decided: Vec<_> = entries.iter().filter_map(|it| decided_by(&it.fact)).collect();
    let expected = ["approved", "refused", "refused", "refused"].map(|it| (it, Some(1)));
    assert_eq!(decided, expected, "each decision names the policies that it was made by");
    // It is Friday in Greenwich, and Saturday in Auckland.
    it.place.pass(SignedDuration::from_hours(3));
    let weekend = request("PT1H", "203.0.113.9").await;
    assert!(said(&weekend).contains("`no-weekends`: No access at weekends."), "{weekend:?}");
    let now = it.place.now();
    let ports = json!([{ "port": 22, "duration": "PT1H", "sources": ["203.0.113.9"] }]);
    let detail =
        json!({ "version": 1, "on_behalf_of": "ann", "targets": [{ "target": here, "ports": ports }] });
    let event = json!({ "source": "chatops", "detail-type": "access.request", "id": "e1", "time": now, "detail": detail });
    let event = event.to_string();
    let incoming = Incoming { body: event.as_bytes(), source: None, has_archive: true };
    let (place, bots) = (&it.place, named::<Bots>(BOTS));
    let answer =
        submit(place.store(), place.terms(), place.rights(), &bots, incoming, now).await.expect("heard");
    let Submitted::Refused(why) = &answer else { panic!("{answer:?}") };
    assert!(why.iter().any(|it| it.contains("`no-weekends`: No access at weekends.")), "{why:?}");
}

#[tokio::test]
async fn a_policy_that_takes_a_ticket_finds_it_in_the_reason_of_a_request_and_of_an_extension() {
    let it = Scene::new().await;
    let here = it.place.guard("web-1", &ssh()).await;
    let ann = it.place.token("ann").await;
    it.applied(
        "@id(\"ticket\") forbid (principal, action in [Action::\"request\", Action::\"extend\"], resource) \
         unless { context has ticket && context.ticket like \"CHG-*\" };",
    )
    .await;
    let request = async |why: Option<&str>| {
        it.place.pass(SignedDuration::from_secs(1));
        let mut body = ask(&here, "PT1H", "203.0.113.9");
        body["justification"] = json!(why);
        it.call(&ann, "POST", "/v1/requests", Some(body)).await
    };
    for why in [None, Some("deploy"), Some("INC-7, and then CHG-8")] {
        let refused = request(why).await;
        assert!(said(&refused).contains("forbidden by the policy `ticket`"), "{refused:?}");
    }
    let granted = request(Some("deploy of CHG-8")).await;
    assert_eq!(granted.body["request"]["state"], "approved", "{granted:?}");
    let path = format!("/v1/grants/{}/extend", granted.body["grants"][0]["id"].as_str().expect("an id"));
    let until = (it.place.now() + SignedDuration::from_mins(90)).to_string();
    let extend = async |why: &str| {
        it.place.pass(SignedDuration::from_secs(1));
        it.call(&ann, "POST", &path, Some(json!({ "until": until, "justification": why }))).await
    };
    assert!(said(&extend("it takes longer").await).contains("`ticket`"));
    let extended = extend("CHG-8 takes longer").await;
    assert_eq!(extended.body["request"]["state"], "approved", "{extended:?}");
}

#[tokio::test]
async fn an_explanation_names_the_policies_that_forbid_and_the_nearest_requests_that_would_pass() {
    let it = Scene::new().await;
    let here = it.place.guard("web-1", &ssh()).await;
    let ann = it.place.token("ann").await;
    let permit =
        "@id(\"ann-asks\") permit (principal == Person::\"ann\", action == Action::\"request\", resource);";
    it.applied(&format!("{BOUNDS}{permit}")).await;
    let explain = async |length: &str, from: &str| {
        it.call(&ann, "POST", "/v1/requests/explain", Some(ask(&here, length, from))).await.body
    };
    let short = explain("PT1H", "203.0.113.9").await;
    let by = json!(["ann-asks", "requester for everyone on everything"]);
    assert_eq!((&short["answer"], &short["permitted_by"]), (&json!("allowed"), &by));
    let long = explain("PT2H", "203.0.113.9").await;
    assert_eq!((&long["answer"], &long["policies"]), (&json!("refused"), &json!(["an-hour"])));
    assert_eq!(long["nearest"], json!(["for 1h"]));
    let message = long["reasons"][0]["message"].as_str().expect("a reason");
    assert!(message.ends_with("forbidden by the policy `an-hour`; it would pass for 1h"), "{message}");
    let wide = explain("PT30M", "203.0.112.0/20").await;
    assert_eq!(
        (&wide["policies"], &wide["nearest"]),
        (&json!(["no-wide-ssh"]), &json!(["from 203.0.112.0/24"]))
    );
    // Both would have to change: no change alone helps.
    let both = explain("PT2H", "203.0.112.0/20").await;
    assert_eq!((&both["policies"], &both["nearest"]), (&json!(["an-hour", "no-wide-ssh"]), &json!([])));
    it.place.pass(SignedDuration::from_hours(20));
    let weekend = explain("PT30M", "203.0.113.9").await;
    assert_eq!(weekend["nearest"], json!(["at 2027-01-18T00:00:00Z"]), "{weekend}");
    assert_eq!(weekend.get("permitted_by"), None);
    // A request that is made is refused without a search.
    let asked = it.call(&ann, "POST", "/v1/requests", Some(ask(&here, "PT30M", "203.0.113.9"))).await;
    assert!(!said(&asked).contains("it would pass"), "{asked:?}");
}

#[tokio::test]
async fn a_permit_gives_what_no_role_gives_also_by_the_groups_of_an_identity_provider() {
    let key = Key::ec("e");
    let idp = Idp::with(&[&key]).await;
    let settings = idp.settings("", "prefix = 'corp:'\ngroups = 'groups'");
    let it = Scene::of(Place::believing(&settings)).await;
    let here = it.place.guard("web-1", &ssh()).await;
    let token = |name: &str, group: &str| {
        let mut claims = idp.claims(name, it.place.now().as_second());
        claims["groups"] = json!([group]);
        key.token(&claims)
    };
    let (ann, bob) = (token("ann@corp.example", "ops"), token("bob@corp.example", "sales"));
    for role in Role::ALL.iter().filter(|it| **it != Role::Operator) {
        let body = json!({ "role": role, "member": "everyone", "on": "everything" });
        assert_eq!(it.call(&it.operator, "POST", "/v1/roles/revoke", Some(body)).await.status, 200);
    }
    let asking = ask(&here, "PT1H", "203.0.113.9");
    assert_eq!(codes(&it.call(&ann, "POST", "/v1/requests", Some(asking.clone())).await), ["not-permitted"]);
    it.applied("permit (principal in Group::\"corp:ops\", action in [Action::\"read\", Action::\"request\", Action::\"open-without-approval\"], resource);").await;
    let granted = it.call(&ann, "POST", "/v1/requests", Some(asking.clone())).await;
    assert_eq!(
        (granted.status.as_u16(), &granted.body["request"]["state"]),
        (202, &json!("approved")),
        "{granted:?}"
    );
    assert_eq!(codes(&it.call(&bob, "POST", "/v1/requests", Some(asking)).await), ["not-permitted"]);
    let seen = async |token: &str| {
        let listed = it.call(token, "GET", "/v1/targets", None).await;
        listed.body["items"].as_array().map_or(0, Vec::len)
    };
    assert!(0 < seen(&ann).await && seen(&bob).await == 0);
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_refuses_what_it_is_asked_about() {
    let it = Scene::new().await;
    let here = it.place.guard("web-1", &ssh()).await;
    let ann = it.place.token("ann").await;
    it.applied("@id(\"overflow\") forbid (principal, action == Action::\"request\", resource) when { context has minutes && context.minutes * 9000000000000000000 > 1 };").await;
    let refused = it.call(&ann, "POST", "/v1/requests", Some(ask(&here, "PT1H", "203.0.113.9"))).await;
    assert_eq!(codes(&refused), ["not-permitted"], "{refused:?}");
    assert!(
        said(&refused).contains("policy `overflow`: ") && !said(&refused).contains("forbidden"),
        "{refused:?}"
    );
    assert_eq!(it.call(&ann, "GET", "/v1/grants", None).await.status, 200, "it is not asked about that");
}

#[tokio::test]
async fn a_server_that_reads_no_policies_refuses_whatever_they_would_be_asked_about() {
    let it = Scene::new().await;
    it.applied(BOUNDS).await;
    let (terms, rights) = (Terms::default(), Rights::of(person("operator")));
    let (store, call) = (it.place.store(), door::call(&person("operator"), it.place.now()));
    let parts = Parts { store, outside: &Absent, tokens: &Absent, terms: &terms, rights: &rights };
    let refused = |why: &Refusals| matches!(why.iter().next(), Some(Refusal::PoliciesUnread { .. }));
    let shown = perform(parts, &call, query::Roles).await.expect_err("refused");
    assert!(matches!(&shown, Error::Refused(why) if refused(why)), "{shown:?}");
    assert!(shown.full().contains("built without the feature `policy`"), "{}", shown.full());
    let role = Binding { role: Role::Reader, member: named("person:ann"), scope: Scope::Everything };
    let granted = perform(parts, &call, command::GrantRole { binding: role }).await.expect_err("refused");
    assert!(matches!(&granted, Error::Refused(why) if refused(why)), "{granted:?}");
    perform(parts, &call, query::Whoami).await.expect("no policy is asked who one is");
    // One that is stored and cannot be read any more is in the way too.
    let mut authority = store.authority().await.expect("loads").expect("is there");
    authority.policies.files.insert("old.cedar".to_owned(), "permit".to_owned());
    authority.changed = authority.changed.map(|it| PoliciesAt { version: 2, ..it });
    let (_, rest) =
        store.rest().await.expect("loads").append(&Chain::rest(), it.place.now(), [Fact::DriftHealed]);
    store.commit(Batch { rest, authority: Some(authority), ..Batch::default() }).await.expect("committed");
    let roles = it.call(&it.operator, "GET", "/v1/roles", None).await;
    assert_eq!((roles.status.as_u16(), codes(&roles)), (403, vec!["policies-unread"]), "{roles:?}");
}

/// Property: adding a forbid never turns a refusal into an approval, as a server decides.
#[tokio::test]
async fn one_more_forbid_never_turns_a_refusal_into_an_approval() {
    const PERMITS: [&str; 2] = ["", "permit (principal == Person::\"ann\", action, resource);\n"];
    const FORBIDS: [&str; 4] = [
        "forbid (principal, action == Action::\"request\", resource) when { context has minutes && context.minutes > 30 };\n",
        "forbid (principal, action, resource is Machine) when { context has port && context.port == 22 };\n",
        "forbid (principal, action == Action::\"request\", resource) unless { context has reason };\n",
        "forbid (principal in Person::\"ann\", action == Action::\"request\", resource) when { context has minutes && context.minutes * 9000000000000000 > 1 && principal is Platform };\n",
    ];
    let it = Scene::new().await;
    let here = it.place.guard("web-1", &ssh()).await;
    let ann = it.place.token("ann").await;
    let roles = json!({ "role": "requester", "member": "everyone", "on": "everything" });
    let answers = async || {
        let mut answers = vec![];
        for length in ["PT30M", "PT3H"] {
            let explained =
                it.call(&ann, "POST", "/v1/requests/explain", Some(ask(&here, length, "203.0.113.9"))).await;
            answers.push(explained.body["answer"] != "refused");
        }
        answers
    };
    let mut seen = [false, false];
    for with_role in [true, false] {
        let path = if with_role { "/v1/roles" } else { "/v1/roles/revoke" };
        it.call(&it.operator, "POST", path, Some(roles.clone())).await;
        for permit in PERMITS {
            let (mut text, mut before) = (permit.to_owned(), vec![true; 2]);
            for forbid in [&[""], &FORBIDS[..]].concat() {
                text.push_str(forbid);
                it.applied(&text).await;
                let now = answers().await;
                assert!(
                    before.iter().zip(&now).all(|(before, now)| *before || !now),
                    "{text}: {before:?}, {now:?}"
                );
                for it in &now {
                    seen[usize::from(*it)] = true;
                }
                before = now;
            }
        }
    }
    assert_eq!(seen, [true, true], "some were refused, and some were not");
}
