//! One record of an index: ranges of the index's text, and [`Package`], the view of them that everybody uses.

use std::ops::Range;

use super::{checksum::Checksum, dependency::Dependency, version::Version};

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) whole: Span,
    pub(super) fields: [Span; TEXTS.len()],
    pub(super) size: u64,
    pub(super) installed_size: u64,
    pub(super) build_time: u64,
    pub(super) provider_priority: u16,
    pub(super) checksum: Option<Checksum>,
}

/// A range of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) begin: u32,
    pub(super) end: u32,
}

/// The fields that are kept as text, in the order of [`Field`].
pub(super) const TEXTS: &[u8; 12] = b"PVATULomcDpi";

#[derive(Clone, Copy)]
pub(super) enum Field {
    Name,
    Version,
    Arch,
    Description,
    Url,
    License,
    Origin,
    Maintainer,
    Commit,
    Depends,
    Provides,
    InstallIf,
}

/// One package, with its own text.
#[derive(Clone, Debug)]
pub struct OwnedPackage {
    text: String,
    record: Record,
}

impl OwnedPackage {
    pub fn as_package(&self) -> Package<'_> {
        Package { text: &self.text, record: &self.record }
    }
}

/// One package of an index.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    pub(super) text: &'a str,
    pub(super) record: &'a Record,
}

impl<'a> Package<'a> {
    pub fn name(self) -> &'a str {
        self.field(Field::Name)
    }

    pub fn version(self) -> Version<'a> {
        Version::checked(self.field(Field::Version))
    }

    /// The SHA-1 of the compressed control part: what apk knows the package by.
    pub fn checksum(self) -> Checksum {
        self.record.checksum.unwrap_or_else(|| Checksum::of(&[]))
    }

    pub fn arch(self) -> &'a str {
        self.field(Field::Arch)
    }

    pub fn description(self) -> &'a str {
        self.field(Field::Description)
    }

    pub fn url(self) -> &'a str {
        self.field(Field::Url)
    }

    pub fn license(self) -> &'a str {
        self.field(Field::License)
    }

    /// The source package, empty where the index does not say.
    pub fn origin(self) -> &'a str {
        self.field(Field::Origin)
    }

    pub fn maintainer(self) -> &'a str {
        self.field(Field::Maintainer)
    }

    pub fn commit(self) -> &'a str {
        self.field(Field::Commit)
    }

    /// The size of the package file in bytes.
    pub fn size(self) -> u64 {
        self.record.size
    }

    /// What the package's files take, in bytes. Zero for a package without files.
    pub fn installed_size(self) -> u64 {
        self.record.installed_size
    }

    /// Seconds since 1970.
    pub fn build_time(self) -> u64 {
        self.record.build_time
    }

    pub fn provider_priority(self) -> u16 {
        self.record.provider_priority
    }

    pub fn depends(self) -> impl Iterator<Item = Dependency<'a>> {
        self.dependencies(Field::Depends)
    }

    pub fn provides(self) -> impl Iterator<Item = Dependency<'a>> {
        self.dependencies(Field::Provides)
    }

    pub fn install_if(self) -> impl Iterator<Item = Dependency<'a>> {
        self.dependencies(Field::InstallIf)
    }

    /// `name-version.apk`, the package's file in its repository.
    pub fn file_name(self) -> String {
        format!("{}-{}.apk", self.name(), self.version())
    }

    /// The record as the index has it, without the empty line that ends it.
    pub fn record(self) -> &'a str {
        self.slice(self.record.whole)
    }

    /// A copy that stands without the index.
    pub fn to_owned(self) -> OwnedPackage {
        let begin = self.record.whole.begin;
        let moved = |span: Span| Span { begin: span.begin.saturating_sub(begin), end: span.end.saturating_sub(begin) };
        let mut record = self.record.clone();
        record.whole = moved(record.whole);
        record.fields = record.fields.map(moved);
        OwnedPackage { text: self.record().to_owned(), record }
    }

    fn dependencies(self, field: Field) -> impl Iterator<Item = Dependency<'a>> {
        // Reading the index has found every error there could be.
        Dependency::checked_list(self.field(field))
    }

    fn field(self, field: Field) -> &'a str {
        self.slice(self.record.fields[field as usize])
    }

    fn slice(self, span: Span) -> &'a str {
        self.text.get(span.begin as usize..span.end as usize).unwrap_or_default()
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        let narrow = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        Self { begin: narrow(range.start), end: narrow(range.end) }
    }
}
