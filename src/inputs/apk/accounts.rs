//! Users and groups by name, from `etc/passwd` and `etc/group`.
//!
//! Archives name the owner of each file and give a number too; the number is that of the machine that built the package.
//! apk goes by the name where the root knows it, and so do we.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// Reads the two files. Lines that are no accounts are passed over, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self { users: entries(passwd), groups: entries(group) }
    }

    /// The number of a user, if there is one of this name.
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }
}

/// Name and number are the first and third field of both files. Of two lines for one name the first counts.
fn entries(text: &str) -> BTreeMap<String, u32> {
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            entries.entry(name.to_owned()).or_insert(id);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        let accounts =
            Accounts::parse("root:x:0:0:root:/root:/bin/ash\n# no\nsshd:x:22:22::/:/bin/false\n", "shadow:x:42:\nx\n");
        assert_eq!((accounts.user("sshd"), accounts.group("shadow")), (Some(22), Some(42)));
        assert_eq!((accounts.user("shadow"), accounts.group("sshd")), (None, None));
    }
}
