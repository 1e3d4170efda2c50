//! The proof that a stripped program is the same program.
//!
//! It trusts nothing of the work it checks: the headers are read by goblin, not by the parser that planned the file,
//! and every loaded byte is compared with the input's. Both files are streamed.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use goblin::{
    container::{Container, Ctx},
    elf::{
        Elf, Header, ProgramHeader, SectionHeader,
        section_header::{SHT_NOBITS, SHT_NULL, SHT_STRTAB},
    },
};

use super::{layout::header_fields, tables::Class};

/// Most bytes of a table that are read for the check: 65535 entries of 64 bytes.
const TABLE_LIMIT: u64 = 4 << 20;

/// How a stripped program differs from its input.
#[derive(Debug, thiserror::Error)]
pub enum NotIdentical {
    #[error("reading it: {0}")]
    Reading(#[from] io::Error),
    #[error("a second parser refuses it: {0}")]
    Refused(#[from] goblin::error::Error),
    #[error("its {what} differ")]
    Headers { what: &'static str },
    #[error("its loaded bytes differ between {} and {}", range.start, range.end)]
    Bytes { range: Range<u64> },
    #[error("its section table is wrong: {what}")]
    Sections { what: &'static str },
}

/// Compares a stripped program with what it was made from.
pub(super) fn check<A: Read + Seek, B: Read + Seek>(mut before: A, mut after: B) -> Result<(), NotIdentical> {
    let old = Head::read(&mut before)?;
    let new = Head::read(&mut after)?;
    if old.masked() != new.masked() {
        return Err(NotIdentical::Headers { what: "ELF headers" });
    }
    if old.segments != new.segments {
        return Err(NotIdentical::Headers { what: "program headers" });
    }
    sections_are_sound(&new, &mut after)?;
    for range in new.loaded_ranges() {
        if !equal(&mut before, &mut after, &range)? {
            return Err(NotIdentical::Bytes { range });
        }
    }
    Ok(())
}

/// The ELF header and program headers as goblin reads them.
struct Head {
    bytes: Vec<u8>,
    header: Header,
    context: Ctx,
    segments: Vec<ProgramHeader>,
}

impl Head {
    fn read<R: Read + Seek>(file: &mut R) -> Result<Self, NotIdentical> {
        let mut bytes = bytes_of(file, 0, 64)?;
        let header = Elf::parse_header(&bytes)?;
        bytes.truncate(header.e_ehsize.into());
        let context = Ctx::new(header.container()?, header.endianness()?);
        let count = usize::from(header.e_phnum);
        let size = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
        let table = bytes_of(file, header.e_phoff, size)?;
        let segments = ProgramHeader::parse(&table, 0, count, context)?;
        Ok(Self { bytes, header, context, segments })
    }

    /// The header without the three fields that stripping changes.
    fn masked(&self) -> Vec<u8> {
        let class = if self.context.container == Container::Big { Class::Elf64 } else { Class::Elf32 };
        let mut bytes = self.bytes.clone();
        for field in header_fields(class) {
            if let Some(field) = bytes.get_mut(field) {
                field.fill(0);
            }
        }
        bytes
    }

    /// The file ranges of all segments behind the ELF header, in order, those that overlap joined.
    fn loaded_ranges(&self) -> Vec<Range<u64>> {
        let head = self.bytes.len() as u64;
        let mut ranges: Vec<Range<u64>> = self
            .segments
            .iter()
            .map(|segment| segment.p_offset.max(head)..segment.p_offset.saturating_add(segment.p_filesz))
            .filter(|range| range.start < range.end)
            .collect();
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let joined = next.start <= range.end;
            if joined {
                range.end = range.end.max(next.end);
            }
            joined
        });
        ranges
    }
}

/// Every section lies in the file, and where it is loaded, in a segment that loads it.
fn sections_are_sound<R: Read + Seek>(head: &Head, file: &mut R) -> Result<(), NotIdentical> {
    let length = file.seek(SeekFrom::End(0))?;
    let size = u64::from(head.header.e_shnum) * u64::from(head.header.e_shentsize);
    let table = bytes_of(file, head.header.e_shoff, size)?;
    let sections = SectionHeader::parse_from(&table, 0, head.header.e_shnum.into(), head.context)?;
    for section in &sections {
        let end = section.sh_offset.checked_add(section.sh_size);
        if !matches!(section.sh_type, SHT_NULL | SHT_NOBITS) && end.is_none_or(|end| end > length) {
            return Err(NotIdentical::Sections { what: "a section ends beyond the file" });
        }
        if usize::try_from(section.sh_link).is_ok_and(|link| link >= sections.len()) {
            return Err(NotIdentical::Sections { what: "a section is linked to one that is not there" });
        }
    }
    match sections.get(usize::from(head.header.e_shstrndx)) {
        Some(names) if names.sh_type == SHT_STRTAB => {}
        _ => return Err(NotIdentical::Sections { what: "the section of the names is none" }),
    }
    Ok(())
}

fn bytes_of<R: Read + Seek>(file: &mut R, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > TABLE_LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether both files have the same bytes in `range`, all of them.
fn equal<A: Read + Seek, B: Read + Seek>(a: &mut A, b: &mut B, range: &Range<u64>) -> io::Result<bool> {
    const BLOCK: usize = 256 << 10;
    a.seek(SeekFrom::Start(range.start))?;
    b.seek(SeekFrom::Start(range.start))?;
    let (mut of_a, mut of_b) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut left = range.end - range.start;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        a.read_exact(&mut of_a[..size])?;
        b.read_exact(&mut of_b[..size])?;
        if of_a[..size] != of_b[..size] {
            return Ok(false);
        }
        left -= size as u64;
    }
    Ok(true)
}
