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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::binaries::sample::{AMD64, ARM, Sample};

    fn inspected(sample: Sample) -> Result<Inspection, ElfError> {
        inspect(Cursor::new(sample.bytes()))
    }

    #[test]
    fn kinds_are_told_apart() {
        let dynamic = Sample { dynamic: true, ..AMD64 };
        let cases = [
            (AMD64, Kind::StaticExecutable),
            (ARM, Kind::StaticExecutable),
            (dynamic, Kind::DynamicExecutable),
            (Sample { file_type: 3, ..AMD64 }, Kind::PositionIndependent),
            (Sample { file_type: 3, ..dynamic }, Kind::PositionIndependent),
            (Sample { file_type: 3, soname: true, ..dynamic }, Kind::SharedObject),
        ];
        for (sample, kind) in cases {
            assert_eq!(inspected(sample).unwrap().kind, kind);
        }
        assert!(matches!(inspected(Sample { file_type: 1, ..AMD64 }), Err(ElfError::Type("an object file"))));
    }

    #[test]
    fn the_tables_are_read_in_both_classes() {
        for sample in [AMD64, ARM] {
            let found = inspected(Sample { dynamic: true, go: true, ..sample }).unwrap();
            assert_eq!(found.interpreter.as_deref(), Some("/lib/ld-musl.so.1"));
            assert_eq!(found.needed, ["libc.so"]);
            assert!(found.go && found.has_sections && !found.packed);
            assert!(found.surplus > 800, "{}", found.surplus);
            assert!(!inspected(sample).unwrap().go);
        }
        let arm = inspected(ARM).unwrap();
        assert_eq!((arm.platform, arm.float), (Platform::ArmV7, Some(FloatAbi::Hard)));
    }

    #[test]
    fn other_machines_are_named() {
        let other = |machine, class| inspected(Sample { class, machine, ..AMD64 }).unwrap_err().to_string();
        assert!(other(243, AMD64.class).contains("64-bit RISC-V"));
        assert!(other(3, ARM.class).contains("32-bit x86"));
        let mut bytes = AMD64.bytes();
        bytes[5] = 2;
        bytes[18..20].copy_from_slice(&[0, 22]);
        assert!(inspect(Cursor::new(bytes)).unwrap_err().to_string().contains("big-endian IBM Z"));
    }

    #[test]
    fn a_file_that_is_cut_off_says_so() {
        let bytes = Sample { dynamic: true, go: true, ..AMD64 }.bytes();
        for length in 4..bytes.len() {
            let error = inspect(Cursor::new(&bytes[..length])).unwrap_err();
            assert!(matches!(error, ElfError::Truncated { has, .. } if has == length as u64), "{length}: {error}");
        }
        for length in 0..4 {
            assert!(matches!(inspect(Cursor::new(&bytes[..length])), Err(ElfError::NotElf(_))), "{length}");
        }
    }

    #[test]
    fn a_claimed_size_is_not_believed() {
        // A million sections in a sparse file of 1 TiB: the table would be there, and is not read.
        struct Sparse(Cursor<Vec<u8>>, u64);
        impl Read for Sparse {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let count = self.0.read(buf)?;
                buf[count..].fill(0);
                Ok(buf.len())
            }
        }
        impl Seek for Sparse {
            fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
                match to {
                    io::SeekFrom::End(_) => Ok(self.1),
                    to => self.0.seek(to),
                }
            }
        }
        let mut bytes = AMD64.bytes();
        let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
        bytes[60..62].fill(0);
        let count = usize::try_from(table).unwrap() + 32;
        bytes[count..count + 8].copy_from_slice(&1_000_000_u64.to_le_bytes());
        let error = inspect(Sparse(Cursor::new(bytes), 1 << 40)).unwrap_err();
        assert!(matches!(error, ElfError::Malformed { what: "section table" }), "{error}");
    }

    #[test]
    fn a_source_that_fails_is_not_called_damaged() {
        struct Broken(Cursor<Vec<u8>>);
        impl Read for Broken {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if self.0.position() > 0 { Err(io::ErrorKind::TimedOut.into()) } else { self.0.read(buf) }
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let error = inspect(Broken(Cursor::new(AMD64.bytes()))).unwrap_err();
        assert!(matches!(error, ElfError::Reading(_)), "{error}");
    }

    fn samples() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![Just(AMD64), Just(ARM)]
            .prop_flat_map(|sample| (Just(sample), any::<bool>(), any::<bool>(), prop_oneof![Just(2_u16), Just(3)]))
            .prop_map(|(sample, dynamic, go, file_type)| Sample { file_type, dynamic, go, ..sample }.bytes())
    }

    /// Values that parsers trip over.
    fn nasty() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 7), Just(u64::from(u32::MAX)), any::<u64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), elf in any::<bool>()) {
            if elf && bytes.len() > 8 {
                bytes[..4].copy_from_slice(b"\x7fELF");
                bytes[4] %= 3;
                bytes[5] %= 3;
            }
            let _ = inspect(Cursor::new(&bytes));
        }

        /// A damaged program is inspected or refused, and what strip makes of it passes its own check or is refused.
        #[test]
        fn damaged_programs_are_answered(
            mut bytes in samples(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), nasty(), 1_usize..9), 1..6),
        ) {
            for (at, value, size) in damage {
                let at = at.index(bytes.len());
                let end = (at + size).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            let _ = inspect(Cursor::new(&bytes));
            let mut output = Vec::new();
            if let Ok(crate::binaries::strip::Outcome::Written { size }) =
                crate::binaries::strip::strip(Cursor::new(&bytes), &mut output)
            {
                prop_assert!(size < bytes.len() as u64 && size == output.len() as u64);
                let _ = crate::binaries::identity::check(Cursor::new(&bytes), Cursor::new(&output));
            }
        }
    }
}
