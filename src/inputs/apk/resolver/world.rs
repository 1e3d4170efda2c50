//! The world: what the user asked for, as `etc/apk/world` holds it.

use std::{collections::BTreeMap, fmt};

use crate::inputs::apk::dependency::{Dependency, InvalidDependency};

/// Dependencies in the order in which apk keeps them, one per name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    texts: BTreeMap<(String, String), String>,
}

/// A request that is no dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading the list of packages: {0}")]
pub struct InvalidWorld(#[from] pub InvalidDependency);

impl World {
    /// Reads a list of dependencies. Of two for one name the later counts, as with `apk add`.
    pub fn parse<T: AsRef<str>>(dependencies: impl IntoIterator<Item = T>) -> Result<Self, InvalidWorld> {
        let mut texts = BTreeMap::new();
        for text in dependencies {
            let dependency = Dependency::parse(text.as_ref())?;
            let key = (dependency.name.to_ascii_lowercase(), dependency.name.to_owned());
            texts.insert(key, dependency.to_string());
        }
        Ok(Self { texts })
    }

    pub fn dependencies(&self) -> impl Iterator<Item = Dependency<'_>> {
        // Each was read before it was kept.
        self.texts.values().filter_map(|text| Dependency::parse(text).ok())
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// The file `etc/apk/world`.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.values().try_for_each(|text| writeln!(f, "{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_sorted_and_has_one_entry_per_name() {
        let world = World::parse(["b", "Zlib", "a>1", "apk@edge", "a<3", "!c"]).unwrap();
        assert_eq!(world.to_string(), "a<3\napk@edge\nb\n!c\nZlib\n");
        assert!(World::parse(["a", "b c"]).is_err());
    }
}
