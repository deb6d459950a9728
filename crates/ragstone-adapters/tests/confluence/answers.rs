//! What the test's Confluence answers to a path.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::server::Ask;
use super::site::{Content, Site, Who};

/// Users or groups of a restriction that are told at once.
const NAMES_AT_ONCE: usize = 3;
/// Attachments that are told along with their page.
const FILES_AT_ONCE: usize = 2;

/// The answer; null where it is forbidden, none where there is nothing.
pub fn answer(site: &Site, ask: &Ask) -> Option<Value> {
    let parts: Vec<&str> = ask.path.trim_start_matches('/').split('/').collect();
    match (ask.cloud, parts.as_slice()) {
        (true, ["api", "v2", "spaces"]) => {
            let key = ask.value("keys")?;
            let found = site.spaces.get_key_value(key).map(|(key, space)| {
                let status = if space.archived { "archived" } else { "current" };
                json!({"id": space.id.to_string(), "key": key, "status": status, "name": "A space"})
            });
            Some(json!({"results": found.into_iter().collect::<Vec<_>>(), "_links": {}}))
        }
        (true, ["api", "v2", "spaces", id, "permissions"]) => {
            let space = site.spaces.values().find(|space| space.id.to_string() == *id)?;
            if space.untold {
                return Some(Value::Null);
            }
            let grants = space.readers.iter().flat_map(|who| {
                let (kind, id) = match who {
                    Who::User(id) => ("user", id.clone()),
                    Who::Group(name) => ("group", group_id(name)),
                    Who::Anonymous => ("access_class", "anonymous".into()),
                };
                [("read", "space"), ("create", "page")].map(|(key, target)| {
                    json!({"id": "1", "principal": {"type": kind, "id": id},
                        "operation": {"key": key, "targetType": target}})
                })
            });
            let mut grants: Vec<Value> = grants.collect();
            // Somebody who may write but not read, and a role that nobody here knows.
            grants.push(json!({"id": "2", "principal": {"type": "user", "id": "writer-only"},
                "operation": {"key": "create", "targetType": "page"}}));
            grants.push(json!({"id": "3", "principal": {"type": "role", "id": "r"},
                "operation": {"key": "read", "targetType": "space"}}));
            Some(ask.page(grants.into_iter(), |grant| grant))
        }
        (true, ["api", "v2", "spaces", id, plural @ ("pages" | "blogposts")]) => {
            let (key, _) = site.spaces.iter().find(|(_, space)| space.id.to_string() == *id)?;
            let listed = of(site, |content| {
                format!("{}s", content.kind) == *plural && content.space == *key && content.status == "current"
            });
            Some(ask.page(listed, |(id, content)| page_v2(site, id, content, false)))
        }
        (true, ["api", "v2", plural @ ("pages" | "blogposts")]) => {
            let ids = ask.query.get("id")?;
            let listed = of(site, |content| {
                format!("{}s", content.kind) == *plural && content.status == "current"
            });
            let listed = listed.filter(|(id, _)| ids.contains(&id.to_string()));
            Some(ask.page(listed, |(id, content)| page_v2(site, id, content, false)))
        }
        (true, ["api", "v2", "pages" | "blogposts" | "folders", id]) => {
            let (id, content) = one(site, id)?;
            let with_body = ask.value("body-format") == Some("storage");
            Some(page_v2(site, id, content, with_body))
        }
        (true, ["api", "v2", "pages" | "blogposts", id, "attachments"]) => {
            let files = hanging(site, id, "attachment");
            let shown = |(id, file): (u64, &Content)| {
                json!({"id": id.to_string(), "title": file.title, "status": "current", "mediaType": media(file),
                    "version": {"number": file.version}, "pageId": file.parent.unwrap().to_string(),
                    "downloadLink": link(id, file), "webuiLink": format!("/spaces/x/att{id}")})
            };
            Some(ask.page(files, shown))
        }
        (false, ["rest", "api", "space", key]) => {
            let space = site.spaces.get(*key)?;
            let status = if space.archived { "ARCHIVED" } else { "CURRENT" };
            Some(json!({"id": space.id, "key": key, "name": "A space", "status": status}))
        }
        (false, ["rest", "api", "space", key, "permissions"]) => {
            let space = site.spaces.get(*key)?;
            if space.untold {
                return Some(Value::Null);
            }
            let grants = space.readers.iter().map(|who| {
                let subject = match who {
                    Who::User(name) => {
                        json!({"type": "known", "username": name, "userKey": "k", "displayName": "N"})
                    }
                    Who::Group(name) => json!({"type": "group", "name": name, "displayName": name}),
                    Who::Anonymous => json!({"type": "anonymous", "displayName": "Anonymous"}),
                };
                json!({"operation": {"targetType": "space", "operationKey": "read"}, "subject": subject,
                    "spaceKey": key, "spaceId": space.id})
            });
            let mut grants: Vec<Value> = grants.collect();
            grants.push(json!({"operation": {"targetType": "page", "operationKey": "create"},
                "subject": {"type": "known", "username": "writer-only"}, "spaceKey": key, "spaceId": 1}));
            Some(json!(grants))
        }
        (false, ["rest", "api", "content"]) => {
            let (space, kind) = (ask.value("spaceKey")?, ask.value("type")?);
            let listed = of(site, |content| {
                content.space == space && content.kind == kind && content.status == "current"
            });
            Some(ask.page(listed, |(id, content)| content_v1(site, id, content, ask)))
        }
        (_, ["rest", "api", "content", "search"]) => {
            let cql = ask.value("cql")?;
            let found = of(site, |content| content.indexed && content.status == "current");
            let found = found.filter(|(_, content)| matches(cql, content));
            Some(ask.page(found, |(id, content)| content_v1(site, id, content, ask)))
        }
        (_, ["rest", "api", "content", id, "restriction", "byOperation", "read"]) => {
            let (_, content) = one(site, id)?;
            if content.untold {
                return Some(Value::Null);
            }
            let start = ask.value("start").and_then(|start| start.parse().ok()).unwrap_or(0);
            let limit = ask
                .value("limit")
                .and_then(|limit| limit.parse().ok())
                .unwrap_or(NAMES_AT_ONCE);
            Some(json!({"operation": "read", "restrictions": named(content, start, limit, ask.cloud)}))
        }
        (false, ["rest", "api", "content", id, "child", "attachment"]) => {
            let files = hanging(site, id, "attachment");
            Some(ask.page(files, |(id, file)| content_v1(site, id, file, ask)))
        }
        (false, ["rest", "api", "content", id]) => {
            let (id, content) = one(site, id)?;
            Some(content_v1(site, id, content, ask))
        }
        _ => None,
    }
}

fn group_id(name: &str) -> String {
    format!("id-of-{name}")
}

fn of(site: &Site, wanted: impl Fn(&Content) -> bool) -> impl Iterator<Item = (u64, &Content)> {
    let all = site.contents.iter().filter(move |(_, content)| wanted(content));
    all.map(|(id, content)| (*id, content))
}

fn one<'a>(site: &'a Site, id: &str) -> Option<(u64, &'a Content)> {
    let id = id.parse().ok()?;
    Some((id, site.contents.get(&id)?))
}

fn hanging<'a>(site: &'a Site, id: &str, kind: &'a str) -> impl Iterator<Item = (u64, &'a Content)> {
    let id = id.parse().ok();
    of(site, move |content| {
        content.kind == kind && content.parent == id && content.status == "current"
    })
}

fn matches(cql: &str, content: &Content) -> bool {
    let quoted = |field: &str| {
        let (_, rest) = cql.split_once(&format!("{field} = \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let kinds = match cql.contains("type = comment") {
        true => content.kind == "comment",
        false => matches!(content.kind, "page" | "blogpost"),
    };
    let container = cql
        .split_once("container = ")
        .map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
    kinds
        && quoted("space").is_none_or(|space| space == content.space)
        && quoted("label").is_none_or(|label| content.label == Some(label.as_str()))
        && container.is_none_or(|container: u64| content.parent == Some(container))
}

fn page_v2(site: &Site, id: u64, content: &Content, with_body: bool) -> Value {
    let parent = content.parent.map(|parent| (parent, site.contents[&parent].kind));
    let mut page = json!({
        "id": id.to_string(), "status": content.status, "title": content.title,
        "spaceId": site.spaces[&content.space].id.to_string(),
        "parentId": parent.map(|(id, _)| id.to_string()), "parentType": parent.map(|(_, kind)| kind),
        "version": {"number": content.version, "createdAt": "2026-01-01T00:00:00Z"},
        "body": {}, "_links": {"webui": webui(id, content)},
    });
    if with_body {
        page["body"]["storage"] = json!({"representation": "storage", "value": content.body});
    }
    page
}

fn webui(id: u64, content: &Content) -> String {
    format!(
        "/spaces/{}/pages/{id}/{}",
        content.space,
        content.title.replace(' ', "+")
    )
}

fn link(id: u64, file: &Content) -> String {
    format!(
        "/download/attachments/{}/{id}/x?version={}",
        file.parent.unwrap(),
        file.version
    )
}

fn media(file: &Content) -> &'static str {
    if file.title.ends_with(".png") {
        "image/png"
    } else {
        "text/plain"
    }
}

fn content_v1(site: &Site, id: u64, content: &Content, ask: &Ask) -> Value {
    let mut value = json!({"id": id.to_string(), "type": content.kind, "status": content.status,
        "title": content.title, "_links": {"webui": webui(id, content)}, "_expandable": {}});
    if content.kind == "attachment" {
        value["_links"]["download"] = json!(link(id, content));
        value["metadata"] = json!({"mediaType": media(content)});
    }
    if ask.expands("version") || content.kind == "attachment" {
        value["version"] = json!({"number": content.version});
    }
    if ask.expands("space") {
        let space = &site.spaces[&content.space];
        value["space"] = json!({"id": space.id, "key": content.space, "name": "A space"});
    }
    if ask.expands("container")
        && let Some(parent) = content.parent
    {
        value["container"] = json!({"id": parent.to_string()});
    }
    if ask.expands("ancestors") {
        let mut above = site.above(id);
        above.reverse();
        let above: Vec<Value> = above
            .iter()
            .map(|id| json!({"id": id.to_string(), "type": "page"}))
            .collect();
        value["ancestors"] = json!(above);
    }
    if ask.expands("body.storage") {
        value["body"] = json!({"storage": {"value": content.body, "representation": "storage"}});
    }
    if ask.expands("restrictions.read") && !content.untold {
        value["restrictions"] =
            json!({"read": {"operation": "read", "restrictions": named(content, 0, NAMES_AT_ONCE, ask.cloud)}});
    }
    if ask.expands("children.attachment") {
        let files: Vec<Value> = hanging(site, &id.to_string(), "attachment")
            .take(FILES_AT_ONCE)
            .map(|(id, file)| content_v1(site, id, file, ask))
            .collect();
        value["children"] = json!({"attachment": {"results": files, "start": 0, "limit": FILES_AT_ONCE,
            "size": files.len(), "_links": {}}});
    }
    value
}

/// A restriction, so many users and groups of it; empty where everybody may.
fn named(content: &Content, start: usize, limit: usize, cloud: bool) -> Value {
    let (none, limit) = (BTreeSet::new(), limit.min(NAMES_AT_ONCE));
    let who = content.restricted.as_ref().unwrap_or(&none);
    let (mut users, mut groups): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for who in who {
        match who {
            Who::User(name) => {
                let id = if cloud { "accountId" } else { "username" };
                users.push(json!({"type": "known", id: name, "userKey": "k", "displayName": "N"}));
            }
            Who::Group(name) => groups.push(json!({"type": "group", "name": name, "id": group_id(name)})),
            Who::Anonymous => {}
        }
    }
    let page = |all: Vec<Value>| {
        let results: Vec<Value> = all.into_iter().skip(start).take(limit).collect();
        json!({"size": results.len(), "results": results, "start": start, "limit": limit})
    };
    json!({"user": page(users), "group": page(groups)})
}
