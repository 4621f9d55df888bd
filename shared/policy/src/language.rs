//! Cedar, as servers read it.

use crate::{
    Engine,
    fault::Faults,
    file::{self, Written, check},
    known::Known,
    schema::Type,
};
use jiff::tz::TimeZone;
use portcullis_domain::{Authority, Decide, Language, Person, Policies, PolicyRead};
use std::{collections::BTreeMap, sync::Arc};

/// The language of policy files, with the schema of this version.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cedar;

impl Language for Cedar {
    fn read(&self, policies: &Policies) -> Result<BTreeMap<String, PolicyRead>, Vec<String>> {
        zone(policies).map_err(|fault| vec![fault])?;
        let faults = |Faults(all): Faults| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        check(&policies.files, &Known::default()).map_err(faults)?;
        let read = file::read(&policies.files).map_err(faults)?;
        Ok(read.iter().map(|it| (it.id.clone(), named(it))).collect())
    }

    fn engine(&self, authority: &Authority, operator: Option<&Person>) -> Result<Arc<dyn Decide>, String> {
        let engine = Engine::of_checked(authority, operator, zone(&authority.policies)?);
        engine.map(|it| Arc::new(it) as Arc<dyn Decide>).map_err(|faults| faults.to_string())
    }
}

/// The time zone that these policies go by.
fn zone(policies: &Policies) -> Result<TimeZone, String> {
    let Some(name) = &policies.zone else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| format!("`{name}` is not a time zone, such as `Europe/Berlin`"))
}

fn named(written: &Written) -> PolicyRead {
    let mut read =
        PolicyRead { text: written.policy.to_cedar().unwrap_or_default(), ..PolicyRead::default() };
    for entity in written.policy.entity_literals() {
        let id: &str = entity.id().unescaped();
        match Type::of(&entity) {
            Some(Type::Person | Type::Bot) => read.people.extend(id.parse::<Person>()),
            Some(Type::Machine) => read.machines.extend(id.parse()),
            // Who these are is their issuer's to say.
            Some(Type::Workload | Type::Group | Type::Platform | Type::Action | Type::Installation)
            | None => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::given::of;

    fn policies(zone: &str, text: &str) -> Policies {
        Policies { zone: Some(zone.to_owned()), files: [("a.cedar".to_owned(), text.to_owned())].into() }
    }

    #[test]
    fn reading_policies_names_each_with_the_people_and_machines_in_it() {
        let text = r#"// a comment
@id("one") permit (principal == Person::"Ann", action, resource == Machine::"web-1");
forbid (principal in Group::"ops", action, resource);"#;
        let read = Cedar.read(&policies("UTC", text)).expect("valid");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a.cedar#2", "one"]);
        assert_eq!(read["one"].people, [of("ann")].into());
        assert_eq!(read["one"].machines, [of("web-1")].into());
        assert!(read["one"].text.starts_with("@id"), "{:?}", read["one"]);
        assert!(read["a.cedar#2"].people.is_empty());
    }

    #[test]
    fn faults_of_policies_are_told_with_their_places_and_an_unknown_time_zone_by_its_name() {
        let faults = Cedar.read(&policies("UTC", "permit (principal, action == Action::\"fly\", resource);"));
        let faults = faults.expect_err("no such action");
        assert!(faults[0].starts_with("a.cedar:1:30: "), "{faults:?}");
        let faults = Cedar.read(&policies("Mars/Olympus", "")).expect_err("no such zone");
        assert_eq!(faults, ["`Mars/Olympus` is not a time zone, such as `Europe/Berlin`"]);
        let authority = Authority { policies: policies("Mars/Olympus", ""), ..Authority::default() };
        assert!(Cedar.engine(&authority, None).is_err());
    }
}
