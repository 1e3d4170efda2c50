//! `[toolchains.*]`: compilers and UPX as pinned inputs. One that is not declared is looked for on the machine.

use std::{fmt, str::FromStr};

use super::{
    Origin, Template,
    by_version::ByVersion,
    component::read_from,
    problem::{At, Located},
    read::Table,
};
use crate::base::TreePath;

/// The programs that kletimg runs while it builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToolchainName {
    Go,
    Zig,
    Upx,
}

/// A program as a pinned input, for the machine that builds.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub name: ToolchainName,
    pub origin: ToolchainOrigin,
    /// The program's path in what is unpacked.
    pub program: Template,
    pub at: At,
}

/// What a toolchain is unpacked from.
#[derive(Clone, Debug)]
pub enum ToolchainOrigin {
    Archive {
        origin: Origin,
        /// Its version for each Kubernetes version.
        version: ByVersion<Template>,
    },
    /// Packages of a Debian base's repositories with all they depend on. They have the versions of the suite.
    Packages { from: Located<String>, packages: Vec<Located<String>> },
}

impl ToolchainName {
    pub const ALL: [Self; 3] = [Self::Go, Self::Zig, Self::Upx];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Zig => "zig",
            Self::Upx => "upx",
        }
    }
}

impl fmt::Display for ToolchainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no toolchain: known are go, zig and upx")]
pub struct UnknownToolchain(String);

impl FromStr for ToolchainName {
    type Err = UnknownToolchain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.name() == text).ok_or_else(|| UnknownToolchain(text.to_owned()))
    }
}

impl Toolchain {
    pub(super) fn read(name: &str, table: &Table<'_>) -> Option<Self> {
        let name = name.parse::<ToolchainName>().map_err(|error| {
            table.report("unknown-toolchain", error.to_string(), None);
        });
        let program = table.require("program", "program = \"go/bin/go\"").and_then(|path| {
            let program = path.parsed::<Template>()?;
            // What is unpacked is all that the lock vouches for.
            if let Err(error) = TreePath::new(&program.value.to_string()) {
                let help = "write the program's path in what is unpacked".to_owned();
                path.report("invalid-value", error.to_string(), Some(help));
            }
            Some(program)
        });
        let origin = ToolchainOrigin::read(table);
        Some(Self { name: name.ok()?, origin: origin?, program: program?.value, at: table.at().clone() })
    }
}

impl ToolchainOrigin {
    fn read(table: &Table<'_>) -> Option<Self> {
        if let Some(packages) = table.get("packages") {
            return Some(Self::Packages { packages: packages.list(), from: read_from(table)? });
        }
        let version = table.require("version", "version = \"1.22.5\"").and_then(|value| {
            ByVersion::read(&value, |value| value.parsed::<Template>().map(|template| template.value))
        });
        Some(Self::Archive { origin: Origin::read(table)?, version: version? })
    }
}
