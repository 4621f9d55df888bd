//! A question in Cedar's terms.

use crate::{
    binding::speaks_for,
    schema::{PARSED, Type, action, principal, resource},
};
use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use portcullis_domain::{Circumstances, Facts, Object, Question, Sources, Subject};
use serde_json::{Value, json};
use std::{collections::BTreeSet, error::Error, iter};

/// A question in Cedar's terms, checked against the schema.
#[derive(Debug)]
pub struct Asked {
    /// Who does what to what, and under which circumstances.
    pub request: Request,
    /// The caller and the machine.
    pub entities: Entities,
    /// The entities that a policy has to name in its scope if it names any.
    pub names: BTreeSet<EntityUid>,
}

/// A name with its value.
type Pair = (String, RestrictedExpression);

impl Asked {
    /// The question, with times in this zone.
    pub fn of(question: &Question, zone: &TimeZone) -> Result<Self, Box<dyn Error>> {
        let Question { subject, right: _, object, circumstances: _ } = question;
        let (who, what) = (principal(subject.kind, &subject.name), resource(object));
        let parents = parents(subject);
        let names = parents.iter().cloned().chain([who.clone(), what.clone()]).collect();
        let claims = subject.claims.iter().map(|(key, value)| text(key, value));
        let caller = Entity::new_with_tags(who, [], parents, claims)?;
        let entities = Entities::from_entities([caller, of_object(&what, object)?], Some(&PARSED))?;
        Ok(Self { request: request(question, zone)?, entities, names })
    }
}

/// The request of Cedar that a question is, checked against the schema, with times in this zone.
pub fn request(question: &Question, zone: &TimeZone) -> Result<Request, Box<dyn Error>> {
    let Question { subject, right, object, circumstances } = question;
    let context = Context::from_pairs(context(subject, circumstances, zone))?;
    let who = principal(subject.kind, &subject.name);
    Ok(Request::new(who, action(*right), resource(object), context, Some(&PARSED))?)
}

/// A question as other implementations of Cedar read it: an object with `request` and `entities` in Cedar's own JSON, times in this zone.
pub fn in_json(question: &Question, zone: &TimeZone) -> Result<Value, Box<dyn Error>> {
    let Asked { request, entities, names: _ } = Asked::of(question, zone)?;
    let uid = |it: Option<&EntityUid>| {
        it.map(|it| json!({ "type": it.type_name().to_string(), "id": it.id().unescaped() }))
    };
    let context = request.context().map(Context::to_json_value).transpose()?;
    let entities = entities.iter().filter(|it| Type::of(&it.uid()) != Some(Type::Action));
    let entities = entities.map(Entity::to_json_value).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "request": {
            "principal": uid(request.principal()),
            "action": uid(request.action()),
            "resource": uid(request.resource()),
            "context": context,
        },
        "entities": entities,
    }))
}

/// The groups of a caller, and the person whom they speak for. That person is named alone: a bot is in the groups that it has itself.
fn parents(subject: &Subject) -> BTreeSet<EntityUid> {
    let groups = subject.groups.iter().map(|it| Type::Group.entity(it));
    let person = speaks_for(subject.kind).then(|| Type::Person.entity(subject.name.folded()));
    groups.chain(person).collect()
}

fn of_object(uid: &EntityUid, object: &Object) -> Result<Entity, Box<dyn Error>> {
    let Object::Machine(facts) = object else { return Ok(Entity::with_uid(uid.clone())) };
    let Facts { id: _, provider, account, group, region, os, tags, guard } = facts.as_ref();
    let os = os.map(|it| it.word().to_owned());
    let known = [("account", account), ("group", group), ("region", region), ("os", &os), ("guard", guard)];
    let known = known.into_iter().filter_map(|(name, value)| Some(text(name, value.as_ref()?)));
    let attributes = iter::once(text("provider", provider)).chain(known);
    let tags = tags.iter().map(|(key, value)| text(key, value));
    Ok(Entity::new_with_tags(uid.clone(), attributes, [], tags)?)
}

fn context(subject: &Subject, circumstances: &Circumstances, zone: &TimeZone) -> Vec<Pair> {
    let Circumstances {
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
    } = circumstances;
    let here = now.to_zoned_datetime(zone.clone());
    let weekday = here.weekday().to_monday_one_offset().into();
    let minute_of_day = i64::from(here.hour()) * 60 + i64::from(here.minute());
    // As the firewalls see it: an IPv4 address in IPv6 clothes is one of IPv4, which a policy about IPv4 has to meet.
    let source = source.and_then(|it| Sources::of([it]).ranges().first().copied());
    let always = [
        text("channel", channel),
        text("issuer", &subject.issuer),
        number("weekday", weekday),
        number("minute_of_day", minute_of_day),
        ("break_glass".to_owned(), RestrictedExpression::new_bool(*break_glass)),
        ("is_own".to_owned(), RestrictedExpression::new_bool(*is_own)),
    ];
    let texts = [("bot", bot), ("protocol", protocol), ("reason", reason), ("ticket", ticket)];
    let numbers = [("port", port.map(i64::from)), ("minutes", *minutes), ("minutes_ahead", *minutes_ahead)];
    let texts = texts.into_iter().filter_map(|(name, value)| Some(text(name, value.as_ref()?)));
    let numbers = numbers.into_iter().filter_map(|(name, value)| Some(number(name, value?)));
    always.into_iter().chain(texts).chain(numbers).chain(source.into_iter().flat_map(network)).collect()
}

fn network(source: IpNet) -> [Pair; 3] {
    let family = match source {
        IpNet::V4(_) => 4,
        IpNet::V6(_) => 6,
    };
    let address = RestrictedExpression::new_ip(source.to_string());
    [("source".to_owned(), address), number("family", family), number("prefix", source.prefix_len().into())]
}

fn text(name: &str, value: &str) -> Pair {
    (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))
}

fn number(name: &str, value: i64) -> Pair {
    (name.to_owned(), RestrictedExpression::new_long(value))
}
