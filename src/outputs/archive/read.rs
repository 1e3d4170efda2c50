//! An archive as a source of blobs, without unpacking it: they lie in the tar at known places.
//!
//! Read are archives that hold an OCI layout (those of kletimg, skopeo, buildx, and of `docker save` since Engine 25), and
//! those that `docker save` of older Engines writes. The latter have no manifest, so one is made of what they hold; its
//! digest is therefore not the one that a registry had.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{
    base::{Blob, Digest, digest::Hashing},
    host::files::{self, FileError},
    images::{
        self, Descriptor, DockerImage, EncodeError, LONGEST, LayoutEntry, Links, ReadError, annotation, media_type,
    },
    outputs::source::{Manifest, Source, SourceError, manifests},
};

/// More files than the blobs of any archive.
const MOST_FILES: usize = 200_000;

/// An archive of images whose files are known.
#[derive(Clone, Debug)]
pub struct ArchiveFile {
    path: PathBuf,
    blobs: BTreeMap<Digest, Place>,
    entries: Vec<LayoutEntry>,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
enum Place {
    /// In the archive, from an offset on, so many bytes.
    Slice(u64, u64),
    /// A manifest that was made here.
    Here(Vec<u8>),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("reading {}: it is not a tar archive{}: unpack it first if it is compressed", path.display(), of_system(source))]
    Tar { path: PathBuf, source: io::Error },
    #[error("reading {}: it holds more than {MOST_FILES} files, so it is no archive of images", path.display())]
    TooMany { path: PathBuf },
    #[error(
        "reading {}: it has neither `index.json` nor `manifest.json`, so it is no archive of images: make one with \
         `kletimg image copy` or `docker save`", path.display()
    )]
    NoIndex { path: PathBuf },
    #[error("reading {}: `{file}`: {reason}", path.display())]
    Document { path: PathBuf, file: &'static str, reason: ReadError },
    #[error("reading {}: `manifest.json` names `{}`, which is not there", path.display(), name.escape_debug())]
    Missing { path: PathBuf, name: String },
    #[error(
        "reading {}: `manifest.json`, which Docker loads, says another image for `{}` than `index.json`, which others read: \
         have the archive written anew", path.display(), name.escape_debug()
    )]
    Contradiction { path: PathBuf, name: String },
    #[error("reading {}: the config `{}` has the digest {actual}, not that of its name", path.display(), name.escape_debug())]
    Renamed { path: PathBuf, name: String, actual: Digest },
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What the system says is wrong. The tar library's own words quote the file, which may be anything.
fn of_system(error: &io::Error) -> String {
    if error.raw_os_error().is_some() { format!(" ({error})") } else { String::new() }
}

/// Files of a tar by name: regular ones by place, links by what they lead to.
#[derive(Default)]
struct Files {
    slices: BTreeMap<String, (u64, u64)>,
    links: BTreeMap<String, String>,
}

impl ArchiveFile {
    /// Reads the headers of the archive and its index; blobs are read when they are asked for.
    pub fn open(path: &Path) -> Result<Self, ReadArchiveError> {
        let files = scan(path)?;
        let document = |name: &'static str| match files.slices.get(name) {
            Some(slice) => small(path, *slice, name).map(Some),
            None => Ok(None),
        };
        if let Some(index) = document("index.json")? {
            let wrong = |reason| ReadArchiveError::Document { path: path.to_owned(), file: "index.json", reason };
            let entries = images::read_index(&index).map_err(wrong)?.into_iter().map(entry).collect();
            let blob = |(name, (at, size)): (&String, &(u64, u64))| {
                let digest = name.strip_prefix("blobs/sha256/")?.parse().ok()?;
                Some((digest, Place::Slice(*at, *size)))
            };
            let blobs = files.slices.iter().filter_map(blob).collect();
            let archive = Self { path: path.to_owned(), blobs, entries };
            if let Some(manifest) = document("manifest.json")? {
                let wrong =
                    |reason| ReadArchiveError::Document { path: path.to_owned(), file: "manifest.json", reason };
                for image in images::read_docker_manifest(&manifest).map_err(wrong)? {
                    archive.check_docker(&files, &image)?;
                }
            }
            return Ok(archive);
        }
        let Some(manifest) = document("manifest.json")? else {
            return Err(ReadArchiveError::NoIndex { path: path.to_owned() });
        };
        let wrong = |reason| ReadArchiveError::Document { path: path.to_owned(), file: "manifest.json", reason };
        let mut archive = Self { path: path.to_owned(), blobs: BTreeMap::new(), entries: Vec::new() };
        for image in images::read_docker_manifest(&manifest).map_err(wrong)? {
            archive.add_docker(&files, &image)?;
        }
        Ok(archive)
    }

    /// What the archive calls its images.
    pub fn entries(&self) -> &[LayoutEntry] {
        &self.entries
    }

    /// Whether what Docker would load is one of the images of the index. Two answers to what an archive holds would make
    /// every proof one of the wrong image.
    fn check_docker(&self, files: &Files, image: &DockerImage) -> Result<(), ReadArchiveError> {
        let digest = |name: &String| -> Result<Digest, ReadArchiveError> {
            let target = files.links.get(name).unwrap_or(name);
            if let Some(digest) = target.strip_prefix("blobs/sha256/").and_then(|hex| hex.parse().ok()) {
                return Ok(digest);
            }
            let missing = || ReadArchiveError::Missing { path: self.path.clone(), name: name.clone() };
            let (at, size) = files.find(name).ok_or_else(missing)?;
            let mut reader = Hashing::new(slice(&self.path, at, size)?);
            files::at("reading", &self.path, io::copy(&mut reader, &mut io::sink()))?;
            Ok(reader.finish().1.digest)
        };
        let loads = (digest(&image.config)?, image.layers.iter().map(digest).collect::<Result<Vec<_>, _>>()?);
        for entry in &self.entries {
            // What cannot be read has faults of its own, which are found when it is looked at.
            let Ok(manifests) = manifests(self, &entry.root) else { return Ok(()) };
            let is_loaded = |manifest: &Manifest| match &manifest.links {
                Links::Image { config, layers } => {
                    (config.digest, layers.iter().map(|layer| layer.digest).collect::<Vec<_>>()) == loads
                }
                _ => false,
            };
            if manifests.iter().any(is_loaded) {
                return Ok(());
            }
        }
        let name = image.repo_tags.first().unwrap_or(&image.config).clone();
        Err(ReadArchiveError::Contradiction { path: self.path.clone(), name })
    }

    /// Makes the manifest that an image of an old Engine's archive has nowhere.
    fn add_docker(&mut self, files: &Files, image: &DockerImage) -> Result<(), ReadArchiveError> {
        let config = self.add_slice(files, &image.config)?;
        let named = image.config.strip_suffix(".json").and_then(|hex| hex.parse::<Digest>().ok());
        if named.is_some_and(|named| named != config.0.digest) {
            let name = image.config.clone();
            return Err(ReadArchiveError::Renamed { path: self.path.clone(), name, actual: config.0.digest });
        }
        let config = Descriptor::new(media_type::CONFIG, config.0);
        let mut layers = Vec::new();
        for name in &image.layers {
            let (blob, gzip) = self.add_slice(files, name)?;
            layers.push(Descriptor::new(if gzip { media_type::LAYER_GZIP } else { media_type::LAYER }, blob));
        }
        let manifest = images::encode_manifest(config, layers)?;
        let root = Descriptor::new(media_type::MANIFEST, manifest.blob);
        self.blobs.insert(manifest.blob.digest, Place::Here(manifest.bytes));
        let named = |reference: &String| LayoutEntry {
            name: reference.rsplit_once(':').map(|(_, tag)| tag.to_owned()),
            reference: Some(reference.clone()),
            root: root.clone(),
        };
        self.entries.extend(image.repo_tags.iter().map(named));
        if image.repo_tags.is_empty() {
            self.entries.push(LayoutEntry { name: None, reference: None, root });
        }
        Ok(())
    }

    /// Hashes a file of the archive, and says whether it is packed with gzip.
    fn add_slice(&mut self, files: &Files, name: &str) -> Result<(Blob, bool), ReadArchiveError> {
        let missing = || ReadArchiveError::Missing { path: self.path.clone(), name: name.to_owned() };
        let (at, size) = files.find(name).ok_or_else(missing)?;
        let mut reader = Hashing::new(slice(&self.path, at, size)?);
        let mut magic = Vec::new();
        let read = reader.by_ref().take(2).read_to_end(&mut magic).and_then(|_| io::copy(&mut reader, &mut io::sink()));
        files::at("reading", &self.path, read)?;
        let (_, blob) = reader.finish();
        self.blobs.insert(blob.digest, Place::Slice(at, size));
        Ok((blob, magic == [0x1f, 0x8b]))
    }
}

impl Source for ArchiveFile {
    fn open(&self, blob: &Blob, from: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let digest = blob.digest;
        match self.blobs.get(&digest) {
            None => Err(SourceError::Missing { digest }),
            Some(Place::Here(bytes)) => {
                let mut cursor = Cursor::new(bytes.clone());
                cursor.set_position(from);
                Ok(Box::new(cursor))
            }
            Some(Place::Slice(at, size)) => {
                let skipped = from.min(*size);
                let reader = slice(&self.path, at + skipped, size - skipped);
                Ok(Box::new(reader.map_err(|error| SourceError::Read { digest, source: error.source })?))
            }
        }
    }

    fn size(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|place| match place {
            Place::Here(bytes) => bytes.len() as u64,
            Place::Slice(_, size) => *size,
        })
    }
}

impl Files {
    /// A file by name, through the links that old Engines write for layers that images share.
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let target = self.links.get(name).map_or(name, String::as_str);
        self.slices.get(target).copied()
    }
}

fn entry(root: Descriptor) -> LayoutEntry {
    let said = |key: &str| {
        let text = root.annotations.get(key)?;
        (!text.chars().any(char::is_control)).then(|| text.clone())
    };
    let reference = said(annotation::CONTAINERD_NAME);
    // `docker save` writes the tag alone, buildx at times the whole reference.
    LayoutEntry { name: said(annotation::REF_NAME), reference, root }
}

/// The places of all files, from the headers alone.
fn scan(path: &Path) -> Result<Files, ReadArchiveError> {
    let no_tar = |source| ReadArchiveError::Tar { path: path.to_owned(), source };
    let mut archive = tar::Archive::new(files::open(path)?);
    let mut found = Files::default();
    for (count, entry) in archive.entries_with_seek().map_err(no_tar)?.raw(true).enumerate() {
        let entry = entry.map_err(no_tar)?;
        if count >= MOST_FILES {
            return Err(ReadArchiveError::TooMany { path: path.to_owned() });
        }
        let Some(name) = normal(&entry.path_bytes(), "") else { continue };
        let kind = entry.header().entry_type();
        if kind.is_file() {
            found.slices.insert(name, (entry.raw_file_position(), entry.size()));
        } else if (kind.is_symlink() || kind.is_hard_link())
            && let Some(link) = entry.link_name_bytes()
        {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let folder = if kind.is_symlink() { folder } else { "" };
            if let Some(target) = normal(&link, folder) {
                found.links.insert(name, target);
            }
        }
    }
    Ok(found)
}

/// A name without `.` and `..`, in `folder`. `None` for what is no UTF-8 or leaves the archive, which nothing asks for.
fn normal(bytes: &[u8], folder: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in std::str::from_utf8(bytes).ok()?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn slice(path: &Path, at: u64, size: u64) -> Result<io::Take<files::File>, FileError> {
    let mut file = files::open(path)?;
    files::at("reading", path, file.seek(SeekFrom::Start(at)))?;
    Ok(file.take(size))
}

fn small(path: &Path, (at, size): (u64, u64), file: &'static str) -> Result<Vec<u8>, ReadArchiveError> {
    if size > LONGEST {
        let reason = ReadError::TooLong { document: file, size };
        return Err(ReadArchiveError::Document { path: path.to_owned(), file, reason });
    }
    let mut bytes = Vec::new();
    files::at("reading", path, slice(path, at, size)?.read_to_end(&mut bytes))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_an_archive_have_one_form() {
        let cases = [
            ("./blobs/sha256/a", "", Some("blobs/sha256/a")),
            ("../x/layer.tar", "y", Some("x/layer.tar")),
            ("../../x", "y", None),
            ("/a//b/", "", Some("a/b")),
        ];
        for (name, folder, expected) in cases {
            assert_eq!(normal(name.as_bytes(), folder).as_deref(), expected, "{name}");
        }
        assert_eq!(normal(b"\xff", ""), None);
    }
}
