//! What a machine has set for single hosts: the proxies and logins that its apt uses for its mirrors.
//!
//! They are for these addresses alone: a cache of Debian's packages is no proxy for the rest of the world.

/// See the module. The longest prefix of a URL decides.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    proxies: Vec<(String, Proxy)>,
    logins: Vec<Login>,
}

/// How addresses are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    Direct,
    /// The proxy's URL.
    Through(String),
}

#[derive(Clone)]
struct Login {
    prefix: String,
    user: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Hosts {
    /// Sets how the addresses below `prefix` are reached.
    pub fn reach(&mut self, prefix: &str, proxy: Proxy) {
        self.proxies.push((normal(prefix), proxy));
    }

    /// Sets what is said to the servers below `prefix`.
    pub fn login(&mut self, prefix: &str, user: &str, password: &str) {
        self.logins.push(Login { prefix: normal(prefix), user: user.to_owned(), password: password.to_owned() });
    }

    /// Every way that is set, each once.
    pub(super) fn ways(&self) -> Vec<&Proxy> {
        let mut ways: Vec<&Proxy> = Vec::new();
        for (_, way) in &self.proxies {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways
    }

    pub(super) fn proxy(&self, url: &str) -> Option<&Proxy> {
        longest(self.proxies.iter(), url, |(prefix, _)| prefix).map(|(_, proxy)| proxy)
    }

    /// User and password for a URL that has none.
    pub(super) fn credentials(&self, url: &url::Url) -> Option<(&str, &str)> {
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        longest(self.logins.iter(), url.as_str(), |login| &login.prefix)
            .map(|login| (login.user.as_str(), login.password.as_str()))
    }
}

/// A prefix as the URLs begin that are asked for: the host in lower case, without the port that its scheme has anyway.
fn normal(prefix: &str) -> String {
    let url = url::Url::parse(prefix).map_or_else(|_| prefix.to_owned(), |url| url.to_string());
    url.trim_end_matches('/').to_owned()
}

fn longest<'a, T: 'a>(all: impl Iterator<Item = &'a T>, url: &str, prefix: impl Fn(&T) -> &str) -> Option<&'a T> {
    let below =
        |one: &&'a T| url.strip_prefix(prefix(one)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    all.filter(below).max_by_key(|one| prefix(one).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_one_host_is_not_for_another() {
        let mut hosts = Hosts::default();
        hosts.login("https://a.test/debian/", "me", "secret");
        hosts.login("https://a.test", "other", "word");
        hosts.reach("http://a.test/debian", Proxy::Through("http://cache.test".to_owned()));
        for (url, user) in [
            ("https://a.test/debian/x", Some("me")),
            ("https://a.test/debian-security/x", Some("other")),
            ("https://a.test.evil/debian/x", None),
            ("http://a.test/debian/x", None),
            ("https://you:pw@a.test/debian/x", None),
        ] {
            let url = url::Url::parse(url).unwrap();
            assert_eq!(hosts.credentials(&url).map(|(user, _)| user), user, "{url}");
        }
        assert!(hosts.proxy("http://a.test/debian/x").is_some() && hosts.proxy("http://a.test/other").is_none());
        assert!(!format!("{hosts:?}").contains("secret"));
    }
}
