//! Units of systemd that start by themselves, as `systemctl enable` links them (systemd.unit(5), `[Install]`).
//!
//! Packages enable their units in scripts, which are not run. An image whose containers start systemd has a variant that
//! says which units it wants; the links are made from what the units themselves say, wherever in the image they lie.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
};

use super::rootfs::content;
use crate::{
    base::{Entry, Tree, TreePath, tree::InvalidPath},
    inputs::store::{Store, StoreError},
};

/// Folders with units, the first of which wins. `lib` is a link in a merged /usr, but not for the files of a variant.
const FOLDERS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Unit files are short texts.
const LARGEST: u64 = 1 << 20;

/// Why a unit cannot be enabled.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    #[error("enabling the unit {0}: neither a package nor a file of the variant brings it")]
    Missing(String),
    #[error(
        "enabling the unit {0}: its [Install] section does not say what starts it (WantedBy, RequiredBy, Alias, Also)"
    )]
    NotInstallable(String),
    #[error("enabling the unit `{0}`: it is not the name of a unit, such as `kubelet.service`")]
    Name(String),
    #[error("reading the unit {path}: {source}")]
    Read { path: TreePath, source: io::Error },
    #[error("reading the unit {path}: it has {size} bytes, more than any unit has")]
    TooLarge { path: TreePath, size: u64 },
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The links that enable units which lie in these trees; the later ones are above the earlier.
pub fn enable<'u>(store: &Store, trees: &[&Tree], units: impl IntoIterator<Item = &'u str>) -> Result<Tree, UnitError> {
    let mut links = Tree::new();
    let mut known = BTreeSet::new();
    let mut open: Vec<String> = units.into_iter().map(str::to_owned).collect();
    open.reverse();
    while let Some(unit) = open.pop() {
        if !known.insert(unit.clone()) {
            continue;
        }
        is_name(&unit)?;
        let (place, text) = find(store, trees, &unit)?;
        let mut installable = false;
        for (key, values) in install_section(&text) {
            for value in values.split_ascii_whitespace() {
                let link = match key {
                    "WantedBy" => format!("{value}.wants/{unit}"),
                    "RequiredBy" => format!("{value}.requires/{unit}"),
                    "Alias" => value.to_owned(),
                    "Also" => {
                        installable = true;
                        open.push(value.to_owned());
                        continue;
                    }
                    _ => continue,
                };
                installable = true;
                is_name(value)?;
                links.insert(TreePath::new(FOLDERS[0])?.join(&link)?, Entry::symlink(format!("/{place}")));
            }
        }
        if !installable {
            return Err(UnitError::NotInstallable(unit));
        }
    }
    Ok(links)
}

/// A unit's file and text; that of its template where it is an instance (`getty@tty1.service`).
fn find(store: &Store, trees: &[&Tree], unit: &str) -> Result<(TreePath, String), UnitError> {
    let template =
        unit.split_once('@').zip(unit.rsplit_once('.')).map(|((name, _), (_, kind))| format!("{name}@.{kind}"));
    for name in std::iter::once(unit).chain(template.as_deref()) {
        for folder in FOLDERS {
            let path = TreePath::new(folder)?.join(name)?;
            let Some(content) = trees.iter().rev().find_map(|tree| content(tree, &path)) else { continue };
            if content.size > LARGEST {
                return Err(UnitError::TooLarge { path, size: content.size });
            }
            let mut bytes = Vec::new();
            let read = store.content(&content)?.read_to_end(&mut bytes);
            read.map_err(|source| UnitError::Read { path: path.clone(), source })?;
            return Ok((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Err(UnitError::Missing(unit.to_owned()))
}

/// Units and their aliases become names of links, so they are names and no paths.
fn is_name(unit: &str) -> Result<(), UnitError> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let good = unit.contains('.') && !unit.starts_with('.') && unit.chars().all(known);
    if good { Ok(()) } else { Err(UnitError::Name(unit.to_owned())) }
}

fn install_section(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != "[Install]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Content, Node};

    const KUBELET: &str = "[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy=multi-user.target a.target\n\
        RequiredBy =b.target\nAlias=c.service\nAlso=d@1.socket kubelet.service\n[X]\nWantedBy=no.target\n";

    fn links(units: &[(&str, &str)], wanted: &[&str]) -> Result<Vec<(String, String)>, UnitError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let mut tree = Tree::new();
        for (path, text) in units {
            let content = Content::whole(store.put(text.as_bytes()).unwrap());
            tree.insert(TreePath::new(path).unwrap(), Entry::new(0o644, Node::File(content)));
        }
        let links = enable(&store, &[&Tree::new(), &tree, &Tree::new()], wanted.iter().copied())?;
        let read = |(path, entry): (&TreePath, &Entry)| match &entry.node {
            Node::Symlink(target) => (path.as_str().replace("etc/systemd/system/", ""), target.clone()),
            other => panic!("{other:?}"),
        };
        Ok(links.iter().map(read).collect())
    }

    #[test]
    fn units_are_enabled_where_they_say() {
        let units = [
            ("usr/lib/systemd/system/kubelet.service", KUBELET),
            ("usr/lib/systemd/system/d@.socket", "[Install]\nWantedBy=sockets.target\n"),
            ("etc/systemd/system/d@2.socket", "[Install]\nWantedBy=other.target\n"),
        ];
        let kubelet = "/usr/lib/systemd/system/kubelet.service";
        let expected = [
            ("a.target.wants/kubelet.service", kubelet),
            ("b.target.requires/kubelet.service", kubelet),
            ("c.service", kubelet),
            ("multi-user.target.wants/kubelet.service", kubelet),
            ("other.target.wants/d@2.socket", "/etc/systemd/system/d@2.socket"),
            ("sockets.target.wants/d@1.socket", "/usr/lib/systemd/system/d@.socket"),
        ];
        let made = links(&units, &["kubelet.service", "d@2.socket"]).unwrap();
        assert_eq!(made, expected.map(|(link, target)| (link.to_owned(), target.to_owned())));
    }

    #[test]
    fn what_cannot_be_enabled_is_named() {
        let units = [
            ("usr/lib/systemd/system/static.service", "[Unit]\n"),
            ("usr/lib/systemd/system/odd.service", "[Install]\nAlias=../../../etc/passwd\n"),
            ("usr/lib/systemd/system/lost.service", "[Install]\nAlso=absent.socket\n"),
        ];
        for (unit, words) in [
            ("static.service", "[Install]"),
            ("odd.service", "../../../etc/passwd"),
            ("lost.service", "absent.socket"),
            ("absent.service", "absent.service"),
            ("../kubelet.service", "not the name"),
            ("kubelet", "not the name"),
            (".service", "not the name"),
            ("", "not the name"),
        ] {
            let error = links(&units, &[unit]).unwrap_err().to_string();
            assert!(error.contains(words), "{unit}: {error}");
        }
    }
}
