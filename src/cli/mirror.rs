//! `--mirror PREFIX=URL`.

use std::str::FromStr;

/// URLs that begin with `prefix` are taken from `target` instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) prefix: String,
    pub(super) target: String,
}

#[derive(Debug, thiserror::Error)]
#[error("write PREFIX=URL, for example https://dl.k8s.io=https://mirror.example/k8s; URL may be http, https or file")]
pub(super) struct InvalidMirror;

impl FromStr for Mirror {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let schemes = ["http://", "https://", "file://"];
        // The target begins after the last `=` before a scheme, since both sides may hold `=` in a query.
        let split = schemes.iter().filter_map(|scheme| text.rfind(&format!("={scheme}"))).max();
        let (prefix, target) = split.map(|at| (&text[..at], &text[at + 1..])).ok_or(InvalidMirror)?;
        if !schemes.iter().any(|scheme| prefix.starts_with(scheme)) {
            return Err(InvalidMirror);
        }
        Ok(Self { prefix: prefix.to_owned(), target: target.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_prefix_and_what_stands_for_it() {
        let mirror: Mirror = "https://a.example/x=file:///srv/x".parse().unwrap();
        assert_eq!((mirror.prefix.as_str(), mirror.target.as_str()), ("https://a.example/x", "file:///srv/x"));
        for text in ["", "https://a.example", "a=b", "https://a.example=b", "=https://b.example"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }
}
