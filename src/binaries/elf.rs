//! What a program file is: for which platform, how it is linked, what it needs, and what can be done to it.
//!
//! Only headers and tables are read ([`super::tables`]), so a file of any size is inspected in a millisecond and in some
//! kilobytes of memory. Whatever bytes come, the answer is an [`Inspection`] or one of the cases of [`ElfError`].

use std::{
    fmt,
    io::{self, Read, Seek},
};

use object::elf;

pub use super::other::NotElf;
use super::{
    layout::Layout,
    tables::{Segment, Tables},
};
use crate::base::Platform;

/// What is known of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Length of the file in bytes.
    pub size: u64,
    pub platform: Platform,
    /// How a 32-bit ARM file passes floating-point numbers, where it says so. Go's own linker does not.
    pub float: Option<FloatAbi>,
    pub kind: Kind,
    /// The program that loads this one, such as `/lib/ld-musl-x86_64.so.1`. A static program has none.
    pub interpreter: Option<String>,
    /// The libraries that the file names as needed, in its order.
    pub needed: Vec<String>,
    /// Whether Go's compiler made it.
    pub go: bool,
    pub has_sections: bool,
    /// Bytes that [`super::strip`] would take away; 0 when it would leave the file as it is.
    pub surplus: u64,
    /// Whether UPX has packed it already.
    pub packed: bool,
    /// File bytes of the executable segment, the largest one if there are several. UPX trips over some of these sizes.
    pub executable_bytes: u64,
}

/// How a file is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At fixed addresses, and needs nothing else.
    StaticExecutable,
    /// At fixed addresses, and loaded by an interpreter.
    DynamicExecutable,
    /// A program for any address, static or dynamic.
    PositionIndependent,
    SharedObject,
}

/// How 32-bit ARM passes floating-point numbers: in its registers for them, or in those for integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatAbi {
    Hard,
    Soft,
}

/// Why a file is no ELF file that kletimg can use.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("the file is no Linux program but {0}")]
    NotElf(NotElf),
    #[error("the program is made for {found}; kletimg builds images for linux/amd64, linux/arm64 and linux/arm/v7")]
    Machine { found: String },
    #[error("the file is {0}, which is no program and no shared library")]
    Type(&'static str),
    #[error("the file is cut off: its {what} reach to byte {needs}, but it ends at byte {has}")]
    Truncated { what: &'static str, needs: u64, has: u64 },
    #[error("the file is damaged: its {what} make no sense")]
    Malformed { what: &'static str },
    #[error("reading the program: {0}")]
    Reading(#[source] io::Error),
}

/// Inspects the file in `source`, wherever that stands.
pub fn inspect<R: Read + Seek>(source: R) -> Result<Inspection, ElfError> {
    let tables = Tables::read(source)?;
    let has_section = |name: &[u8]| tables.sections.iter().any(|section| section.name == name);
    Ok(Inspection {
        size: tables.length,
        platform: tables.platform,
        float: tables.float,
        kind: kind(&tables)?,
        interpreter: tables.interpreter.clone(),
        needed: tables.dynamic.as_ref().map(|dynamic| dynamic.needed.clone()).unwrap_or_default(),
        go: tables.go_note || has_section(b".go.buildinfo") || has_section(b".note.go.buildid"),
        has_sections: !tables.sections.is_empty(),
        surplus: Layout::of(&tables).map_or(0, |layout| tables.length.saturating_sub(layout.total)),
        packed: tables.upx_magic && tables.sections.is_empty(),
        executable_bytes: executable_bytes(&tables.segments),
    })
}

fn kind(tables: &Tables) -> Result<Kind, ElfError> {
    match (elf::FileType(tables.file_type), &tables.dynamic) {
        (elf::ET_EXEC, dynamic) => {
            let needs = dynamic.as_ref().is_some_and(|dynamic| !dynamic.needed.is_empty());
            Ok(if needs || tables.interpreter.is_some() { Kind::DynamicExecutable } else { Kind::StaticExecutable })
        }
        // A library cannot do without a dynamic section; a packed or very small position-independent program can.
        (elf::ET_DYN, None) => Ok(Kind::PositionIndependent),
        // The C library has an interpreter too, and so do others that say something when they are run: a name of its
        // own (DT_SONAME) marks the library, unless the linker has marked the program.
        (elf::ET_DYN, Some(dynamic)) => {
            let program = dynamic.marked_pie || (tables.interpreter.is_some() && !dynamic.has_soname);
            Ok(if program { Kind::PositionIndependent } else { Kind::SharedObject })
        }
        (elf::ET_REL, _) => Err(ElfError::Type("an object file")),
        (elf::ET_CORE, _) => Err(ElfError::Type("a core dump")),
        _ => Err(ElfError::Type("an ELF file of an unknown type")),
    }
}

fn executable_bytes(segments: &[Segment]) -> u64 {
    let executable = |segment: &&Segment| segment.kind == elf::PT_LOAD.0 && segment.flags & elf::PF_X.0 != 0;
    segments.iter().filter(executable).map(|segment| segment.file_size).max().unwrap_or(0)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StaticExecutable => "static executable",
            Self::DynamicExecutable => "dynamic executable",
            Self::PositionIndependent => "position-independent executable",
            Self::SharedObject => "shared library",
        })
    }
}

impl fmt::Display for Inspection {
    /// One line: `linux/arm64 static executable, Go`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.platform, self.kind)?;
        if self.go {
            f.write_str(", Go")?;
        }
        if self.packed {
            f.write_str(", packed")?;
        }
        Ok(())
    }
}
