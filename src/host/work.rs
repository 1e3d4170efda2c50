//! Work folders: trees of thousands of files that can be made again, such as the sources a compiler reads.
//!
//! Their files are not synced one by one, as [`super::files`] does it for results: that would cost minutes. The folder
//! is filled under a temporary name, the file system is synced once, and the folder appears whole by a rename.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::files::{FileError, Scratch, at, create_folder, exists, set_mode};

/// Writes a file of a work folder, which must not be there yet. Returns the number of bytes written.
pub fn fill(path: &Path, mut content: impl Read, mode: u32) -> Result<u64, FileError> {
    let mut file = at("creating", path, File::create_new(path))?;
    let written = at("writing", path, io::copy(&mut content, &mut file))?;
    set_mode(path, mode)?;
    Ok(written)
}

/// Gives a filled folder its name. Where another build has been faster, its folder is kept.
pub fn publish(filled: &Scratch, folder: &Path, to: &Path) -> Result<(), FileError> {
    let filled = filled.path().join(folder);
    let synced = File::open(&filled).and_then(|file| rustix::fs::syncfs(&file).map_err(io::Error::from));
    at("syncing the file system of", &filled, synced)?;
    if let Some(parent) = to.parent() {
        create_folder(parent)?;
    }
    match fs::rename(&filled, to) {
        Err(_) if exists(to) => Ok(()),
        result => at("renaming to", to, result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::files;

    #[test]
    fn a_folder_appears_whole_and_the_first_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a/b");
        for text in ["first", "second"] {
            let scratch = Scratch::new_in(&folder.path().join("scratch")).unwrap();
            files::create_folder(&scratch.path().join("x")).unwrap();
            assert_eq!(fill(&scratch.path().join("x/file"), text.as_bytes(), 0o750).unwrap(), text.len() as u64);
            assert!(fill(&scratch.path().join("x/file"), text.as_bytes(), 0o750).is_err());
            publish(&scratch, Path::new("x"), &to).unwrap();
        }
        assert_eq!(files::read(&to.join("file"), 9).unwrap(), b"first");
        assert_eq!(files::mode(&to.join("file")), Some(0o750));
        assert_eq!(files::names(&folder.path().join("scratch")).unwrap(), Vec::<String>::new());
    }
}
