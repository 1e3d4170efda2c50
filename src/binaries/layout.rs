//! Where everything lies in a stripped file.
//!
//! The loader reads segments and nothing else, so every byte up to the end of the last one stays where it is. What
//! follows in most files (symbols, debug data, their strings, the section table) is replaced by a section table that
//! names only what the loader maps, for the tools that read it: `go version`, debuggers, UPX. Go's own linker puts the
//! section table *inside* the first segment; those bytes stay too, unused.

use std::{collections::BTreeMap, ops::Range};

use object::elf;

use super::tables::{Class, Section, Tables};

/// The name of the section that holds the names.
const NAMES: &[u8] = b".shstrtab";

/// From this number on a header cannot count sections without the extension (`SHN_LORESERVE`).
const TOO_MANY_SECTIONS: usize = 0xff00;

/// A stripped file, planned.
#[derive(Debug)]
pub(super) struct Layout {
    /// The bytes from the beginning that stay as they are, but for three fields of the header.
    pub(super) kept: u64,
    /// Unloaded sections that are kept, by where they were, with where they go.
    pub(super) moved: Vec<(Range<u64>, u64)>,
    /// The section names and where they go.
    pub(super) names: Vec<u8>,
    pub(super) names_offset: u64,
    /// The section table and where it goes.
    pub(super) table: Vec<u8>,
    pub(super) table_offset: u64,
    pub(super) section_count: u16,
    /// Length of the whole file in bytes.
    pub(super) total: u64,
}

/// Why a file is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unstrippable {
    #[error("it has no section table")]
    NoSections,
    #[error("nothing of it is loaded")]
    NoSegments,
    #[error("a loaded section lies outside of what is loaded")]
    SectionOutside,
    #[error("it has too many sections")]
    TooManySections,
    #[error("there is nothing to strip")]
    NothingToGain,
}

impl Layout {
    /// Plans the stripped form of a file, which may turn out no smaller.
    pub(super) fn of(tables: &Tables) -> Result<Self, Unstrippable> {
        if tables.sections.is_empty() {
            return Err(Unstrippable::NoSections);
        }
        let kept_bytes = loaded_end(tables)?;
        let kept = kept_sections(tables, kept_bytes)?;
        let Placed { mut sections, moved, end } = place(tables, kept_bytes, &kept);
        sections.push(Section {
            name: NAMES.to_vec(),
            kind: elf::SHT_STRTAB.0,
            offset: end,
            alignment: 1,
            ..Section::default()
        });
        let (names, name_offsets) = name_table(&sections);
        if let Some(last) = sections.last_mut() {
            last.size = names.len() as u64;
        }
        let names_offset = end;
        let table_offset = (names_offset + names.len() as u64).next_multiple_of(match tables.class {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        });
        let table: Vec<u8> = sections
            .iter()
            .flat_map(|section| entry(tables.class, section, name_offsets.get(&section.name).copied().unwrap_or(0)))
            .collect();
        let section_count = u16::try_from(sections.len()).map_err(|_| Unstrippable::TooManySections)?;
        let total = table_offset + table.len() as u64;
        Ok(Self { kept: kept_bytes, moved, names, names_offset, table, table_offset, section_count, total })
    }

    /// The ELF header of the stripped file: `e_shoff`, `e_shnum` and `e_shstrndx` are new.
    pub(super) fn header(&self, tables: &Tables) -> Vec<u8> {
        let mut header = tables.header.clone();
        let [offset, count, names] = header_fields(tables.class);
        header[offset.clone()].copy_from_slice(&self.table_offset.to_le_bytes()[..offset.len()]);
        header[count].copy_from_slice(&self.section_count.to_le_bytes());
        header[names].copy_from_slice(&(self.section_count - 1).to_le_bytes());
        header
    }
}

/// The sections that stay, as they will stand in the new table.
struct Placed {
    sections: Vec<Section>,
    moved: Vec<(Range<u64>, u64)>,
    /// Where the last of them ends.
    end: u64,
}

/// Gives the sections that stay their new indexes, and those that are not loaded their new places.
fn place(tables: &Tables, kept_bytes: u64, kept: &[Option<usize>]) -> Placed {
    let indexes: BTreeMap<usize, u32> = (0..).zip(kept).filter_map(|(new, old)| Some(((*old)?, new))).collect();
    // A link to a section that is gone becomes 0, which is none.
    let new_index = |old: u32| usize::try_from(old).ok().and_then(|old| indexes.get(&old)).copied().unwrap_or(0);
    let mut placed = Placed { sections: Vec::with_capacity(kept.len() + 1), moved: Vec::new(), end: kept_bytes };
    for old in kept {
        let mut section = old.map(|old| tables.sections[old].clone()).unwrap_or_default();
        if let Some(range) = section.file_range().filter(|range| range.end > kept_bytes) {
            section.offset = placed.end.next_multiple_of(section.alignment.clamp(1, 16));
            placed.end = section.offset + (range.end - range.start);
            placed.moved.push((range, section.offset));
        }
        section.link = new_index(section.link);
        if section.flags & elf::SHF_INFO_LINK.0 != 0 {
            section.info = new_index(section.info);
        }
        placed.sections.push(section);
    }
    placed
}

/// Where `e_shoff`, `e_shnum` and `e_shstrndx` lie in the header (`Elf32_Ehdr`, `Elf64_Ehdr`).
pub(super) const fn header_fields(class: Class) -> [Range<usize>; 3] {
    match class {
        Class::Elf32 => [32..36, 48..50, 50..52],
        Class::Elf64 => [40..48, 60..62, 62..64],
    }
}

/// Where the last byte that must stay in place ends.
fn loaded_end(tables: &Tables) -> Result<u64, Unstrippable> {
    let ends = tables.segments.iter().filter(|segment| segment.file_size > 0);
    let end = ends.map(|segment| segment.offset + segment.file_size).max().ok_or(Unstrippable::NoSegments)?;
    Ok(end.max(tables.program_headers_end))
}

/// The old indexes of the sections that stay: the empty first one, all that are loaded, and ARM's attributes, which say
/// what processor the program needs and which strip(1) keeps for that reason.
///
/// `None` stands for an empty entry. Dynamic symbols name their sections by index, in bytes that must not change, and
/// Go's linker numbers some unloaded sections before loaded ones: those leave an empty entry behind.
fn kept_sections(tables: &Tables, kept_bytes: u64) -> Result<Vec<Option<usize>>, Unstrippable> {
    let attributes = |section: &Section| {
        tables.platform == crate::base::Platform::ArmV7 && section.kind == elf::SHT_ARM_ATTRIBUTES.0
    };
    // The first symbol of a table is empty.
    let names_sections = |section: &Section| section.kind == elf::SHT_DYNSYM.0 && section.size > section.entry_size;
    let has_symbols = tables.sections.iter().any(names_sections);
    let mut kept = vec![Some(0)];
    let mut unloaded = None;
    for (index, section) in tables.sections.iter().enumerate().skip(1) {
        let range = section.file_range();
        if section.is_allocated() {
            if range.is_some_and(|range| range.end > kept_bytes) {
                return Err(Unstrippable::SectionOutside);
            }
            if has_symbols {
                kept.resize(index, None);
            }
            kept.push(Some(index));
        } else if attributes(section) {
            unloaded = unloaded.or(Some(index));
        }
    }
    kept.extend(unloaded.map(Some));
    if kept.len() + 1 >= TOO_MANY_SECTIONS { Err(Unstrippable::TooManySections) } else { Ok(kept) }
}

/// The names of all sections, each ended by a zero byte, and where each begins. A name that ends another one shares its
/// bytes, as the tail of `.rela.plt` is `.plt`: sorted by their reversed bytes, such names are neighbours.
fn name_table(sections: &[Section]) -> (Vec<u8>, BTreeMap<Vec<u8>, u32>) {
    let mut names: Vec<&[u8]> = sections.iter().map(|section| section.name.as_slice()).collect();
    names.sort_unstable_by(|a, b| b.iter().rev().cmp(a.iter().rev()));
    names.dedup();
    let mut table = vec![0];
    let mut offsets = BTreeMap::new();
    let mut last: &[u8] = &[];
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        if !last.ends_with(name) {
            table.extend_from_slice(name);
            table.push(0);
            last = name;
        }
        // The tables that are read are bounded far below 4 GiB, so the names made of them fit.
        let offset = table.len() - 1 - name.len();
        offsets.insert(name.to_vec(), u32::try_from(offset).unwrap_or(0));
    }
    (table, offsets)
}

/// One entry of the section table (`Elf32_Shdr`, `Elf64_Shdr`).
fn entry(class: Class, section: &Section, name: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let mut word = |value: u64, wide: bool| {
        let size = if wide && class == Class::Elf64 { 8 } else { 4 };
        bytes.extend_from_slice(&value.to_le_bytes()[..size]);
    };
    word(name.into(), false);
    word(section.kind.into(), false);
    word(section.flags, true);
    word(section.address, true);
    word(section.offset, true);
    word(section.size, true);
    word(section.link.into(), false);
    word(section.info.into(), false);
    word(section.alignment, true);
    word(section.entry_size, true);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &str) -> Section {
        Section { name: name.as_bytes().to_vec(), ..Section::default() }
    }

    #[test]
    fn names_share_their_tails() {
        let sections = ["", ".plt", ".rela.plt", ".text", ".rela.plt", ".shstrtab"].map(section);
        let (table, offsets) = name_table(&sections);
        for section in sections.iter().skip(1) {
            let start = offsets[&section.name] as usize;
            assert_eq!(&table[start..=start + section.name.len()], [section.name.as_slice(), b"\0"].concat());
        }
        assert_eq!(table.len(), "\0.rela.plt\0.text\0.shstrtab\0".len());
    }

    #[test]
    fn entries_have_the_size_of_their_class() {
        assert_eq!(entry(Class::Elf32, &section(""), 1).len(), 40);
        assert_eq!(entry(Class::Elf64, &section(""), 1).len(), 64);
    }
}
