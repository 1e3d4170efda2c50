//! What else the machine's apt is told: proxies, whether dates count, and logins (apt.conf(5), `apt_auth.conf(5)`).
//!
//! Only what decides whether a mirror can be reached and believed is read; everything else is none of our business. What
//! cannot be understood is passed over, as it would be for a key that we do not know.

use std::path::Path;

use crate::host::files::{self, FileError};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Names in lower case, joined by `::`, with their values; the last of a name counts.
    values: Vec<(String, String)>,
    logins: Vec<Login>,
}

/// What a server wants to know of who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// With the scheme: `https://host/path`.
    pub at: String,
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Some kilobytes are usual.
const LARGEST: u64 = 1 << 20;

impl Settings {
    /// Reads the settings of an apt that is configured in `folder`: `apt.conf.d`, `apt.conf`, and logins.
    pub(super) fn read(folder: &Path) -> Result<Self, FileError> {
        let mut settings = Self::default();
        for text in texts(folder, "apt.conf.d", "apt.conf")? {
            settings.values.extend(parse(&text));
        }
        // Only root may read these on most machines, and then only root's apt uses them.
        for text in texts(folder, "auth.conf.d", "auth.conf").unwrap_or_default() {
            settings.logins.extend(parse_logins(&text));
        }
        Ok(settings)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Whether the dates of release files count.
    pub fn checks_dates(&self) -> bool {
        !self.get("acquire::check-date").is_some_and(super::sources::is_no)
    }

    /// Whether release files must be valid still.
    pub fn checks_validity(&self) -> bool {
        self.checks_dates() && !self.get("acquire::check-valid-until").is_some_and(super::sources::is_no)
    }

    /// The login for a URL: the first whose host and path it lies below, as apt takes it.
    pub fn login(&self, url: &str) -> Option<&Login> {
        let below = |login: &&Login| {
            url.strip_prefix(login.at.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        };
        self.logins.iter().find(below)
    }

    /// The proxy that is set for a URL, which may be the word `DIRECT`: that of its host, of its scheme, or of http, which
    /// also counts for https.
    pub fn proxy(&self, url: &str) -> Option<&str> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let names = [
            format!("acquire::{scheme}::proxy::{host}"),
            format!("acquire::{scheme}::proxy"),
            format!("acquire::http::proxy::{host}"),
            "acquire::http::proxy".to_owned(),
        ];
        names.iter().find_map(|name| self.get(name))
    }
}

/// The texts of the files in a folder, in the order of their names, and of one file behind them.
fn texts(folder: &Path, parts: &str, main: &str) -> Result<Vec<String>, FileError> {
    let parts = folder.join(parts);
    let is_part = |name: &String| Path::new(name).extension().is_none_or(|extension| extension == "conf");
    let named = files::names(&parts)?.into_iter().filter(is_part).map(|name| parts.join(name));
    let there = named.chain([folder.join(main)]).filter(|path| files::size(path).is_some());
    there.map(|path| files::read_text(&path, LARGEST)).collect()
}

/// The settings of a file: `Name::Of "value";` and blocks `Name { Of "value"; };`.
fn parse(text: &str) -> Vec<(String, String)> {
    // Nobody nests deeper, and a file of braces should not cost more than its length.
    const DEEPEST: usize = 64;
    let (mut values, mut scopes, mut words) = (Vec::new(), Vec::<String>::new(), Vec::<String>::new());
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => {
                if scopes.len() >= DEEPEST {
                    return values;
                }
                scopes.push(words.drain(..).next().unwrap_or_default().to_ascii_lowercase());
            }
            Token::Close => {
                scopes.pop();
                words.clear();
            }
            Token::End => {
                if let [name, value] = words.as_slice() {
                    let name = name.to_ascii_lowercase();
                    let parts: Vec<&str> = scopes.iter().map(String::as_str).chain([name.as_str()]).collect();
                    values.push((parts.join("::"), value.clone()));
                }
                words.clear();
            }
        }
    }
    values
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Words, quoted or not, and signs. Comments begin with `//`, `#` or `/*`.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if rest.starts_with("//") || first == '#' {
            (None, rest.split_once('\n').map_or("", |(_, after)| after))
        } else if rest.starts_with("/*") {
            (None, rest.split_once("*/").map_or("", |(_, after)| after))
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (word, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            (Some(Token::Word(word.to_owned())), after)
        } else if matches!(first, '{' | '}' | ';') {
            let token = match first {
                '{' => Token::Open,
                '}' => Token::Close,
                _ => Token::End,
            };
            (Some(token), &rest[1..])
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            (Some(Token::Word(rest[..end].to_owned())), &rest[end..])
        };
        tokens.extend(token);
        rest = after.trim_start();
    }
    tokens
}

/// The logins of a file: `machine HOST login NAME password WORD`. A host without a scheme is one of https only: a password
/// is not sent in the clear unless somebody has written so.
fn parse_logins(text: &str) -> Vec<Login> {
    let mut logins: Vec<Login> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_ascii_whitespace);
    while let Some(word) = words.next() {
        match (word, words.next(), logins.last_mut()) {
            ("machine", Some(host), _) => {
                let at = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
                let at = at.trim_end_matches('/').to_owned();
                logins.push(Login { at, user: String::new(), password: String::new() });
            }
            ("login", Some(user), Some(login)) => user.clone_into(&mut login.user),
            ("password", Some(password), Some(login)) => password.clone_into(&mut login.password),
            _ => {}
        }
    }
    logins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_both_forms_and_the_last_counts() {
        let text = "// a comment\n# another\nAcquire::http::Proxy \"http://first.test:1\"; /* Acquire { */\n\
            ACQUIRE { http { Proxy \"http://cache.test:3142/\"; Proxy::direct.test DIRECT; };\n Check-Valid-Until no; };\n\
            APT { NeverAutoRemove { \"^linux.*\"; \"x\"; }; };\nDPkg::Post-Invoke { \"echo; {\"; };\nunfinished { \"";
        let settings = Settings { values: parse(text), ..Settings::default() };
        for (url, proxy) in [
            ("http://mirror.test/debian", Some("http://cache.test:3142/")),
            ("https://mirror.test:443/debian", Some("http://cache.test:3142/")),
            ("http://u:p@Direct.test/debian", Some("DIRECT")),
            ("https://direct.test", Some("DIRECT")),
            ("nonsense", None),
        ] {
            assert_eq!(settings.proxy(url), proxy, "{url}");
        }
        assert!(settings.checks_dates() && !settings.checks_validity());
        let none = Settings::default();
        assert!(none.checks_dates() && none.checks_validity() && none.proxy("http://a.test").is_none());
        let dates = Settings { values: parse("Acquire::Check-Date \"false\";"), ..Settings::default() };
        assert!(!dates.checks_dates() && !dates.checks_validity());
        let unset = Settings { values: parse("Acquire::http::Proxy \"x\"; Acquire::http::Proxy \"\";"), ..none };
        assert_eq!(unset.proxy("http://a.test"), None);
    }

    #[test]
    fn whatever_stands_in_a_file_is_read_in_time() {
        for text in ["{".repeat(100_000), "}".repeat(1000), "a ".repeat(1000), "\"".repeat(999), "/*".repeat(10)] {
            assert_eq!(parse(&text), []);
        }
    }

    #[test]
    fn logins_are_for_https_unless_they_say_so() {
        let text = "# machine no.test login x password y\nmachine a.test/debian/ login me password secret\n\
                    machine http://b.test:8080 login you\n password other\nlogin lost";
        let logins = parse_logins(text);
        let shown: Vec<_> = logins.iter().map(|login| [&*login.at, &*login.user, &*login.password]).collect();
        assert_eq!(shown, [["https://a.test/debian", "me", "secret"], ["http://b.test:8080", "lost", "other"]]);
        assert!(!format!("{logins:?}").contains("secret"));
        let settings = Settings { logins, ..Settings::default() };
        for (url, user) in [
            ("https://a.test/debian", Some("me")),
            ("https://a.test/debian-security", None),
            ("http://a.test/debian", None),
            ("http://b.test:8080/debian", Some("lost")),
            ("http://b.test/debian", None),
        ] {
            assert_eq!(settings.login(url).map(|login| login.user.as_str()), user, "{url}");
        }
    }
}
