use super::*;

const SOUND: &str = r#"
[[issuer]]
url = "https://idp.example/tenant"
audiences = ["portcullis"]

[issuer.people]
prefix = "corp:"
"#;

fn read(text: &str) -> Result<Settings, BadSettings> {
    Settings::read(text, &"operator".parse().expect("a name"))
}

fn why(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn file_without_more_than_it_needs_has_its_defaults() {
    let settings = read(SOUND).expect("sound");
    let issuer = &settings.0[0];
    assert_eq!(issuer.algorithms, [Algorithm::Rs256]);
    assert_eq!((issuer.leeway, issuer.is_clear), (SignedDuration::from_secs(30), false));
    let people = issuer.people.as_ref().expect("people");
    assert_eq!((people.name.as_str(), &people.groups), ("email", &None));
    assert_eq!(settings.names(), (vec!["corp:".to_owned()], false));
    assert!(read("").expect("no issuer").is_empty());
}

#[test]
fn field_that_cannot_be_meant_is_refused_with_what_would_be_accepted() {
    let with = |from: &str, to: &str| why(&SOUND.replacen(from, to, 1));
    for (from, to, said) in [
        ("audiences", "audience", "line 4: unknown field `audience`"),
        ("prefix", "prefixes", "unknown field `prefixes`"),
        ("[\"portcullis\"]", "[]", "`audiences` must name"),
        ("https://idp", "http://idp", "begins with `https://`"),
        ("tenant", "tenant?x=1", "no query"),
        ("prefix = \"corp:\"", "", "need a `prefix`"),
        ("corp:", "corp", "with a colon at the end"),
        ("corp:", "Corp:", "with a colon at the end"),
        ("corp:", "a:b:", "with a colon at the end"),
        ("corp:", "arn:", "with which other names begin"),
        ("prefix", "names = \"shared\"\nprefix", "both `prefix` and `names`"),
        ("prefix", "groups-form = \"list\"\nprefix", "`groups-form` needs `groups`"),
        ("[issuer.people]\nprefix = \"corp:\"", "", "it admits no caller"),
        ("audiences", "algorithms = [\"HS256\"]\naudiences", "`HS256` needs a secret"),
        ("audiences", "algorithms = [\"none\"]\naudiences", "`none` needs a secret"),
        ("audiences", "algorithms = [\"Ed25519\"]\naudiences", "sign with `EdDSA`"),
        ("audiences", "algorithms = []\naudiences", "leave it out"),
        ("audiences", "leeway = \"2m\"\naudiences", "0s to 1m"),
        ("audiences", "leeway = \"soon\"\naudiences", "`leeway`"),
    ] {
        let told = with(from, to);
        assert!(told.contains(said), "{to}: {told}");
    }
}

#[test]
fn two_issuers_never_give_one_name() {
    let two = |second: &str| why(&format!("{SOUND}\n[[issuer]]\naudiences = ['p']\n{second}"));
    let people = |rest: &str| two(&format!("url = 'https://b.example'\n[issuer.people]\n{rest}"));
    assert!(
        two("url = 'https://idp.example/tenant'\n[issuer.people]\nprefix = 'b:'").contains("there twice")
    );
    assert!(people("prefix = 'corp:'").contains("which another issuer has"));
    let shared =
        "\n[[issuer]]\nurl = 'https://c.example'\naudiences = ['p']\n[issuer.people]\nnames = 'shared'";
    assert!(people(&format!("names = 'shared'{shared}")).contains("one issuer at most"));
    let workload = |name: &str| {
        two(&format!("url = 'https://b.example'\n[[issuer.workload]]\nname = '{name}'\nsubject = 'x'"))
    };
    assert!(workload("corp:deploy").contains("begins as those of people do"));
    assert!(workload("deploy").contains("needs a beginning with a colon"));
    assert!(workload("AWS:deploy").contains("is the beginning of other names"));
    let twice = "url = 'https://b.example'\n[[issuer.workload]]\nname = 'ci:a'\nsubject = 'x'\n[[issuer.workload]]\nname = \
        'CI:A'\nsubject = 'y'";
    assert!(two(twice).contains("is taken"));
}

#[test]
fn workload_has_a_subject_that_is_not_every_one_and_an_audience_of_its_issuer() {
    let with = |rest: &str| why(&format!("{SOUND}\n[[issuer.workload]]\nname = 'ci:a'\n{rest}"));
    assert!(with("").contains("missing field `subject`"));
    assert!(with("subject = '**'").contains("takes every subject"));
    assert!(with("subject = 'x'\naudience = 'other'").contains("which `audiences` does not have"));
}
