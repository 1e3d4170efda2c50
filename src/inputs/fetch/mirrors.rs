//! Where a URL is really fetched from: mirrors by prefix, in order.
//!
//! A mirror holds the same files below another address, a folder of this machine included. It is never trusted more
//! than the original: what comes from it has the digest that was pinned, or is refused.

use std::path::{Path, PathBuf};

use url::Url;

use crate::{base::TreePath, host::files};

/// Whether a URL that has mirrors is tried at its own address, once they all have failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Original {
    #[default]
    Last,
    /// For machines that must not, or cannot, reach the originals.
    Never,
}

/// A mirror that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMirror {
    #[error(
        "`{0}` is no mirror: write PREFIX=URL, for example `https://dl.k8s.io/=https://mirror.example/k8s/`, or a folder \
         that `kletimg matrix fetch --to` wrote"
    )]
    Argument(String),
    #[error("`{0}` cannot be mirrored: write the beginning of a URL, such as `https://dl.k8s.io/`")]
    Prefix(String),
    #[error("`{0}` cannot be a mirror: write an http://, https:// or file:/// URL")]
    Target(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    /// Without a slash at the end.
    prefix: String,
    /// Without slashes at the ends.
    targets: Vec<String>,
    original: Original,
}

/// Replacements for the beginnings of URLs, and folders that hold whole hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    prefixes: Vec<Mirror>,
    folders: Vec<PathBuf>,
    /// Archives that have no mirror, by prefix, and why they have none.
    lacking: Vec<(String, String)>,
}

/// The scheme of files that have no address of their own: `deb://debian/pool/...` is a file of the archive that every
/// mirror of Debian holds, so that a lock names none of them.
const NAMED: &str = "deb";

/// Where a URL's file lies in a folder that `kletimg matrix fetch --to` wrote: below its host, at its path.
pub fn below(folder: &Path, url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok()?;
    let path = TreePath::new(&format!("{}/{}", url.host_str()?, url.path())).ok()?;
    Some(folder.join(path.as_str()))
}

impl Mirrors {
    /// Adds the mirrors of a prefix, behind those that it has.
    pub fn add<'t>(
        &mut self,
        prefix: &str,
        targets: impl IntoIterator<Item = &'t str>,
        original: Original,
    ) -> Result<(), InvalidMirror> {
        let invalid = |()| InvalidMirror::Prefix(super::redacted(prefix).to_string());
        let prefix = checked(prefix, &["http", "https", NAMED]).map_err(invalid)?;
        let targets = targets
            .into_iter()
            .map(|target| {
                let invalid = |()| InvalidMirror::Target(super::redacted(target).to_string());
                checked(target, &["http", "https", "file"]).map_err(invalid)
            })
            .collect::<Result<Vec<_>, _>>()?;
        match self.prefixes.iter_mut().find(|mirror| mirror.prefix == prefix) {
            Some(mirror) => {
                for target in targets {
                    if !mirror.targets.contains(&target) {
                        mirror.targets.push(target);
                    }
                }
                if original == Original::Never {
                    mirror.original = original;
                }
            }
            None => self.prefixes.push(Mirror { prefix, targets, original }),
        }
        Ok(())
    }

    /// Adds a mirror as the command line has it: `PREFIX=URL`, or a folder of this machine with files by host and path.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), InvalidMirror> {
        if !argument.contains("://") && files::is_folder(Path::new(argument)) {
            let folder = files::canonical(Path::new(argument));
            self.folders.push(folder.map_err(|_| InvalidMirror::Argument(argument.to_owned()))?);
            return Ok(());
        }
        // Both sides may hold more equals signs; the one that separates has a scheme behind it.
        let separator = ["=http://", "=https://", "=file://"].iter().filter_map(|sign| argument.find(sign)).min();
        let Some(separator) = separator else {
            return Err(InvalidMirror::Argument(super::redacted(argument).to_string()));
        };
        self.add(&argument[..separator], [&argument[separator + 1..]], Original::Last)
    }

    /// Notes why nothing is known that the files of an archive could be had from.
    pub fn lack(&mut self, prefix: &str, why: String) {
        self.lacking.push((prefix.trim_end_matches('/').to_owned(), why));
    }

    /// Why there is no address to try for a URL that only mirrors have.
    pub(super) fn why_none(&self, url: &str) -> Option<String> {
        if !is_named(url) || !self.targets(url).is_empty() {
            return None;
        }
        let reason = self.lacking.iter().find(|(prefix, _)| is_below(url, prefix)).map(|(_, why)| why.clone());
        let archive = url.split('/').take(3).collect::<Vec<_>>().join("/");
        Some(
            reason.unwrap_or_else(|| format!("nothing says where {archive} is: name it with `--mirror {archive}=URL`")),
        )
    }

    /// The addresses at which a URL is tried, in order.
    pub fn targets(&self, url: &str) -> Vec<String> {
        let in_folder = |folder: &PathBuf| Some(Url::from_file_path(below(folder, url)?).ok()?.to_string());
        let mut targets: Vec<_> = self.folders.iter().filter_map(in_folder).collect();
        targets.extend(self.by_prefix(url));
        targets
    }

    fn by_prefix(&self, url: &str) -> Vec<String> {
        let applies = |mirror: &&Mirror| is_below(url, &mirror.prefix);
        let Some(mirror) = self.prefixes.iter().filter(applies).max_by_key(|mirror| mirror.prefix.len()) else {
            return if is_named(url) { Vec::new() } else { vec![url.to_owned()] };
        };
        let rest = &url[mirror.prefix.len()..];
        let targets = mirror.targets.iter().map(|target| format!("{target}{rest}"));
        if is_named(url) {
            // A mirror of an archive is an address like any other, which may have mirrors.
            return targets.flat_map(|target| self.by_prefix(&target)).collect();
        }
        let mut targets: Vec<_> = targets.collect();
        if mirror.original == Original::Last || targets.is_empty() {
            targets.push(url.to_owned());
        }
        targets
    }
}

fn is_below(url: &str, prefix: &str) -> bool {
    url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

fn is_named(url: &str) -> bool {
    url.strip_prefix(NAMED).is_some_and(|rest| rest.starts_with("://"))
}

/// A URL of one of these schemes, without slashes at its end.
fn checked(text: &str, schemes: &[&str]) -> Result<String, ()> {
    let url = Url::parse(text).map_err(|_| ())?;
    let local = url.scheme() == "file" && url.to_file_path().is_ok();
    if !schemes.contains(&url.scheme()) || !(local || url.has_host()) {
        return Err(());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_by_name_is_only_had_from_mirrors() {
        let mut mirrors = Mirrors::default();
        let url = "deb://debian/pool/a.deb";
        assert!(mirrors.targets(url).is_empty());
        assert!(mirrors.why_none(url).unwrap().contains("--mirror deb://debian=URL"));
        mirrors.lack("deb://debian", "no apt sources".to_owned());
        assert_eq!(mirrors.why_none(url).as_deref(), Some("no apt sources"));
        mirrors.add_argument("deb://debian=http://a.test/debian/").unwrap();
        mirrors.add("deb://debian", ["https://b.test/d"], Original::Never).unwrap();
        assert_eq!(mirrors.targets(url), ["http://a.test/debian/pool/a.deb", "https://b.test/d/pool/a.deb"]);
        assert_eq!(mirrors.why_none(url), None);
        let mut behind = mirrors.clone();
        behind.add("https://b.test", ["http://c.test"], Original::Never).unwrap();
        assert_eq!(behind.targets(url), ["http://a.test/debian/pool/a.deb", "http://c.test/d/pool/a.deb"]);
        assert!(mirrors.why_none("deb://debian-security/a").is_some(), "another archive");
        assert_eq!(below(Path::new("/to"), url), Some("/to/debian/pool/a.deb".into()));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let mut mirrors = Mirrors::default();
        mirrors.add("https://h/", ["http://all/"], Original::Last).unwrap();
        mirrors.add("https://h/a/b", ["file:///srv/b/", "http://two"], Original::Never).unwrap();
        mirrors.add_argument("https://h=http://more/x?k=1").unwrap();
        let cases: [(&str, &[&str]); 6] = [
            ("https://h/x/y.tgz", &["http://all/x/y.tgz", "http://more/x?k=1/x/y.tgz", "https://h/x/y.tgz"]),
            ("https://h/a/b/c", &["file:///srv/b/c", "http://two/c"]),
            ("https://h/a/bc", &["http://all/a/bc", "http://more/x?k=1/a/bc", "https://h/a/bc"]),
            ("https://h.evil/a", &["https://h.evil/a"]),
            ("http://h/a", &["http://h/a"]),
            ("https://h", &["http://all", "http://more/x?k=1", "https://h"]),
        ];
        for (url, targets) in cases {
            assert_eq!(mirrors.targets(url), targets, "{url}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_refused_without_its_password() {
        for argument in [
            "https://h",
            "=",
            "h=http://x",
            "https://h=ftp://x",
            "https://h=/srv",
            "file:///a=http://b",
            "https://h=http://",
        ] {
            assert!(Mirrors::default().add_argument(argument).is_err(), "{argument}");
        }
        let error = Mirrors::default().add_argument("https://u:secret@h/=ftp://u:secret@m/").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = Mirrors::default().add("https://h", ["ftp://u:secret@m/"], Original::Last).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
