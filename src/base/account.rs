//! Users and groups that a base has beside those of its packages.

/// A user, as one line of `etc/passwd`. Nobody can log in as one: it has no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    /// The name of the user's own group.
    pub group: String,
    /// Who or what the user is; may be empty.
    pub comment: String,
    /// An absolute path.
    pub home: String,
    /// Whether the home is made, or given to the user where a package brings it.
    pub create_home: bool,
    pub shell: String,
}

/// A group, as one line of `etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub gid: u32,
    /// The names of users that are in it beside those whose own group it is.
    pub members: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub users: Vec<User>,
    pub groups: Vec<Group>,
}

impl Accounts {
    pub const fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }
}
