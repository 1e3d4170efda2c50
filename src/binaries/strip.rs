//! Taking from a program what does not run: symbols, debug data, comments.
//!
//! `-ldflags '-s -w'` does not do it when another linker finishes the program, and strip(1) of the machine knows one
//! architecture only. General ELF writers move and rewrite what is loaded; this one copies it ([`super::layout`] says
//! what goes where) and then [`super::identity`] proves that it did, with a parser that had no part in the work.

use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

pub use super::layout::Unstrippable;
use super::{
    elf::ElfError,
    identity::{self, NotIdentical},
    layout::Layout,
    tables::Tables,
};
use crate::{
    base::Blob,
    inputs::store::{ActionKey, Store, StoreError},
};

/// Raised whenever a stripped file would come out different.
const FORMAT: u32 = 1;

/// How stripping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A smaller file of this many bytes was written.
    Written { size: u64 },
    /// Nothing was written: the input is to be used.
    Kept(Unstrippable),
}

/// A stored program after stripping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripped {
    /// The input itself when that was kept.
    pub blob: Blob,
    /// Length before, in bytes.
    pub before: u64,
    /// Length after, in bytes.
    pub after: u64,
    /// Why the input was kept, if it was.
    pub kept: Option<Unstrippable>,
}

#[derive(Debug, thiserror::Error)]
pub enum StripError {
    #[error(transparent)]
    Elf(#[from] ElfError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("copying what is loaded of the program: {0}")]
    Copy(#[source] io::Error),
    #[error(
        "checking the stripped program: {0}; this is a fault of kletimg: set `strip = false` for this component and \
         report it"
    )]
    NotIdentical(#[from] NotIdentical),
}

/// Writes the stripped form of `input` to `output`. The input is read twice: its tables, then what stays of it.
pub fn strip<R: Read + Seek, W: Write>(mut input: R, output: W) -> Result<Outcome, StripError> {
    let tables = Tables::read(&mut input)?;
    let layout = match Layout::of(&tables) {
        Ok(layout) if layout.total < tables.length => layout,
        Ok(_) => return Ok(Outcome::Kept(Unstrippable::NothingToGain)),
        Err(reason) => return Ok(Outcome::Kept(reason)),
    };
    write(&tables, &layout, &mut input, output).map_err(StripError::Copy)?;
    Ok(Outcome::Written { size: layout.total })
}

fn write<R: Read + Seek, W: Write>(tables: &Tables, layout: &Layout, input: &mut R, output: W) -> io::Result<()> {
    let mut output = Counting { output, position: 0 };
    let header = layout.header(tables);
    output.write_all(&header)?;
    copy(input, &mut output, header.len() as u64, layout.kept)?;
    for (range, offset) in &layout.moved {
        output.pad_to(*offset)?;
        copy(input, &mut output, range.start, range.end)?;
    }
    output.pad_to(layout.names_offset)?;
    output.write_all(&layout.names)?;
    output.pad_to(layout.table_offset)?;
    output.write_all(&layout.table)?;
    output.flush()
}

/// Copies the bytes of the input from `start` to `end`; an input that ends before is an error.
fn copy<R: Read + Seek, W: Write>(input: &mut R, output: &mut W, start: u64, end: u64) -> io::Result<()> {
    let size = end.saturating_sub(start);
    input.seek(SeekFrom::Start(start))?;
    let copied = io::copy(&mut input.take(size), output)?;
    if copied == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A writer that knows where it is.
struct Counting<W> {
    output: W,
    position: u64,
}

impl<W: Write> Counting<W> {
    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        let size = offset.saturating_sub(self.position);
        io::copy(&mut io::repeat(0).take(size), self)?;
        Ok(())
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.output.write(buf)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Strips a stored program, once: the result is recorded.
pub fn strip_blob(store: &Store, blob: &Blob) -> Result<Stripped, StripError> {
    let key = ActionKey::new("strip", FORMAT).field("input", blob.digest);
    let _lock = store.lock(&key)?;
    if let Some(stripped) = store.recorded::<Stripped>(&key).filter(|stripped| store.has(&stripped.blob)) {
        return Ok(stripped);
    }
    let mut output = store.writer()?;
    let stripped = match strip(store.open(&blob.digest)?, &mut output)? {
        Outcome::Kept(reason) => Stripped { blob: *blob, before: blob.size, after: blob.size, kept: Some(reason) },
        Outcome::Written { .. } => {
            let written = output.finish()?;
            // The blob is good as a blob whatever this finds; only the record makes it the result.
            identity::check(store.open(&blob.digest)?, store.open(&written.digest)?)?;
            Stripped { blob: written, before: blob.size, after: written.size, kept: None }
        }
    };
    store.record(&key, &stripped)?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::binaries::{
        elf::{Inspection, inspect},
        sample::{AMD64, ARM, Sample},
    };

    fn stripped(input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let outcome = strip(Cursor::new(input), &mut output).unwrap();
        assert_eq!(outcome, Outcome::Written { size: output.len() as u64 });
        output
    }

    #[test]
    fn a_stripped_program_is_the_same_program() {
        for sample in [AMD64, ARM, Sample { dynamic: true, go: true, ..AMD64 }, Sample { dynamic: true, ..ARM }] {
            let input = sample.bytes();
            let output = stripped(&input);
            identity::check(Cursor::new(&input), Cursor::new(&output)).unwrap();
            let before = inspect(Cursor::new(&input)).unwrap();
            let after = inspect(Cursor::new(&output)).unwrap();
            assert_eq!(before.surplus, (input.len() - output.len()) as u64);
            assert_eq!(after, Inspection { size: output.len() as u64, surplus: 0, ..before });
            let again = strip(Cursor::new(&output), Vec::new()).unwrap();
            assert_eq!(again, Outcome::Kept(Unstrippable::NothingToGain));
        }
    }

    #[test]
    fn sections_that_are_not_loaded_go_but_for_the_attributes_of_arm() {
        let names = |bytes: &[u8]| -> Vec<String> {
            let elf = goblin::elf::Elf::parse(bytes).unwrap();
            let name =
                |section: &goblin::elf::SectionHeader| elf.shdr_strtab.get_at(section.sh_name).unwrap().to_owned();
            elf.section_headers.iter().map(name).collect()
        };
        assert_eq!(names(&stripped(&AMD64.bytes())), ["", ".text", ".shstrtab"]);
        let (input, output) = (ARM.bytes(), stripped(&ARM.bytes()));
        assert_eq!(names(&output), ["", ".text", ".ARM.attributes", ".shstrtab"]);
        let attributes = |bytes: &[u8], index: usize| -> Vec<u8> {
            let elf = goblin::elf::Elf::parse(bytes).unwrap();
            bytes[elf.section_headers[index].file_range().unwrap()].to_vec()
        };
        assert_eq!(attributes(&output, 2), attributes(&input, 3));
    }

    #[test]
    fn a_changed_byte_is_found() {
        let input = Sample { dynamic: true, ..AMD64 }.bytes();
        let output = stripped(&input);
        let loaded = 64 + 3 * 56 + 300;
        for at in 0..loaded {
            let mut changed = output.clone();
            changed[at] ^= 1;
            let free = (40..48).contains(&at) || (60..64).contains(&at);
            let result = identity::check(Cursor::new(&input), Cursor::new(&changed));
            assert!(free || result.is_err(), "byte {at}");
        }
        assert!(identity::check(Cursor::new(&input), Cursor::new(&output[..output.len() - 1])).is_err());
    }

    #[test]
    fn a_program_is_stripped_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let blob = store.put(&AMD64.bytes()).unwrap();
        let first = strip_blob(&store, &blob).unwrap();
        assert!(first.after < first.before && first.kept.is_none() && store.has(&first.blob));
        assert_eq!(strip_blob(&store, &blob).unwrap(), first);
        let kept = strip_blob(&store, &first.blob).unwrap();
        assert_eq!((kept.blob, kept.kept), (first.blob, Some(Unstrippable::NothingToGain)));
    }
}
