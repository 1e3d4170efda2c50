//! `[[users]]` and `[[groups]]`: accounts that a base has beside those of its packages.

use super::super::read::Table;
use crate::base::{Accounts, Group, User};

/// Numbers that accounts may have: 65534 is `nobody`.
const IDS: std::ops::RangeInclusive<i64> = 0..=65533;

pub(super) fn read(table: &Table<'_>) -> Accounts {
    let groups = table.each("groups", read_group);
    let users = table.each("users", read_user);
    let twice = |names: Vec<&String>| {
        let mut names = names;
        names.sort();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
    };
    let doubled = [
        ("users", twice(users.iter().map(|user| &user.name).collect())),
        ("groups", twice(groups.iter().map(|group| &group.name).collect())),
    ];
    for (key, name) in doubled.into_iter().filter_map(|(key, name)| Some((key, name?))) {
        table.report("duplicate-account", format!("[[{key}]] names `{name}` twice"), None);
    }
    Accounts { users, groups }
}

fn read_user(table: &Table<'_>) -> Option<User> {
    let name = name(table, "name", "name = \"chrony\"");
    let uid = number(table, "uid", "uid = 123");
    let group = table.get("group").map_or_else(|| name.clone(), |_| self::name(table, "group", "group = \"chrony\""));
    let text = |key, default: &str| {
        let text = table.string(key).map_or_else(|| default.to_owned(), |text| text.value);
        let good = !text.contains(|c: char| c == ':' || c.is_control());
        if !good {
            table.report("invalid-value", format!("`{key}` holds a colon or a control character"), None);
        }
        good.then_some(text)
    };
    let (comment, home, shell) = (text("comment", ""), text("home", "/"), text("shell", "/sbin/nologin"));
    for (key, path) in [("home", &home), ("shell", &shell)] {
        let Some(path) = path else { continue };
        if !path.starts_with('/') {
            report_at(table, key, format!("`{key}` is no absolute path"), "begin it with `/`");
        } else if path.split('/').any(|part| part == "..") {
            report_at(table, key, format!("`{key}` has a part `..`"), "write the path that is meant");
        }
    }
    let create_home = table.boolean("create-home").unwrap_or(false);
    if create_home && home.as_deref() == Some("/") {
        let help = "write `home = \"/var/lib/...\"`".to_owned();
        table.report("invalid-value", "`create-home` needs a `home` of the user's own", Some(help));
    }
    Some(User { name: name?, uid: uid?, group: group?, comment: comment?, home: home?, create_home, shell: shell? })
}

/// Reports at the value of a key.
fn report_at(table: &Table<'_>, key: &'static str, message: String, help: &str) {
    if let Some(value) = table.get(key) {
        value.report("invalid-value", message, Some(help.to_owned()));
    }
}

fn read_group(table: &Table<'_>) -> Option<Group> {
    let name = name(table, "name", "name = \"chrony\"");
    let gid = number(table, "gid", "gid = 123");
    let members = table.list::<String>("members").unwrap_or_default();
    for member in members.iter().filter(|member| !is_name(&member.value)) {
        table.report("invalid-name", format!("`{}` is no name of a user", member.value), Some(HELP.to_owned()));
    }
    Some(Group { name: name?, gid: gid?, members: members.into_iter().map(|member| member.value).collect() })
}

const HELP: &str = "a name begins with a lowercase letter or `_` and has lowercase letters, digits, `_`, `-` and `.`, at \
                    most 32 of them";

fn name(table: &Table<'_>, key: &'static str, example: &str) -> Option<String> {
    let name = table.require(key, example)?.string()?.value;
    if !is_name(&name) {
        table.report("invalid-name", format!("`{name}` is no name of a user or group"), Some(HELP.to_owned()));
        return None;
    }
    Some(name)
}

fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    begins
        && name.len() <= 32
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
}

fn number(table: &Table<'_>, key: &'static str, example: &str) -> Option<u32> {
    table.require(key, example)?.integer(IDS).and_then(|id| u32::try_from(id).ok())
}
