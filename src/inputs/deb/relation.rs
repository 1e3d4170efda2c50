//! Relations between packages (Policy 7.1): `libc6 (>= 2.36), default-mta | mail-transport-agent, perl:any`.

use std::fmt;

use super::version::Operator;

/// One alternative of a relation. A relation is its alternatives in the order they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub name: &'a str,
    /// `any`, `native` or an architecture, as in `perl:any`.
    pub qualifier: Option<&'a str>,
    pub version: Option<(Operator, &'a str)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no relation between packages: write `name`, `name:any` or `name (>= version)`")]
pub struct MalformedRelation(pub String);

/// The relations of a field, each with its alternatives.
pub fn relations(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|relation| !relation.is_empty())
}

/// The alternatives of one relation.
pub fn alternatives(relation: &str) -> impl Iterator<Item = Result<Target<'_>, MalformedRelation>> {
    relation.split('|').map(|text| Target::parse(text.trim()))
}

impl<'a> Target<'a> {
    /// Reads one alternative. Restrictions by architecture or build profile (`[amd64] <!nocheck>`) stand in source
    /// packages only and are refused.
    pub fn parse(text: &'a str) -> Result<Self, MalformedRelation> {
        let malformed = || MalformedRelation(text.chars().take(80).collect());
        let end = text.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(text.len());
        let (name, rest) = (&text[..end], text[end..].trim_start());
        let (name, qualifier) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(known) || qualifier.is_some_and(str::is_empty) {
            return Err(malformed());
        }
        let version = if rest.is_empty() {
            None
        } else {
            let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(malformed)?.trim();
            let sign = inner.find(|c| !matches!(c, '<' | '=' | '>')).ok_or_else(malformed)?;
            let operator = Operator::parse(&inner[..sign]).ok_or_else(malformed)?;
            let version = inner[sign..].trim();
            if version.is_empty() || version.contains(char::is_whitespace) {
                return Err(malformed());
            }
            Some((operator, version))
        };
        Ok(Self { name, qualifier, version })
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(f, " ({} {version})", operator.sign())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_written_back() {
        let field = "libc6 (>= 2.36),\n default-mta | mail-transport-agent, perl:any (>> 5), a(=1:2-3) ,";
        let read: Vec<Vec<String>> = relations(field)
            .map(|relation| alternatives(relation).map(|target| target.unwrap().to_string()).collect())
            .collect();
        let expected = [
            vec!["libc6 (>= 2.36)"],
            vec!["default-mta", "mail-transport-agent"],
            vec!["perl:any (>> 5)"],
            vec!["a (= 1:2-3)"],
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_relation_is_refused() {
        for text in
            ["", "(>= 1)", "a (1)", "a (>= )", "a (>= 1", "a (!= 1)", "a b", "a [amd64]", "ä", "a:", "a (>= 1 2)"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
