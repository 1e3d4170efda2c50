//! Texts with placeholders, such as `v{kubernetes}{-variant}-{base}`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::problem::suggest;
use crate::base::{Platform, Version};

/// A text with placeholders whose names are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field { name: &'static str, dashed: bool },
}

/// Values for the placeholders of a template.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<&'static str, String>);

/// Every placeholder there is, and what it stands for.
const FIELDS: [(&str, &str); 14] = [
    ("kubernetes", "the Kubernetes version, 1.26.0"),
    ("minor", "the Kubernetes minor, 1.26"),
    ("version", "the component's own version"),
    ("component", "the component's name"),
    ("file", "the component's file"),
    ("url", "the URL of the archive, in `checksum`"),
    ("arch", "amd64, arm64 or arm, as Kubernetes and Go name it"),
    ("alpine-arch", "x86_64, aarch64 or armv7"),
    ("debian-arch", "amd64, arm64 or armhf"),
    ("host-arch", "amd64 or arm64: of the machine that builds"),
    ("host-machine", "x86_64 or aarch64: of the machine that builds"),
    ("variant", "the variant's infix"),
    ("base", "the base's name, alpine3.22"),
    ("image", "the image's name"),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    #[error("`{text}` has a `{{` without its `}}`")]
    Unclosed { text: String },
    #[error("unknown placeholder `{{{name}}}`; {help}")]
    Unknown { name: String, help: String },
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let Some((placeholder, tail)) = tail.split_once('}') else {
                return Err(InvalidTemplate::Unclosed { text: text.to_owned() });
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let dashed = placeholder.starts_with('-');
            let name = placeholder.strip_prefix('-').unwrap_or(placeholder);
            let Some((name, _)) = FIELDS.iter().find(|(known, _)| *known == name) else {
                let help = suggest(name, FIELDS.iter().map(|(known, _)| *known));
                return Err(InvalidTemplate::Unknown { name: placeholder.to_owned(), help });
            };
            pieces.push(Piece::Field { name, dashed });
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

impl Template {
    /// The text with every placeholder filled. One written with a dash, `{-variant}`, brings the dash along only when
    /// its value is not empty. `Err` names the first placeholder that has no value here.
    pub fn fill(&self, fields: &Fields) -> Result<String, &'static str> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Field { name, dashed } => {
                    let value = fields.0.get(name).ok_or(*name)?;
                    if *dashed && !value.is_empty() {
                        filled.push('-');
                    }
                    filled.push_str(value);
                }
            }
        }
        Ok(filled)
    }

    /// The placeholders that the text uses.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field { name, .. } => Some(*name),
            Piece::Literal(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets one placeholder's value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        debug_assert!(FIELDS.iter().any(|(known, _)| *known == name), "{name} is no placeholder");
        self.0.insert(name, value.to_string());
        self
    }

    #[must_use]
    pub fn kubernetes(self, version: &Version) -> Self {
        self.with("minor", version.minor_line()).with("kubernetes", version)
    }

    #[must_use]
    pub fn platform(self, platform: Platform) -> Self {
        self.with("arch", platform.go_arch())
            .with("alpine-arch", platform.alpine_arch())
            .with("debian-arch", platform.debian_arch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_a_dash_comes_only_with_a_value() {
        let template: Template = "v{kubernetes}{-variant}-{base}".parse().unwrap();
        let fields = Fields::new().kubernetes(&Version::new(1, 26, 0)).with("base", "alpine3.15");
        assert_eq!(template.fill(&fields.clone().with("variant", "")).unwrap(), "v1.26.0-alpine3.15");
        assert_eq!(template.fill(&fields.clone().with("variant", "cni")).unwrap(), "v1.26.0-cni-alpine3.15");
        assert_eq!(template.fill(&fields), Err("variant"));
    }

    #[test]
    fn a_wrong_placeholder_is_refused_with_the_right_one() {
        let error = "v{kubernets}".parse::<Template>().unwrap_err();
        assert!(error.to_string().contains("did you mean `kubernetes`"), "{error}");
        assert!("v{kubernetes".parse::<Template>().is_err());
    }
}
