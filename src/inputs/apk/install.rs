//! The root file system that `apk add` would leave, as a tree, without running anything.
//!
//! Files, links and directories come from the packages; apk's records are written beside them, so that apk can go on
//! where we ended. What the scripts of Alpine's base would do is done here ([`super::applets`]: the links to the applets of
//! busybox), and `etc/shadow` is closed to the world. Scripts that nothing is done for are named in
//! [`Installed::undeclared`].
//! The result can be had as one tree, or cut into the layers that images share.
//! `var/cache/apk` stays empty and device nodes are not made: a container runtime brings its own `dev`.

use std::{collections::BTreeSet, io};

use super::{
    accounts::{AccountError, AccountFiles, Owners},
    applets::Linked,
    claims::{Claim, ClaimError, Claims},
    database,
    index::Package,
    package::VerifiedPackage,
    resolver::World,
    scripts::{Phase, UndeclaredScript, pattern_matches},
    signature::Keyring,
};
use crate::{
    base::{Accounts, Content, Entry, Node, Tree, TreePath, User, resolve::resolve, tree::InvalidPath},
    inputs::store::{Store, StoreError},
};

/// What a root file system has beside its packages.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    pub world: &'a World,
    /// Alpine's name of the architecture.
    pub arch: &'a str,
    /// The lines of `etc/apk/repositories`.
    pub repositories: &'a [String],
    pub keys: &'a Keyring,
    /// Users and groups that the base adds to those of its packages.
    pub accounts: &'a Accounts,
    /// The applets of busybox (paths, one per line), for releases whose package has no list of its own (Alpine 3.15).
    pub applets: &'a str,
}

/// An assembled root file system.
#[derive(Clone, Debug)]
pub struct Installed {
    pub tree: Tree,
    /// Scripts that `apk add` would have run and that nothing was done for, sorted.
    pub undeclared: Vec<UndeclaredScript>,
}

/// A root file system in the layers that images share. Each is whole: a later one replaces what an earlier one has.
#[derive(Clone, Debug)]
pub struct InstalledLayers {
    /// What the base packages alone would make: the same whatever else is installed.
    pub base: Tree,
    /// What the other packages add to that and change of it.
    pub additional: Tree,
    /// apk's records of them all.
    pub records: Tree,
    pub undeclared: Vec<UndeclaredScript>,
}

/// The files that apk writes about what is installed.
pub const RECORDS: [&str; 4] =
    ["etc/apk/world", "lib/apk/db/installed", "lib/apk/db/scripts.tar", "lib/apk/db/triggers"];

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(
        "the base gives its user `{user}` the home `{path}`, which is no directory in its packages: name another one"
    )]
    Home { user: String, path: TreePath },
    #[error(
        "`{path}` cannot be made: a part of it is a file or a link that leads in a circle in the packages; leave out \
         what brings that"
    )]
    Way { path: TreePath },
    #[error("reading {path} of the packages: {source}")]
    Read { path: &'static str, source: io::Error },
    #[error(
        "reading {path} of the packages: it has {size} bytes, more than the {MAX_LIST} that such files are read to"
    )]
    TooLarge { path: &'static str, size: u64 },
    #[error("adding to the files of the packages: {0}")]
    Path(#[from] InvalidPath),
}

/// Puts verified packages together, in the order in which they were resolved.
pub fn install(store: &Store, packages: &[VerifiedPackage], setup: &Setup<'_>) -> Result<Installed, InstallError> {
    whole(store, packages, setup).map(|(installed, _)| installed)
}

/// The whole tree, and where in it the files of [`RECORDS`] are.
fn whole(
    store: &Store,
    packages: &[VerifiedPackage],
    setup: &Setup<'_>,
) -> Result<(Installed, BTreeSet<TreePath>), InstallError> {
    let packages: Vec<_> = packages.iter().collect();
    let claims = Claims::new(&packages)?;
    let accounts = account_files(store, &claims)?.with(setup.accounts)?;
    let owners = Owners::new(&accounts);
    let mut writer = Writer::new(store, &packages, &claims, &owners)?;
    let undeclared = writer.files(setup, &packages, &claims, &accounts)?;
    let records = writer.records(setup, &packages, &claims, &owners)?;
    Ok((Installed { tree: writer.tree, undeclared }, records))
}

/// Puts verified packages together as [`install`] does, and takes the result apart by the packages that are of the base.
///
/// The base layer does not depend on the other packages, so that tags which differ in those share it: a path that two of
/// them bring is in both layers, and a link to an applet stays in the base where another package has the program itself.
pub fn install_in_layers(
    store: &Store,
    packages: &[VerifiedPackage],
    setup: &Setup<'_>,
    is_base: impl Fn(Package<'_>) -> bool,
) -> Result<InstalledLayers, InstallError> {
    let (Installed { tree, undeclared }, records) = whole(store, packages, setup)?;
    let of_base: Vec<_> = packages.iter().filter(|package| is_base(package.package())).collect();
    let base = base_layer(store, &of_base, setup)?;
    let mut layers = InstalledLayers { base, additional: Tree::new(), records: Tree::new(), undeclared };
    for (path, entry) in tree.entries {
        if records.contains(&path) {
            layers.records.insert(path, entry);
        } else if layers.base.get(&path) != Some(&entry) {
            layers.additional.insert(path, entry);
        }
    }
    Ok(layers)
}

/// The tree of the base packages alone, without records.
fn base_layer(store: &Store, packages: &[&VerifiedPackage], setup: &Setup<'_>) -> Result<Tree, InstallError> {
    let claims = Claims::new(packages)?;
    let own = account_files(store, &claims)?;
    // Accounts that need groups or users of the other packages come with those. That all of them are right was found
    // when the whole was made.
    let none = Accounts::default();
    let (accounts, added) = match own.clone().with(setup.accounts) {
        Ok(accounts) => (accounts, setup.accounts),
        Err(_) => (own, &none),
    };
    let setup = Setup { accounts: added, ..setup.clone() };
    let owners = Owners::new(&accounts);
    let mut writer = Writer::new(store, packages, &claims, &owners)?;
    writer.files(&setup, packages, &claims, &accounts)?;
    Ok(writer.tree)
}

/// The files of the packages that hold accounts.
fn account_files(store: &Store, claims: &Claims<'_>) -> Result<AccountFiles, InstallError> {
    let read = |path: &'static str| -> Result<String, InstallError> {
        let content = claims.files.iter().find_map(|(file, claim)| match &claim.entry.node {
            Node::File(content) if file.as_str() == path => Some(content),
            _ => None,
        });
        content.map_or(Ok(String::new()), |content| read_list(store, content, path))
    };
    Ok(AccountFiles { passwd: read(PASSWD)?, group: read(GROUP)?, shadow: read(SHADOW)? })
}

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const SHADOW: &str = "etc/shadow";

/// Lists of accounts and applets have some kilobytes.
const MAX_LIST: u64 = 1 << 20;

pub(super) fn read_list(store: &Store, content: &Content, path: &'static str) -> Result<String, InstallError> {
    if content.size > MAX_LIST {
        return Err(InstallError::TooLarge { path, size: content.size });
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut store.content(content)?, &mut bytes)
        .map_err(|source| InstallError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A directory that several packages bring: the lowest owner's, with the permissions that all of that owner's packages
/// grant (apk-tools, `apk_db_dir_apply_diri_permissions`).
fn directory(claims: &[Claim<'_>], owners: &Owners) -> Entry {
    let mut result: Option<Entry> = None;
    for claim in claims {
        let (uid, gid) = owners.of(claim.entry);
        let mode = claim.entry.mode;
        match &mut result {
            Some(entry) if (entry.uid, entry.gid) < (uid, gid) => {}
            Some(entry) if (entry.uid, entry.gid) == (uid, gid) => entry.mode &= mode,
            _ => result = Some(Entry { uid, gid, ..Entry::new(mode, Node::Directory) }),
        }
    }
    result.unwrap_or_else(Entry::directory)
}

fn file_entry(
    packages: &[&VerifiedPackage],
    claims: &Claims<'_>,
    claim: &Claim<'_>,
    owners: &Owners,
) -> Result<Entry, InvalidPath> {
    let entry = claim.entry;
    let mut node = &entry.node;
    // A name whose file another package has taken keeps the bytes it was packed with.
    while let Node::Hardlink(target) = node
        && claims.files.get(target).is_none_or(|owner| owner.package != claim.package)
        && let Some(original) = packages[claim.package].entries.iter().find(|original| original.path == *target)
        && original.node != *node
    {
        node = &original.node;
    }
    let node = match node {
        Node::Hardlink(target) => Node::Hardlink(claims.place(target)?),
        node => node.clone(),
    };
    let (owner, mode, xattrs) = match claims.inode(claim) {
        Some(inode) => (inode.owner, inode.mode, &inode.xattrs),
        None => (entry, entry.mode, &entry.xattrs),
    };
    let (uid, gid) = owners.of(owner);
    Ok(Entry { mode, uid, gid, xattrs: xattrs.clone(), node })
}

/// The scripts of an installation, the triggers only where a folder wakes them. All folders count when everything is new.
fn running<'p>(
    packages: &[&'p VerifiedPackage],
    claims: &Claims<'_>,
    tree: &Tree,
) -> Vec<(&'p VerifiedPackage, Phase)> {
    let named = claims.directories.keys().copied();
    let made = tree.iter().filter(|(_, entry)| entry.node == Node::Directory).map(|(path, _)| path);
    let folders: BTreeSet<String> = named.chain(made).map(|path| format!("/{path}")).collect();
    let wakes = |pattern: &String| folders.iter().any(|folder| pattern_matches(pattern, folder));
    let is_triggered = |package: &VerifiedPackage| package.info.triggers.iter().any(wakes);
    let mut running = Vec::new();
    for package in packages {
        for (phase, _) in &package.scripts {
            if phase.is_of_installation() && (*phase != Phase::Trigger || is_triggered(package)) {
                running.push((*package, *phase));
            }
        }
    }
    running
}

/// Those of the scripts that nothing here makes up for.
fn undeclared(running: &[(&VerifiedPackage, Phase)], linked: Linked) -> Vec<UndeclaredScript> {
    let is_done = |package: &VerifiedPackage, phase| match (package.package().name(), phase) {
        // The group `shadow` is in alpine-baselayout-data's own etc/group.
        (BASELAYOUT, Phase::PreInstall | Phase::PostInstall) => true,
        ("busybox", Phase::PostInstall) => linked.busybox,
        ("busybox", Phase::Trigger) => linked.is_all(),
        _ => false,
    };
    let left = running.iter().filter(|(package, phase)| !is_done(package, *phase));
    let mut undeclared: Vec<_> = left
        .map(|(package, phase)| {
            let (name, package) = (package.package().name().to_owned(), package.title());
            UndeclaredScript { package, name, phase: *phase }
        })
        .collect();
    undeclared.sort();
    undeclared
}

const BASELAYOUT: &str = "alpine-baselayout";

pub(super) struct Writer<'a> {
    pub(super) store: &'a Store,
    pub(super) tree: Tree,
}

impl<'a> Writer<'a> {
    /// Begins with what the packages bring.
    fn new(
        store: &'a Store,
        packages: &[&VerifiedPackage],
        claims: &Claims<'_>,
        owners: &Owners,
    ) -> Result<Self, InstallError> {
        let mut tree = Tree::new();
        let mut led = Vec::new();
        for (path, directories) in &claims.directories {
            let directory = directory(directories, owners);
            match claims.led_to(path) {
                Some(at) => led.push((at.clone(), directory)),
                None => {
                    tree.insert((*path).clone(), directory);
                }
            }
        }
        // Under another name a directory is only made, never changed.
        for (at, directory) in led {
            tree.entries.entry(at).or_insert(directory);
        }
        for (path, file) in &claims.files {
            tree.insert(claims.place(path)?, file_entry(packages, claims, file, owners)?);
        }
        let mut writer = Self { store, tree };
        // A package may bring a directory without the one above it, where apk fails.
        for path in claims.directories.keys() {
            let at = claims.led_to(path).unwrap_or(path).clone();
            writer.parents(&at);
        }
        Ok(writer)
    }

    /// Adds all but apk's records. Gives the scripts that nothing is done for.
    fn files(
        &mut self,
        setup: &Setup<'_>,
        packages: &[&VerifiedPackage],
        claims: &Claims<'_>,
        accounts: &AccountFiles,
    ) -> Result<Vec<UndeclaredScript>, InstallError> {
        self.skeleton()?;
        self.configuration(setup)?;
        let running = running(packages, claims, &self.tree);
        let linked = self.applets(setup.applets)?;
        let owners = Owners::new(accounts);
        if !setup.accounts.is_empty() {
            self.accounts(accounts)?;
        }
        for user in setup.accounts.users.iter().filter(|user| user.create_home) {
            self.home(user, &owners)?;
        }
        let is_baselayouts = |(package, phase): &(&VerifiedPackage, Phase)| {
            package.package().name() == BASELAYOUT && *phase == Phase::PostInstall
        };
        if running.iter().any(is_baselayouts) {
            self.close_shadow(&owners)?;
        }
        Ok(undeclared(&running, linked))
    }

    /// Adds the files of [`RECORDS`], and tells where they came to lie.
    fn records(
        &mut self,
        setup: &Setup<'_>,
        packages: &[&VerifiedPackage],
        claims: &Claims<'_>,
        owners: &Owners,
    ) -> Result<BTreeSet<TreePath>, InstallError> {
        let installed = database::installed(packages, claims, owners, setup.arch);
        let [world, list, scripts, triggers] = RECORDS;
        let (scripts_tar, triggers_list) = (database::scripts(packages), database::triggers(packages));
        Ok(BTreeSet::from([
            self.text(world, setup.world.to_string().as_bytes())?,
            self.text(list, installed.as_bytes())?,
            self.text(scripts, &scripts_tar)?,
            self.text(triggers, triggers_list.as_bytes())?,
        ]))
    }

    /// The directories that `apk add --initdb` begins with.
    fn skeleton(&mut self) -> Result<(), InstallError> {
        const FOLDERS: [(&str, u32); 10] = [
            ("dev", 0o755),
            ("etc/apk", 0o755),
            ("etc/apk/keys", 0o755),
            ("lib/apk/db", 0o755),
            ("proc", 0o555),
            ("tmp", 0o1777),
            ("var/cache", 0o755),
            ("var/cache/apk", 0o755),
            ("var/cache/misc", 0o755),
            ("lib/apk", 0o755),
        ];
        for (path, mode) in FOLDERS {
            let path = self.place(&TreePath::new(path)?)?;
            self.parents(&path);
            self.tree.entries.entry(path).or_insert_with(|| Entry::new(mode, Node::Directory));
        }
        Ok(())
    }

    /// Where a path is when the links above it are followed.
    pub(super) fn place(&self, path: &TreePath) -> Result<TreePath, InstallError> {
        let Some(parent) = path.parent() else { return Ok(path.clone()) };
        let node = |path: &TreePath| self.tree.get(path).map(|entry| &entry.node);
        match resolve(parent.as_str(), node) {
            Ok(Some(parent)) => Ok(parent.join(path.file_name())?),
            Ok(None) => Ok(TreePath::new(path.file_name())?),
            Err(_) => Err(InstallError::Way { path: path.clone() }),
        }
    }

    pub(super) fn parents(&mut self, path: &TreePath) {
        let mut parent = path.parent();
        while let Some(path) = parent {
            parent = path.parent();
            self.tree.entries.entry(path).or_insert_with(Entry::directory);
        }
    }

    /// Writes a file, and tells where it came to lie.
    fn text(&mut self, path: &str, bytes: &[u8]) -> Result<TreePath, InstallError> {
        let path = self.place(&TreePath::new(path)?)?;
        self.parents(&path);
        let content = Content::whole(self.store.put(bytes)?);
        self.tree.insert(path.clone(), Entry::new(0o644, Node::File(content)));
        Ok(path)
    }

    fn configuration(&mut self, setup: &Setup<'_>) -> Result<(), InstallError> {
        self.text("etc/apk/arch", format!("{}\n", setup.arch).as_bytes())?;
        let lines = |lines: &[String]| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
        self.text("etc/apk/repositories", lines(setup.repositories).as_bytes())?;
        for (name, pem) in setup.keys.iter() {
            let path = format!("etc/apk/keys/{name}");
            // alpine-keys may have brought it.
            if self.tree.get(&self.place(&TreePath::new(&path)?)?).is_none() {
                self.text(&path, pem.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The files of the packages with the accounts that the base adds. Their modes and owners stay.
    fn accounts(&mut self, accounts: &AccountFiles) -> Result<(), InstallError> {
        let AccountFiles { passwd, group, shadow } = accounts;
        for (path, text, usual) in [(PASSWD, passwd, 0o644), (GROUP, group, 0o644), (SHADOW, shadow, 0o640)] {
            let packaged = self.tree.get(&self.place(&TreePath::new(path)?)?).cloned();
            let path = self.text(path, text.as_bytes())?;
            if let Some(entry) = self.tree.entries.get_mut(&path) {
                let packaged = packaged.map_or((usual, 0, 0), |packaged| (packaged.mode, packaged.uid, packaged.gid));
                (entry.mode, entry.uid, entry.gid) = packaged;
            }
        }
        Ok(())
    }

    /// What `adduser` makes of a home, also of one that a package brings.
    fn home(&mut self, user: &User, owners: &Owners) -> Result<(), InstallError> {
        let path = self.place(&TreePath::new(&user.home)?)?;
        if let Some(Entry { node: Node::File(_) | Node::Symlink(_) | Node::Hardlink(_), .. }) = self.tree.get(&path) {
            return Err(InstallError::Home { user: user.name.clone(), path });
        }
        self.parents(&path);
        let gid = owners.group(&user.group).unwrap_or(0);
        self.tree.insert(path, Entry { uid: user.uid, gid, ..Entry::new(0o2755, Node::Directory) });
        Ok(())
    }

    /// What alpine-baselayout does after its installation: `chown root:shadow`, `chmod 640`.
    fn close_shadow(&mut self, owners: &Owners) -> Result<(), InstallError> {
        let gid = owners.group("shadow").unwrap_or(0);
        let path = self.place(&TreePath::new(SHADOW)?)?;
        if let Some(entry) = self.tree.entries.get_mut(&path) {
            (entry.mode, entry.uid, entry.gid) = (0o640, 0, gid);
        }
        Ok(())
    }
}
