//! What is asked of Debian's archives, one item to a line, as the lock has it.
//!
//! ```text
//! @debian/bookworm/main       one of the places that are asked
//! iptables                    a package, with all that it depends on
//! -debconf                    a package that is left out although something depends on it
//! file:NAME                   a package alone, whose files are taken out of it
//! source:NAME=VERSION         the upstream tarball of a source package
//! ```
//!
//! Places and packages stand in the order of the definition, which decides between packages that are equally good: the first
//! place that has a version gives it, and what is named first chooses among alternatives first, as on apt's command line.
//!
//! The places and what is left out are part of the question: a definition that changes them is answered anew.

use std::collections::BTreeSet;

use crate::matrix::{DebianRepository, DebianRoot};

/// A question, by what is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The places, without the `@`.
    pub places: Vec<&'a str>,
    pub install: Vec<&'a str>,
    pub without: Vec<&'a str>,
    pub files: Vec<&'a str>,
    /// Name and version.
    pub sources: Vec<(&'a str, &'a str)>,
}

const FILE: &str = "file:";
const SOURCE: &str = "source:";

impl<'a> Request<'a> {
    /// Reads the items of a question.
    pub fn parse(items: &'a [String]) -> Self {
        let mut request = Self::default();
        for item in items {
            if let Some(name) = item.strip_prefix(FILE) {
                request.files.push(name);
            } else if let Some(source) = item.strip_prefix(SOURCE) {
                request.sources.push(source.split_once('=').unwrap_or((source, "")));
            } else if let Some(name) = item.strip_prefix('-') {
                request.without.push(name);
            } else if let Some(place) = item.strip_prefix('@') {
                request.places.push(place);
            } else {
                request.install.push(item);
            }
        }
        request
    }
}

/// The question for packages to install.
pub(super) fn install(root: &DebianRoot, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let without = root.without.iter().flat_map(|group| group.names.iter().map(|name| format!("-{}", name.value)));
    let without: BTreeSet<String> = without.collect();
    ask(root, names.into_iter().chain(without))
}

/// The question for one package's files.
pub(super) fn file(root: &DebianRoot, name: &str) -> Vec<String> {
    ask(root, [format!("{FILE}{name}")])
}

/// The question for a source package's tarball.
pub(super) fn source(root: &DebianRoot, name: &str, version: &str) -> Vec<String> {
    ask(root, [format!("{SOURCE}{name}={version}")])
}

/// A place that is asked, as it stands in a question.
pub fn place(repository: &DebianRepository) -> String {
    format!("@{}/{}/{}", repository.archive, repository.suite, repository.components.join("+"))
}

fn ask(root: &DebianRoot, items: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    root.repositories.iter().map(place).chain(items).filter(|item| seen.insert(item.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_written() {
        let items = ["-debconf", "@debian/bookworm/main", "file:cni", "g++", "source:k=1.20.5+really1.20.2"];
        let items = items.map(str::to_owned);
        let request = Request::parse(&items);
        assert_eq!((request.install, request.without, request.files), (vec!["g++"], vec!["debconf"], vec!["cni"]));
        assert_eq!(request.sources, [("k", "1.20.5+really1.20.2")]);
    }
}
