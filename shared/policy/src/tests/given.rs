//! Questions and bindings for tests: few names, in several spellings, so that they often meet.

use jiff::Timestamp;
use portcullis_domain::{
    Authority, Binding, Circumstances, Facts, Member, Object, Os, Person, PrincipalKind, Question, Right,
    Role, Scope, Subject,
};
use proptest::{
    collection::{btree_map, btree_set},
    option,
    prelude::*,
    sample::select,
};
use std::{fmt::Debug, str::FromStr};

/// Names: the first two are one person, and so is the third, whose first letter is Cyrillic.
const NAMES: [&str; 5] = ["ann", "Ann", "\u{430}nn", "bob", "ci\\deploy\"1"];
const GROUPS: [&str; 3] = ["ops", "Ops", "d\"b\\a {*}"];
const MACHINES: [&str; 4] = [
    "/subscriptions/s1/resourcegroups/rg-a/providers/microsoft.compute/virtualmachines/web-1",
    "/subscriptions/s1/resourcegroups/rg-b/providers/microsoft.compute/virtualmachines/web-1",
    "/subscriptions/s2/resourcegroups/rg-a/providers/microsoft.compute/virtualmachines/db-1",
    "Web-1",
];
const SOURCES: [&str; 6] =
    ["203.0.113.9/32", "203.0.113.0/24", "::ffff:203.0.113.9/128", "2001:db8::/32", "0.0.0.0/0", "::/0"];
const TEXTS: [&str; 4] = ["INC-1", "", "a \"quoted\" \\ reason*", "\u{e9}\u{0}"];

pub fn of<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn one<T: FromStr<Err: Debug> + Clone + Debug + 'static>(
    texts: &'static [&'static str],
) -> impl Strategy<Value = T> {
    select(texts).prop_map(|it| of(it))
}

pub fn member() -> impl Strategy<Value = Member> {
    prop_oneof![
        Just(Member::Everyone),
        one::<Person>(&NAMES).prop_map(Member::Person),
        one::<Person>(&NAMES).prop_map(Member::Workload),
        select(&GROUPS[..]).prop_map(|it| Member::Group(it.to_owned())),
    ]
}

pub fn scope() -> impl Strategy<Value = Scope> {
    let text = |all: &'static [&'static str]| select(all).prop_map(str::to_owned);
    prop_oneof![
        Just(Scope::Everything),
        text(&["s1", "s2"]).prop_map(Scope::Account),
        (text(&["s1", "s2"]), text(&["rg-a", "rg-b"]))
            .prop_map(|(account, group)| Scope::ResourceGroup { account, group }),
        (text(&["stage", "o\"wner"]), text(&["prod", "p\\rod"]))
            .prop_map(|(key, value)| Scope::Tag { key, value }),
        one(&MACHINES).prop_map(Scope::Target),
    ]
}

pub fn binding() -> impl Strategy<Value = Binding> {
    (select(Role::ALL), member(), scope()).prop_map(|(role, member, scope)| Binding { role, member, scope })
}

/// An authority of some bindings, and the operator of the installation if it names one.
pub fn authority() -> impl Strategy<Value = (Authority, Option<Person>)> {
    let bindings = btree_set(binding(), 0..8);
    (bindings, option::weighted(0.3, one(&NAMES)))
        .prop_map(|(bindings, operator)| (Authority { bindings, ..Authority::default() }, operator))
}

fn subject() -> impl Strategy<Value = Subject> {
    let groups = btree_set(select(&GROUPS[..]).prop_map(str::to_owned), 0..3);
    let claims = btree_map(Just("department".to_owned()), select(&TEXTS[..]).prop_map(str::to_owned), 0..2);
    let issuer = select(&["tokens", "https://idp.example.org"][..]);
    (select(&PrincipalKind::ALL[..]), one(&NAMES), groups, claims, issuer).prop_map(
        |(kind, name, groups, claims, issuer)| Subject {
            kind,
            name,
            issuer: issuer.to_owned(),
            groups,
            claims,
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    let tags = btree_map(
        select(&["stage", "o\"wner"][..]).prop_map(str::to_owned),
        select(&["prod", "p\\rod", "dev"][..]).prop_map(str::to_owned),
        0..3,
    );
    let os = option::of(select(&[Os::Linux, Os::Windows][..]));
    let machine = (one(&MACHINES), tags, os, option::of(select(&["nsg", "nftables"][..])));
    let machine = machine.prop_map(|(id, tags, os, guard)| {
        let facts = Facts { tags, os, guard: guard.map(str::to_owned), ..Facts::of(&id) };
        Object::Machine(Box::new(facts))
    });
    prop_oneof![1 => Just(Object::Installation), 5 => machine]
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let text = || option::of(select(&TEXTS[..]).prop_map(str::to_owned));
    let port = option::of(select(&[22, 3389, 1, u16::MAX][..]));
    let numbers = (option::of(0..2_000_i64), option::of(0..100_000_i64));
    let source = option::of(one(&SOURCES));
    let now = (0..4_000_000_000_i64).prop_map(|it| Timestamp::from_second(it).expect("a time"));
    let channel = select(&["http", "cli", "bot"][..]);
    let told = (channel, text(), option::of(select(&["tcp", "udp", "*"][..])), text(), text());
    (now, told, port, source, numbers, any::<bool>(), any::<bool>()).prop_map(
        |(
            now,
            (channel, bot, protocol, reason, ticket),
            port,
            source,
            (minutes, minutes_ahead),
            break_glass,
            is_own,
        )| {
            let (channel, protocol) = (channel.to_owned(), protocol.map(str::to_owned));
            Circumstances {
                now,
                channel,
                bot,
                port,
                protocol,
                source,
                minutes,
                minutes_ahead,
                reason,
                ticket,
                break_glass,
                is_own,
            }
        },
    )
}

pub fn question() -> impl Strategy<Value = Question> {
    (subject(), select(Right::ALL), object(), circumstances()).prop_map(
        |(subject, right, object, circumstances)| Question { subject, right, object, circumstances },
    )
}
