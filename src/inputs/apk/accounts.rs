//! Users and groups: those of the packages' own `etc/passwd` and `etc/group`, and those that the base adds.
//!
//! Archives name the owner of each file and give a number too; the number is that of the machine that built the package.
//! apk goes by the name where the root knows it, and so do we. What the scripts of packages would do with `adduser` and
//! `addgroup`, a base definition declares as `[[users]]` and `[[groups]]`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::archive::ArchiveEntry;
use crate::base::{Accounts, Group, User};

/// The files that hold accounts, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountFiles {
    pub(super) passwd: String,
    pub(super) group: String,
    pub(super) shadow: String,
}

/// An account that cannot be added to those of the packages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("the base adds the {kind} `{name}`, which its packages bring: leave it out of the definition")]
    Exists { kind: &'static str, name: String },
    #[error("the base adds the {kind} `{name}` with the number {id}, which is `{other}`'s: give it another number")]
    Number { kind: &'static str, name: String, id: u32, other: String },
    #[error("the base adds the user `{user}` to the group `{group}`, which does not exist: add it as [[groups]]")]
    NoGroup { user: String, group: String },
    #[error("the base puts `{member}` into the group `{group}`, but there is no such user: add it as [[users]]")]
    NoMember { member: String, group: String },
}

impl AccountFiles {
    /// These files with a base's own accounts at their ends.
    pub(super) fn with(mut self, added: &Accounts) -> Result<Self, AccountError> {
        if added.is_empty() {
            return Ok(self);
        }
        for text in [&mut self.passwd, &mut self.group, &mut self.shadow] {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        for Group { name, gid, members } in &added.groups {
            check("group", &self.group, name, *gid)?;
            // Writing to a String cannot fail.
            let _ = writeln!(self.group, "{name}:x:{gid}:{}", members.join(","));
        }
        let groups = numbers(&self.group);
        for User { name, uid, group, comment, home, shell, .. } in &added.users {
            check("user", &self.passwd, name, *uid)?;
            let gid = groups
                .get(group.as_str())
                .ok_or_else(|| AccountError::NoGroup { user: name.clone(), group: group.clone() })?;
            let _ = writeln!(self.passwd, "{name}:x:{uid}:{gid}:{comment}:{home}:{shell}");
            // Locked, and without the day of its last change, so that two builds on two days are alike.
            let _ = writeln!(self.shadow, "{name}:!::0:::::");
        }
        let users = numbers(&self.passwd);
        let lost = added.groups.iter().find_map(|group| {
            let member = group.members.iter().find(|member| !users.contains_key(member.as_str()))?;
            Some(AccountError::NoMember { member: member.clone(), group: group.name.clone() })
        });
        lost.map_or(Ok(self), Err)
    }
}

/// Whether an account's name and number are free in a file.
fn check(kind: &'static str, file: &str, name: &str, id: u32) -> Result<(), AccountError> {
    let numbers = numbers(file);
    if numbers.contains_key(name) {
        return Err(AccountError::Exists { kind, name: name.to_owned() });
    }
    match numbers.into_iter().find(|(_, other)| *other == id) {
        Some((other, _)) => Err(AccountError::Number { kind, name: name.to_owned(), id, other: other.to_owned() }),
        None => Ok(()),
    }
}

/// Name and number are the first and third field of both files. Lines that are no accounts are passed over, as the C
/// library does; of two lines for one name the first counts.
fn numbers(text: &str) -> BTreeMap<&str, u32> {
    let mut numbers = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            numbers.entry(name).or_insert(id);
        }
    }
    numbers
}

/// The numbers of the owners that archives name.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Owners {
    pub(super) fn new(files: &AccountFiles) -> Self {
        let owned = |text| numbers(text).into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
        Self { users: owned(&files.passwd), groups: owned(&files.group) }
    }

    /// User and group of an entry: by name where it is known, else as the archive numbers them.
    pub(super) fn of(&self, entry: &ArchiveEntry) -> (u32, u32) {
        (self.user(&entry.user).unwrap_or(entry.uid), self.group(&entry.group).unwrap_or(entry.gid))
    }

    pub(super) fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    pub(super) fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> AccountFiles {
        AccountFiles {
            passwd: "root:x:0:0:root:/root:/bin/ash\n# no\nsshd:x:22:22::/:/bin/false".to_owned(),
            group: "root:x:0:root\nshadow:x:42:\nx\n".to_owned(),
            shadow: String::new(),
        }
    }

    fn user(name: &str, uid: u32, group: &str) -> User {
        let text = str::to_owned;
        let (name, group) = (text(name), text(group));
        let (home, shell) = (text("/var/lib/chrony"), text("/sbin/nologin"));
        User { name, uid, group, comment: text("Time"), home, create_home: false, shell }
    }

    fn group(name: &str, gid: u32, members: &[&str]) -> Group {
        Group { name: name.to_owned(), gid, members: members.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn numbers_are_found_by_name() {
        let owners = Owners::new(&files());
        assert_eq!((owners.user("sshd"), owners.group("shadow")), (Some(22), Some(42)));
        assert_eq!((owners.user("shadow"), owners.group("sshd")), (None, None));
    }

    #[test]
    fn added_accounts_stand_at_the_end() {
        let added =
            Accounts { users: vec![user("chrony", 123, "chrony")], groups: vec![group("chrony", 124, &["sshd"])] };
        let with = files().with(&added).unwrap();
        assert!(
            with.passwd.ends_with("sshd:x:22:22::/:/bin/false\nchrony:x:123:124:Time:/var/lib/chrony:/sbin/nologin\n")
        );
        assert!(with.group.ends_with("x\nchrony:x:124:sshd\n"));
        assert_eq!(with.shadow, "chrony:!::0:::::\n");
        assert_eq!(Owners::new(&with).user("chrony"), Some(123));
        assert_eq!(files().with(&Accounts::default()).unwrap(), files());
    }

    #[test]
    fn accounts_that_are_there_or_lack_something_are_refused() {
        let cases = [
            (vec![user("sshd", 900, "root")], vec![], "the user `sshd`, which its packages bring"),
            (vec![user("a", 22, "root")], vec![], "the user `a` with the number 22, which is `sshd`'s"),
            (vec![user("a", 900, "a")], vec![], "the group `a`, which does not exist"),
            (vec![], vec![group("shadow", 900, &[])], "the group `shadow`, which its packages bring"),
            (vec![], vec![group("a", 42, &[])], "the group `a` with the number 42, which is `shadow`'s"),
            (vec![], vec![group("a", 900, &["b"])], "`b` into the group `a`, but there is no such user"),
        ];
        for (users, groups, expected) in cases {
            let error = files().with(&Accounts { users, groups }).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
