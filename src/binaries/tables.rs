//! The headers and tables of an ELF file as plain numbers, the same for 32 and 64 bits.
//!
//! Every size and offset of the file is compared with its length here, and all that is read goes through the budget of
//! [`super::source`]. What the numbers mean is left to [`super::elf`], what may be cut away to [`super::layout`].

use std::{
    io::{Read, Seek},
    ops::Range,
};

use object::{
    LittleEndian,
    elf::{self, FileHeader32, FileHeader64},
    read::{
        ReadRef as _, StringTable,
        elf::{Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _},
    },
};

use super::{
    elf::{ElfError, FloatAbi},
    machine, other,
    source::{self, Bounded, LONGEST_NAME},
};
use crate::base::Platform;

/// Everything that the other parts need to know of a file.
#[derive(Debug)]
pub(super) struct Tables {
    /// Length of the file in bytes.
    pub(super) length: u64,
    pub(super) class: Class,
    pub(super) platform: Platform,
    pub(super) float: Option<FloatAbi>,
    pub(super) file_type: u16,
    /// The ELF header as it stands in the file.
    pub(super) header: Vec<u8>,
    /// Where the program headers end.
    pub(super) program_headers_end: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
    pub(super) interpreter: Option<String>,
    pub(super) dynamic: Option<Dynamic>,
    pub(super) go_note: bool,
    pub(super) upx_magic: bool,
}

/// Whether addresses and offsets have 32 or 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Elf32,
    Elf64,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) alignment: u64,
    pub(super) entry_size: u64,
}

/// What the dynamic section says.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    pub(super) has_soname: bool,
    pub(super) marked_pie: bool,
}

impl Class {
    /// Bytes of the ELF header.
    pub(super) const fn header_size(self) -> usize {
        match self {
            Self::Elf32 => 52,
            Self::Elf64 => 64,
        }
    }
}

impl Section {
    pub(super) const fn is_allocated(&self) -> bool {
        self.flags & elf::SHF_ALLOC.0 != 0
    }

    /// The bytes that the section has in the file, `None` for one that has none.
    pub(super) fn file_range(&self) -> Option<Range<u64>> {
        let has_bytes = self.kind != elf::SHT_NOBITS.0 && self.kind != elf::SHT_NULL.0 && self.size > 0;
        has_bytes.then(|| self.offset..self.offset.saturating_add(self.size))
    }
}

impl Tables {
    /// Reads the tables of the file in `source`.
    pub(super) fn read<R: Read + Seek>(source: R) -> Result<Self, ElfError> {
        source::with(source, read_tables)
    }
}

fn read_tables<R: Read + Seek>(data: Bounded<'_, R>) -> Result<Tables, ElfError> {
    let length = data.len().map_err(|()| ElfError::Malformed { what: "length" })?;
    let start = data.bytes("first bytes", 0, length.min(512))?;
    let Some(ident) = start.strip_prefix(&elf::ELFMAG[..]) else {
        return Err(ElfError::NotElf(other::identify(start)));
    };
    let (Some(&class), Some(&encoding)) = (ident.first(), ident.get(1)) else {
        return Err(ElfError::Truncated { what: "ELF header", needs: 64, has: length });
    };
    if elf::DataEncoding(encoding) != elf::ELFDATA2LSB {
        return Err(ElfError::Machine { found: machine::big_endian(start) });
    }
    match elf::FileClass(class) {
        elf::ELFCLASS64 => tables_of::<FileHeader64<LittleEndian>, R>(data, length, Class::Elf64),
        elf::ELFCLASS32 => tables_of::<FileHeader32<LittleEndian>, R>(data, length, Class::Elf32),
        _ => Err(ElfError::Malformed { what: "ELF header" }),
    }
}

fn tables_of<H, R>(data: Bounded<'_, R>, length: u64, class: Class) -> Result<Tables, ElfError>
where
    H: FileHeader<Endian = LittleEndian>,
    R: Read + Seek,
{
    let header_size = class.header_size() as u64;
    if class == Class::Elf32 && length > u32::MAX.into() {
        return Err(ElfError::Malformed { what: "length" });
    }
    reaches("ELF header", Some(header_size), length)?;
    let header = H::parse(data).map_err(|_| ElfError::Malformed { what: "ELF header" })?;
    let (platform, float) = machine::platform(class, header.e_machine(LittleEndian).0, header.e_flags(LittleEndian).0)
        .map_err(|found| ElfError::Machine { found })?;
    let (segments, program_headers_end) = segments_of(header, data, length)?;
    let sections = sections_of(header, data, length)?;
    let dynamic = dynamic_of(header, data, &segments)?;
    Ok(Tables {
        length,
        class,
        platform,
        float,
        file_type: header.e_type(LittleEndian).0,
        header: data.bytes("ELF header", 0, header_size)?.to_vec(),
        program_headers_end: program_headers_end.max(header_size),
        interpreter: interpreter_of(data, &segments)?,
        dynamic,
        go_note: has_go_note(header, data),
        upx_magic: has_upx_magic(data, program_headers_end, length)?,
        segments,
        sections,
    })
}

/// A part of the file must end where the file ends or before.
fn reaches(what: &'static str, end: Option<u64>, length: u64) -> Result<u64, ElfError> {
    match end {
        Some(end) if end <= length => Ok(end),
        Some(needs) => Err(ElfError::Truncated { what, needs, has: length }),
        None => Err(ElfError::Malformed { what }),
    }
}

/// Where a table of `count` entries ends.
fn table_end(offset: u64, count: u32, entry: u16) -> Option<u64> {
    u64::from(count).checked_mul(u64::from(entry)).and_then(|size| offset.checked_add(size))
}

fn segments_of<H, R>(header: &H, data: Bounded<'_, R>, length: u64) -> Result<(Vec<Segment>, u64), ElfError>
where
    H: FileHeader<Endian = LittleEndian>,
    R: Read + Seek,
{
    const WHAT: &str = "program headers";
    let endian = LittleEndian;
    let malformed = |_| ElfError::Malformed { what: WHAT };
    let count = header.phnum(endian, data).map_err(malformed)?;
    let end = table_end(header.e_phoff(endian).into(), count, header.e_phentsize(endian));
    let end = reaches(WHAT, end, length)?;
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, data).map_err(malformed)? {
        let segment = Segment {
            kind: segment.p_type(endian).0,
            flags: segment.p_flags(endian).0,
            offset: segment.p_offset(endian).into(),
            address: segment.p_vaddr(endian).into(),
            file_size: segment.p_filesz(endian).into(),
        };
        if segment.file_size > 0 {
            reaches("segments", segment.offset.checked_add(segment.file_size), length)?;
        }
        segments.push(segment);
    }
    Ok((segments, end))
}

fn sections_of<H, R>(header: &H, data: Bounded<'_, R>, length: u64) -> Result<Vec<Section>, ElfError>
where
    H: FileHeader<Endian = LittleEndian>,
    R: Read + Seek,
{
    const WHAT: &str = "section table";
    let endian = LittleEndian;
    let malformed = |_| ElfError::Malformed { what: WHAT };
    let offset: u64 = header.e_shoff(endian).into();
    if offset == 0 {
        return Ok(Vec::new());
    }
    reaches(WHAT, offset.checked_add(u64::from(header.e_shentsize(endian))), length)?;
    let count = header.shnum(endian, data).map_err(malformed)?;
    reaches(WHAT, table_end(offset, count, header.e_shentsize(endian)), length)?;
    let headers = header.section_headers(endian, data).map_err(malformed)?;
    let names = match header.section_strings_index(endian, data).ok().and_then(|index| headers.get(index.0)) {
        Some(strings) => {
            let (offset, size) = strings.file_range(endian).unwrap_or((0, 0));
            data.bytes("section names", offset, size)?
        }
        None => &[],
    };
    let names = StringTable::new(names, 0, names.len() as u64);
    let mut sections = Vec::with_capacity(headers.len());
    for section in headers {
        let name = names.get(section.sh_name(endian)).unwrap_or_default();
        data.spend(name.len() as u64).map_err(|()| ElfError::Malformed { what: "section names" })?;
        let section = Section {
            name: name.to_vec(),
            kind: section.sh_type(endian).0,
            flags: section.sh_flags(endian).0,
            address: section.sh_addr(endian).into(),
            offset: section.sh_offset(endian).into(),
            size: section.sh_size(endian).into(),
            link: section.sh_link(endian),
            info: section.sh_info(endian),
            alignment: section.sh_addralign(endian).into(),
            entry_size: section.sh_entsize(endian).into(),
        };
        // Go's linker puts the section table in front: of a download that broke off late, only this tells.
        reaches("sections", section.file_range().map_or(Some(0), |range| Some(range.end)), length)?;
        sections.push(section);
    }
    Ok(sections)
}

fn interpreter_of<R: Read + Seek>(data: Bounded<'_, R>, segments: &[Segment]) -> Result<Option<String>, ElfError> {
    const WHAT: &str = "name of the interpreter";
    let Some(segment) = segments.iter().find(|segment| segment.kind == elf::PT_INTERP.0) else {
        return Ok(None);
    };
    let bytes = data.bytes(WHAT, segment.offset, segment.file_size.min(LONGEST_NAME as u64))?;
    text_until_nul(bytes).map(Some).ok_or(ElfError::Malformed { what: WHAT })
}

fn dynamic_of<H, R>(header: &H, data: Bounded<'_, R>, segments: &[Segment]) -> Result<Option<Dynamic>, ElfError>
where
    H: FileHeader<Endian = LittleEndian>,
    R: Read + Seek,
{
    const WHAT: &str = "dynamic section";
    let endian = LittleEndian;
    let malformed = |_| ElfError::Malformed { what: WHAT };
    let mut entries = None;
    for segment in header.program_headers(endian, data).map_err(malformed)? {
        entries = entries.or(segment.dynamic(endian, data).map_err(malformed)?);
    }
    let Some(entries) = entries else { return Ok(None) };
    let entries = entries.iter().map(|entry| (entry.tag(endian), entry.val(endian)));
    let entries = || entries.clone().take_while(|(tag, _)| *tag != elf::DT_NULL);
    let strings = entries().find(|(tag, _)| *tag == elf::DT_STRTAB).and_then(|(_, at)| file_offset(segments, at));
    let mut dynamic = Dynamic::default();
    for (tag, value) in entries() {
        match tag {
            elf::DT_NEEDED => {
                let offset = strings.and_then(|strings| strings.checked_add(value));
                let name = offset.and_then(|offset| data.text(offset));
                dynamic.needed.push(name.ok_or(ElfError::Malformed { what: "names of the needed libraries" })?);
            }
            elf::DT_SONAME => dynamic.has_soname = true,
            elf::DT_FLAGS_1 => dynamic.marked_pie = value & elf::DF_1_PIE.0 != 0,
            _ => {}
        }
    }
    Ok(Some(dynamic))
}

/// Where the byte that is loaded at `address` lies in the file.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments.iter().filter(|segment| segment.kind == elf::PT_LOAD.0).find_map(|segment| {
        let within = address.checked_sub(segment.address).filter(|within| *within < segment.file_size)?;
        segment.offset.checked_add(within)
    })
}

/// Go's linker writes its build id as a note of the owner `Go` (cmd/link/internal/ld/elf.go, `.note.go.buildid`). Notes
/// that cannot be read are nobody's: they decide nothing else.
fn has_go_note<H, R>(header: &H, data: Bounded<'_, R>) -> bool
where
    H: FileHeader<Endian = LittleEndian>,
    R: Read + Seek,
{
    let segments = header.program_headers(LittleEndian, data).unwrap_or_default();
    segments.iter().filter_map(|segment| segment.notes(LittleEndian, data).ok().flatten()).any(|mut notes| {
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"Go" {
                return true;
            }
        }
        false
    })
}

/// UPX puts its magic into the loader information right behind the program headers, and again into the pack header in
/// the last bytes of the file (UPX sources, `src/conf.h` `UPX_MAGIC_LE32`, `src/p_unix.h` `l_info`).
fn has_upx_magic<R: Read + Seek>(data: Bounded<'_, R>, headers_end: u64, length: u64) -> Result<bool, ElfError> {
    const MAGIC: &[u8] = b"UPX!";
    const WHAT: &str = "last bytes";
    let behind = data.bytes(WHAT, headers_end, (length - headers_end).min(64))?;
    let last = data.bytes(WHAT, length.saturating_sub(64), length.min(64))?;
    Ok([behind, last].iter().all(|bytes| bytes.windows(MAGIC.len()).any(|window| window == MAGIC)))
}

fn text_until_nul(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    // Displayed and looked up, never written into a file: a name that is no UTF-8 names nothing we would install.
    String::from_utf8(bytes[..end].to_vec()).ok()
}
