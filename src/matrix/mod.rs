//! The matrix and its definition files, read and checked.
//!
//! Parsing is pure: texts in, a [`Matrix`] or *all* their [`Problems`] out, each with its file and place and what to
//! write instead. The shape of the files is private to the modules that read them; what leaves here has been checked:
//! every name that is mentioned exists, every template has only placeholders that can be filled, every flag of an
//! entrypoint is one that the Kubernetes versions it serves still know.
//!
//! What is combined with what, and how each component is obtained, is decided by the plan.

mod base;
mod by_version;
mod check;
mod component;
mod file;
mod overlay;
mod problem;
mod read;
mod template;
mod toolchain;
mod values;
mod variant;

pub use base::{
    AlpineRepository, AlpineRoot, Alternative, AskingCell, Base, BaseRoot, DebianMirrors, DebianRepository, DebianRoot,
    DeclaredScript, Kept, LeftOut, PackageGroup, PackageRequest,
};
pub use by_version::ByVersion;
pub use check::{Matrix, load};
pub use component::{Check, Component, ComponentFile, GoOrigin, GoSource, Origin, Way, WayKind};
pub use file::{Compression, ExtraTag, ImageName, IncompleteSuites, MatrixFile, Rule, definitions};
pub use overlay::{Overlay, OverlayKind};
pub use problem::{At, Located, Problem, Problems, Source};
pub(crate) use problem::{Sink, nearest};
pub use template::{Fields, Template};
pub use toolchain::{Toolchain, ToolchainName, ToolchainOrigin};
pub use variant::Variant;

/// A definition file: where it was found and what it says. `path` is shown to the user and is what relative paths in
/// the file are relative to.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Such as `plain` for `variants/plain.toml`, or `alpine3.15` for `alpine/3.15.toml`.
    pub name: String,
    pub kind: DefinitionKind,
    pub path: std::path::PathBuf,
    pub text: String,
}

/// What a definition file defines, by the folder it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefinitionKind {
    Variant,
    Component,
    Base,
}

impl DefinitionKind {
    /// The folders that are looked into, what their files define, and what stands before the file's name in the name
    /// of the thing defined.
    pub const FOLDERS: [(&'static str, Self, &'static str); 4] = [
        ("variants", Self::Variant, ""),
        ("components", Self::Component, ""),
        ("alpine", Self::Base, "alpine"),
        ("debian", Self::Base, "debian"),
    ];

    pub const fn noun(self) -> &'static str {
        match self {
            Self::Variant => "variant",
            Self::Component => "component",
            Self::Base => "base",
        }
    }
}

#[cfg(test)]
mod tests;
