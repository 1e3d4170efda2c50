//! Small ELF files for the tests, made by hand and not by the code under test.

use super::tables::Class;

/// A file to be made. It holds one loaded segment with `.text`, and behind it what strip takes away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) class: Class,
    pub(super) machine: u16,
    pub(super) file_type: u16,
    pub(super) flags: u32,
    /// `PT_INTERP` and `PT_DYNAMIC` (needs `libc.so`), and with a soname.
    pub(super) dynamic: bool,
    pub(super) soname: bool,
    pub(super) go: bool,
}

pub(super) const AMD64: Sample =
    Sample { class: Class::Elf64, machine: 62, file_type: 2, flags: 0, dynamic: false, soname: false, go: false };
pub(super) const ARM: Sample = Sample { class: Class::Elf32, machine: 40, flags: 0x0500_0400, ..AMD64 };

const INTERPRETER: &[u8] = b"/lib/ld-musl.so.1\0";
const STRINGS: &[u8] = b"\0libc.so\0libself.so\0";
const GO_NOTE: &[u8] = b"\x04\0\0\0\x08\0\0\0\x04\0\0\0Go\0\0build-id";
const TEXT: [u8; 200] = [0x90; 200];
const SECTION_NAMES: &[u8] = b"\0.text\0.comment\0.ARM.attributes\0.symtab\0.shstrtab\0";

impl Sample {
    /// The file's bytes.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (header, program_header) = if self.wide() { (64, 56) } else { (52, 32) };
        let segment_count = 1 + usize::from(self.go) + 2 * usize::from(self.dynamic);
        let mut body = Vec::new();
        let start = header + program_header * segment_count;
        let mut place = |bytes: &[u8]| {
            body.resize(body.len().next_multiple_of(8), 0);
            body.extend_from_slice(bytes);
            (start + body.len() - bytes.len(), bytes.len())
        };
        let interpreter = place(INTERPRETER);
        let strings = place(STRINGS);
        let dynamic = place(&self.dynamic_entries(strings.0));
        let note = place(GO_NOTE);
        let text = place(&TEXT);
        let loaded = text.0 + text.1;
        let comment = place(&[b'c'; 300]);
        let attributes = place(b"A\x0f\0\0\0aeabi\0\x05\0\0\0\0");
        let symbols = place(&[7; 500]);
        let names = place(SECTION_NAMES);
        let table = place(&self.section_table([text, comment, attributes, symbols, names]));

        let mut file = self.header(header, program_header, segment_count, table.0);
        file.extend(self.segment(1, 5, (0, loaded)));
        if self.dynamic {
            file.extend(self.segment(3, 4, interpreter));
            file.extend(self.segment(2, 6, dynamic));
        }
        if self.go {
            file.extend(self.segment(4, 4, note));
        }
        assert_eq!(file.len(), start);
        file.extend(body);
        file
    }

    const fn wide(self) -> bool {
        matches!(self.class, Class::Elf64)
    }

    /// A number as wide as an address.
    fn word(self, value: usize) -> Vec<u8> {
        (value as u64).to_le_bytes()[..if self.wide() { 8 } else { 4 }].to_vec()
    }

    fn dynamic_entries(self, strings: usize) -> Vec<u8> {
        let soname: &[(usize, usize)] = if self.soname { &[(14, 9)] } else { &[] };
        let entries = [&[(5, strings), (1, 1)], soname, &[(0, 0)]].concat();
        entries.into_iter().flat_map(|(tag, value)| [self.word(tag), self.word(value)].concat()).collect()
    }

    fn header(self, size: usize, program_header: usize, segments: usize, table: usize) -> Vec<u8> {
        let half = |value: usize| u16::try_from(value).unwrap().to_le_bytes();
        let mut bytes = vec![0x7f, b'E', b'L', b'F', if self.wide() { 2 } else { 1 }, 1, 1];
        bytes.resize(16, 0);
        bytes.extend(self.file_type.to_le_bytes());
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        for value in [size, size, table] {
            bytes.extend(self.word(value));
        }
        bytes.extend(self.flags.to_le_bytes());
        for value in [size, program_header, segments, if self.wide() { 64 } else { 40 }, 6, 5] {
            bytes.extend(half(value));
        }
        bytes
    }

    fn segment(self, kind: u32, flags: u32, (offset, size): (usize, usize)) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        if self.wide() {
            bytes.extend(flags.to_le_bytes());
        }
        for value in [offset, offset, offset, size, size] {
            bytes.extend(self.word(value));
        }
        if !self.wide() {
            bytes.extend(flags.to_le_bytes());
        }
        bytes.extend(self.word(4));
        bytes
    }

    /// The empty one, `.text`, `.comment`, `.ARM.attributes`, `.symtab`, `.shstrtab`.
    fn section_table(self, places: [(usize, usize); 5]) -> Vec<u8> {
        let heads: [(u32, u32, usize); 5] = [(1, 1, 6), (7, 1, 0), (16, 0x7000_0003, 0), (32, 2, 0), (40, 3, 0)];
        let mut bytes = vec![0; if self.wide() { 64 } else { 40 }];
        for ((name, kind, flags), (offset, size)) in heads.into_iter().zip(places) {
            bytes.extend(name.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            for value in [flags, offset, offset, size] {
                bytes.extend(self.word(value));
            }
            bytes.extend([0; 8]);
            bytes.extend(self.word(1));
            bytes.extend(self.word(0));
        }
        bytes
    }
}
