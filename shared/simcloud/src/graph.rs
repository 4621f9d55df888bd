//! Azure Resource Graph: the few queries that list resources by type.

use crate::{cloud::Cloud, refused::Refused};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How many rows an answer has where the caller does not say, and at most.
const TOP_MAX: usize = 1000;

#[derive(Deserialize)]
struct Body {
    subscriptions: Option<Vec<String>>,
    query: String,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(rename = "$top")]
    top: Option<usize>,
    #[serde(rename = "$skip")]
    skip: Option<usize>,
    #[serde(rename = "$skipToken")]
    skip_token: Option<String>,
    #[serde(rename = "resultFormat")]
    format: Option<String>,
}

/// A query that was understood.
struct Query {
    /// Of these types; none, where nothing was said of them yet.
    types: Option<Vec<String>>,
    /// The columns, each with the path of its value; all of them where none is named.
    columns: Vec<(String, Vec<String>)>,
    is_descending: bool,
}

/// Answers a query, a page at a time, its rows as objects.
pub fn answer(cloud: &Cloud, body: &[u8]) -> Result<Value, Refused> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refused::bad("BadRequest", format!("Cannot parse the request: {error}")))?;
    if body.options.format.as_ref().is_some_and(|it| !it.eq_ignore_ascii_case("objectArray")) {
        return Err(Refused::bad("BadRequest", "Only the result format `objectArray` is simulated."));
    }
    let query = Query::of(&body.query)?;
    let is_asked = |it: &String| it.eq_ignore_ascii_case(&cloud.subscription);
    let sees_us = body.subscriptions.as_ref().is_none_or(|it| it.iter().any(is_asked));
    let resources = cloud.resources.iter().filter(|(_, it)| {
        sees_us && query.types.iter().flatten().any(|name| name.eq_ignore_ascii_case(it.kind.name()))
    });
    let mut rows: Vec<_> = resources.collect();
    if query.is_descending {
        rows.reverse();
    }
    let token = body.options.skip_token.as_deref().map(str::parse).transpose();
    let token = token.map_err(|_| Refused::bad("BadRequest", "The skip token is not one of ours."))?;
    let skip: usize = token.or(body.options.skip).unwrap_or(0);
    let page =
        body.options.top.unwrap_or(TOP_MAX).clamp(1, TOP_MAX).min(cloud.faults.page_size.max(1).into());
    let (total, next) = (rows.len(), skip.saturating_add(page));
    let rows = cloud.shown_all(rows.into_iter().skip(skip).take(page).collect());
    let data: Vec<Value> = rows.into_iter().map(|it| query.project(row(cloud, it))).collect();
    let mut answer = json!({
        "totalRecords": total, "count": data.len(), "data": data, "facets": [], "resultTruncated": "false",
    });
    if next < total {
        answer["$skipToken"] = json!(next.to_string());
    }
    Ok(answer)
}

/// A resource as a row: its type and group in lower case, as Azure's are.
fn row(cloud: &Cloud, mut body: Value) -> Value {
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    body["type"] = json!(body["type"].as_str().unwrap_or_default().to_ascii_lowercase());
    body["resourceGroup"] = json!(id.split('/').nth(4).unwrap_or_default().to_ascii_lowercase());
    body["subscriptionId"] = json!(cloud.subscription);
    body["tenantId"] = json!(cloud.tenant);
    body
}

impl Query {
    /// `Resources | where type =~ '…'`, or `type in~ ('…', '…')`, or several such joined by `or`; then
    /// `project` or `order by id`.
    fn of(text: &str) -> Result<Self, Refused> {
        let refused = || Refused::bad("BadRequest", format!("This query is not simulated: `{text}`"));
        let mut stages = text.split('|').map(str::trim);
        let table = stages.next().unwrap_or_default();
        if !table.eq_ignore_ascii_case("resources") {
            return Err(refused());
        }
        let mut query = Self { types: None, columns: vec![], is_descending: false };
        for stage in stages {
            let (verb, rest) = stage.split_once(char::is_whitespace).ok_or_else(refused)?;
            let rest = rest.trim();
            match verb.to_ascii_lowercase().as_str() {
                "where" if query.types.is_none() => query.types = Some(types(rest).ok_or_else(refused)?),
                "project" if query.columns.is_empty() => query.columns = columns(rest).ok_or_else(refused)?,
                "order" | "sort" => {
                    let words: Vec<String> = rest.split_whitespace().map(str::to_ascii_lowercase).collect();
                    query.is_descending = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                        ["by", "id", "asc"] => false,
                        // Without a word, Kusto sorts downwards.
                        ["by", "id"] | ["by", "id", "desc"] => true,
                        _ => return Err(refused()),
                    };
                }
                _ => return Err(refused()),
            }
        }
        if query.types.is_none() { Err(refused()) } else { Ok(query) }
    }

    fn project(&self, row: Value) -> Value {
        if self.columns.is_empty() {
            return row;
        }
        let value = |path: &[String]| path.iter().fold(&row, |value, name| &value[name.as_str()]).clone();
        let columns = self.columns.iter().map(|(name, path)| (name.clone(), value(path)));
        Value::Object(columns.collect::<Map<_, _>>())
    }
}

/// The types of conditions such as `type =~ 'a'` or `type in~ ('a', 'b')`, joined by `or`.
fn types(conditions: &str) -> Option<Vec<String>> {
    let conditions = match conditions.strip_prefix('(').and_then(|it| it.strip_suffix(')')) {
        Some(inner) => inner.trim(),
        None => conditions,
    };
    // What is quoted is the name of a type: ` or ` cannot be in one.
    let mut types = vec![];
    let mut rest = conditions;
    while let Some(at) = rest.to_ascii_lowercase().find(" or ") {
        types.extend(types_of_one(rest[..at].trim())?);
        rest = &rest[at + " or ".len()..];
    }
    types.extend(types_of_one(rest.trim())?);
    Some(types)
}

/// The types of one condition.
fn types_of_one(condition: &str) -> Option<Vec<String>> {
    let rest = condition.strip_prefix("type")?.trim_start();
    let listed = |it: &str| -> Option<Vec<String>> {
        let list = it.trim().strip_prefix('(')?.strip_suffix(')')?;
        list.split(',').map(quoted).collect()
    };
    // Without a tilde case counts, and types are kept in lower case.
    let exact = |mut it: Vec<String>| {
        it.retain(|name| !name.contains(|c: char| c.is_ascii_uppercase()));
        it
    };
    if let Some(one) = rest.strip_prefix("=~") {
        Some(vec![quoted(one)?])
    } else if let Some(one) = rest.strip_prefix("==") {
        Some(exact(vec![quoted(one)?]))
    } else if let Some(many) = rest.strip_prefix("in~") {
        listed(many)
    } else {
        listed(rest.strip_prefix("in")?).map(exact)
    }
}

fn quoted(text: &str) -> Option<String> {
    let text = text.trim();
    let unquoted = |mark| text.strip_prefix(mark).and_then(|it| it.strip_suffix(mark));
    let inner = unquoted('\'').or_else(|| unquoted('"'))?;
    (!inner.contains(['\'', '"'])).then(|| inner.to_owned())
}

/// Columns such as `id, nics = properties.networkProfile.networkInterfaces`.
fn columns(list: &str) -> Option<Vec<(String, Vec<String>)>> {
    let is_word = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let column = |text: &str| {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name.trim().to_owned(), path.trim()),
            None => (text.trim().replace('.', "_"), text.trim()),
        };
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        (is_word(&name) && path.iter().all(|it| is_word(it))).then_some((name, path))
    };
    list.split(',').map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_types() {
        let names = |text: &str| types(text).map(|it| it.join(" "));
        for (text, wanted) in [
            ("type =~ 'A/b'", Some("A/b")),
            ("type == 'a/b'", Some("a/b")),
            ("type == 'A/b'", Some("")),
            ("type in~ ('A/b', \"c/d\")", Some("A/b c/d")),
            ("type in ('A/b', 'c/d')", Some("c/d")),
            ("type =~ 'a/b' or type in~ ('c/d','e/f') OR type == 'g/h'", Some("a/b c/d e/f g/h")),
            ("(type =~ 'a/b' or type =~ 'c/d')", Some("a/b c/d")),
            ("type =~ 'a/b' or name =~ 'c'", None),
            ("type =~ 'a/b' and type =~ 'c/d'", None),
            ("type =~ a/b", None),
            ("types =~ 'a/b'", None),
            ("type != 'a/b'", None),
        ] {
            assert_eq!(names(text).as_deref(), wanted, "{text}");
        }
    }
}
