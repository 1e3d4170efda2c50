//! The links to the applets of busybox, which its script and trigger make when it is installed.
//!
//! ```text
//! post-install   busybox --install -s
//! trigger        bbsuid --install; busybox-extras --install -s; busybox --install -s
//! ```
//!
//! A link is made where nothing is. Only `bbsuid` takes the place of other links: what it lists must run as root. The list
//! of busybox comes with its package, the one of bbsuid is read out of the program.

use super::install::{InstallError, Writer, read_list};
use crate::base::{Entry, Node, TreePath};

/// Where the packages of busybox list the paths of their applets.
const LISTS: &str = "etc/busybox-paths.d";

/// Where a program may be: `bin` is a link to `usr/bin` where `/usr` is merged.
const FOLDERS: [&str; 2] = ["bin", "usr/bin"];

/// What of the trigger of busybox was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linked {
    pub(super) busybox: bool,
    /// Also where there is none.
    bbsuid: bool,
    /// There are kernel modules for busybox to index.
    modules: bool,
}

impl Linked {
    pub(super) const fn is_all(self) -> bool {
        self.busybox && self.bbsuid && !self.modules
    }
}

impl Writer<'_> {
    /// Makes the links of all programs that are there. `fallback` is the list of busybox where its package has none.
    pub(super) fn applets(&mut self, fallback: &str) -> Result<Linked, InstallError> {
        self.install("busybox-extras", "")?;
        let busybox = self.install("busybox", fallback)?;
        let bbsuid = self.install_bbsuid()?;
        Ok(Linked { busybox, bbsuid, modules: self.has_modules()? })
    }

    /// What `PROGRAM --install -s` does. Whether there were a program and a list.
    fn install(&mut self, program: &str, fallback: &str) -> Result<bool, InstallError> {
        let Some(binary) = self.program(program)? else { return Ok(false) };
        let list = self.applet_list(program)?.unwrap_or_else(|| fallback.to_owned());
        let paths: Vec<&str> = list.lines().filter(|line| !line.is_empty()).collect();
        for path in &paths {
            // Where a file is in the way, busybox goes on with the next.
            let Ok(path) = self.place(&TreePath::new(path)?) else { continue };
            self.parents(&path);
            self.tree.entries.entry(path).or_insert_with(|| Entry::symlink(format!("/{binary}")));
        }
        Ok(!paths.is_empty())
    }

    /// What `bbsuid --install` does, where it is. `false` where its list cannot be read out of it.
    fn install_bbsuid(&mut self) -> Result<bool, InstallError> {
        const NAME: &str = "bbsuid";
        let Some(binary) = self.program(NAME)? else { return Ok(true) };
        let Some(Node::File(content)) = self.tree.get(&binary).map(|entry| entry.node.clone()) else {
            return Ok(false);
        };
        let text = read_list(self.store, &content, "bin/bbsuid")?;
        let paths: Vec<&str> = text.split('\0').filter(|text| is_applet(text)).collect();
        for path in &paths {
            let Ok(path) = self.place(&TreePath::new(path)?) else { continue };
            self.parents(&path);
            let link = Entry::symlink(format!("/bin/{NAME}"));
            let there = self.tree.entries.entry(path).or_insert_with(|| link.clone());
            if matches!(there.node, Node::Symlink(_)) {
                *there = link;
            }
        }
        Ok(!paths.is_empty())
    }

    /// The path of a program, all links on its way followed.
    fn program(&self, name: &str) -> Result<Option<TreePath>, InstallError> {
        for folder in FOLDERS {
            let Ok(path) = self.place(&TreePath::new(folder)?.join(name)?) else { continue };
            if let Some(Node::File(_) | Node::Hardlink(_)) = self.tree.get(&path).map(|entry| &entry.node) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn applet_list(&self, program: &str) -> Result<Option<String>, InstallError> {
        let path = TreePath::new(LISTS)?.join(program)?;
        match self.tree.get(&path).map(|entry| &entry.node) {
            Some(Node::File(content)) => read_list(self.store, content, LISTS).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether busybox would have to write lists of modules: no other `depmod` is there.
    fn has_modules(&self) -> Result<bool, InstallError> {
        let folder = TreePath::new("lib/modules")?;
        let is_kernel =
            |path: &TreePath, entry: &Entry| entry.node == Node::Directory && path.parent().as_ref() == Some(&folder);
        let depmod = self.tree.get(&self.place(&TreePath::new("sbin/depmod")?)?).map(|entry| &entry.node);
        let is_busyboxs = matches!(depmod, Some(Node::Symlink(target)) if target.ends_with("bin/busybox"));
        Ok(is_busyboxs && self.tree.iter().any(|(path, entry)| is_kernel(path, entry)))
    }
}

/// Whether a text of the program is the path of an applet rather than of busybox or of the program itself.
fn is_applet(text: &str) -> bool {
    const OTHERS: [&str; 2] = ["busybox", "bbsuid"];
    let name = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"].iter().find_map(|folder| text.strip_prefix(folder));
    name.is_some_and(|name| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && name.bytes().all(is_name) && !OTHERS.contains(&name)
    })
}
