//! Names by number, in the order in which apk keeps them.
//!
//! What apk's solver decides depends, in rare ties, on the order in which it walks its table of names: a hash table of
//! 20,000 chains, filled at the heads (apk-tools 2.14, `src/hash.c` and `apk_db_init`). To agree with it, this is the
//! same table.

/// A name's number, in the order of first mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(pub(super) u32);

impl NameId {
    pub(super) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// As many chains as apk has.
const CHAINS: usize = 20_000;

/// apk's seed for its hash.
const SEED: u32 = 5381;

const NONE: u32 = u32::MAX;

pub(super) struct Names<'a> {
    heads: Vec<u32>,
    names: Vec<Link<'a>>,
}

struct Link<'a> {
    text: &'a str,
    hash: u32,
    next: u32,
}

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Self { heads: vec![NONE; CHAINS], names: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn text(&self, name: NameId) -> &'a str {
        self.names[name.at()].text
    }

    /// The number of a name, if it was ever mentioned.
    pub(super) fn find(&self, text: &str) -> Option<NameId> {
        self.find_hashed(text, murmur3(text.as_bytes()))
    }

    fn find_hashed(&self, text: &str, hash: u32) -> Option<NameId> {
        let mut number = self.heads[hash as usize % CHAINS];
        while number != NONE {
            let link = &self.names[number as usize];
            if link.hash == hash && link.text == text {
                return Some(NameId(number));
            }
            number = link.next;
        }
        None
    }

    /// The number of a name; a new one where it was never mentioned.
    pub(super) fn intern(&mut self, text: &'a str) -> NameId {
        let hash = murmur3(text.as_bytes());
        if let Some(name) = self.find_hashed(text, hash) {
            return name;
        }
        // An index is smaller than 2^32 bytes and so are all of a build's together, or they would not fit in memory.
        let number = u32::try_from(self.names.len()).unwrap_or(NONE);
        let head = &mut self.heads[hash as usize % CHAINS];
        self.names.push(Link { text, hash, next: std::mem::replace(head, number) });
        NameId(number)
    }

    /// All names in apk's order: chain by chain, the newest first.
    pub(super) fn walk(&self) -> impl Iterator<Item = NameId> + '_ {
        self.heads.iter().flat_map(|head| {
            std::iter::successors((*head != NONE).then_some(*head), |number| {
                Some(self.names[*number as usize].next).filter(|next| *next != NONE)
            })
            .map(NameId)
        })
    }
}

/// `MurmurHash3` for 32 bits (Austin Appleby, public domain).
fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = SEED;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        hash ^= scramble(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        hash ^= scramble(tail.iter().rev().fold(0, |block, byte| block << 8 | u32::from(*byte)));
    }
    // Only the low 32 bits of the length take part.
    hash ^= u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3() {
        // With the seed 5381, by an independent implementation.
        for (text, hash) in
            [("", 0xc56c_89ee), ("a", 0x13e2_86eb), ("busybox", 0x3bf9_951f), ("so:libc.musl-x86_64.so.1", 0x23bb_b925)]
        {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn names_are_numbered_once_and_walked_all() {
        let mut names = Names::new();
        let texts: Vec<_> = (0..50_000).map(|n| format!("name-{n}")).collect();
        let first: Vec<_> = texts.iter().map(|text| names.intern(text)).collect();
        let second: Vec<_> = texts.iter().map(|text| names.intern(text)).collect();
        assert_eq!(first, second);
        let mut walked: Vec<_> = names.walk().collect();
        walked.sort();
        assert_eq!(walked, first);
    }
}
