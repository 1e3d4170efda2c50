//! Reading TOML tables key by key, so that one wrong value does not hide the next.
//!
//! serde stops at the first value that does not fit. These readers report and go on; a table that is finished reports
//! the keys that nobody asked for, with the known key that was probably meant.

use std::{cell::RefCell, fmt::Display, path::Path, str::FromStr, sync::Arc};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::problem::{At, Located, Sink, Source, suggest};

/// A table being read.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    at: At,
    sink: &'a Sink,
    asked: RefCell<Vec<&'static str>>,
}

/// A value being read, with the key it stands under.
pub(super) struct Value<'a> {
    node: &'a Spanned<DeValue<'a>>,
    pub(super) key: String,
    pub(super) at: At,
    sink: &'a Sink,
}

/// Parses a file and hands its top table to `read`. Syntax errors are reported as problems, all of them.
pub(super) fn read<T>(path: &Path, text: &str, sink: &Sink, read: impl FnOnce(&Table<'_>) -> Option<T>) -> Option<T> {
    let source = Arc::new(Source { path: path.to_owned(), text: text.to_owned() });
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let at = At { source: Arc::clone(&source), span: error.span().unwrap_or(0..0) };
        sink.report("toml-syntax", &at, format!("not valid TOML: {}", error.message()), None);
    }
    let at = At { source: Arc::clone(&source), span: 0..0 };
    let table = Table { entries: table.get_ref(), at, sink, asked: RefCell::default() };
    let value = read(&table);
    // After a syntax error, keys may be missing or misplaced: what is "unknown" then would mislead.
    if errors.is_empty() {
        table.finish();
        return value;
    }
    None
}

impl<'a> Table<'a> {
    /// The place of the table's header.
    pub(super) const fn at(&self) -> &At {
        &self.at
    }

    pub(super) fn report(&self, code: &'static str, message: impl Into<String>, help: Option<String>) {
        self.sink.report(code, &self.at, message, help);
    }

    /// Reports what is wrong with something that was read out of this table.
    pub(super) fn report_at(&self, at: &At, code: &'static str, message: String, help: Option<String>) {
        self.sink.report(code, at, message, help);
    }

    /// The value under a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'_>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        drop(asked);
        self.entries.get_key_value(key).map(|(key, value)| self.value(key, value))
    }

    /// The value under a key that must be there; its absence is reported with an example of what to write.
    pub(super) fn require(&self, key: &'static str, example: &str) -> Option<Value<'_>> {
        let value = self.get(key);
        if value.is_none() {
            self.report("missing-key", format!("the key `{key}` is missing"), Some(format!("write `{example}`")));
        }
        value
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Located<String>> {
        self.get(key).and_then(|value| value.string())
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        self.get(key).and_then(|value| value.parsed()).map(|located| located.value)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.get(key).and_then(|value| value.boolean())
    }

    /// A list of strings that are each parsed; a single string stands for a list of one.
    pub(super) fn list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<Vec<Located<T>>> {
        self.get(key).map(|value| value.list())
    }

    /// The tables of `[[key]]`.
    pub(super) fn each<T>(&self, key: &'static str, mut read: impl FnMut(&Table<'_>) -> Option<T>) -> Vec<T> {
        self.get(key).map(|value| value.tables(&mut read)).unwrap_or_default()
    }

    /// The tables below `[key.<name>]`, by name.
    pub(super) fn named<T>(&self, key: &'static str, mut read: impl FnMut(&str, &Table<'_>) -> Option<T>) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        value
            .table(|names| {
                let read_one = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                    names.value(name, value).table(|table| read(name.get_ref(), table))
                };
                Some(names.entries.iter().filter_map(read_one).collect())
            })
            .unwrap_or_default()
    }

    /// All entries of a table whose keys are free, such as `[mirrors]` or `[labels]`.
    pub(super) fn values(&self) -> Vec<(String, Value<'_>)> {
        self.entries.iter().map(|(key, value)| (key.get_ref().to_string(), self.value(key, value))).collect()
    }

    fn value<'s>(&'s self, key: &Spanned<DeString<'_>>, value: &'s Spanned<DeValue<'a>>) -> Value<'s> {
        let at = At { source: Arc::clone(&self.at.source), span: value.span() };
        // `DeValue<'a>` is covariant: the borrow of the table shortens it to `'s`.
        Value { node: value, key: key.get_ref().to_string(), at, sink: self.sink }
    }

    /// Reports every key that no reader asked for.
    fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.entries.keys().filter(|key| !asked.contains(&key.get_ref().as_ref())) {
            let at = At { source: Arc::clone(&self.at.source), span: key.span() };
            let help = suggest(key.get_ref(), asked.iter().copied());
            self.sink.report("unknown-key", &at, format!("unknown key `{}`", key.get_ref()), Some(help));
        }
    }
}

impl Value<'_> {
    pub(super) fn report(&self, code: &'static str, message: impl Into<String>, help: Option<String>) {
        self.sink.report(code, &self.at, message, help);
    }

    /// Reports something of one item of a list.
    pub(super) fn report_at(&self, at: &At, code: &'static str, message: impl Into<String>, help: Option<String>) {
        self.sink.report(code, at, message, help);
    }

    pub(super) fn is_empty_list(&self) -> bool {
        self.node.get_ref().as_array().is_some_and(|items| items.is_empty())
    }

    fn wrong_type(&self, expected: &str) {
        let message = format!("`{}` is {}, expected is {expected}", self.key, describe(self.node.get_ref()));
        self.report("wrong-type", message, None);
    }

    /// The text of a string; nothing is reported when it is none.
    pub(super) fn text(&self) -> Option<&str> {
        self.node.get_ref().as_str()
    }

    pub(super) fn string(&self) -> Option<Located<String>> {
        let text = self.node.get_ref().as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text.map(|text| Located { value: text.to_owned(), at: self.at.clone() })
    }

    /// A string that `T` reads; what `T` says of a wrong one is reported.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<Located<T>> {
        let text = self.string()?;
        match text.value.parse() {
            Ok(value) => Some(Located { value, at: text.at }),
            Err(error) => {
                self.report("invalid-value", error.to_string(), None);
                None
            }
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.node.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type("true or false");
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(integer) = self.node.get_ref() else {
            self.wrong_type("a whole number");
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| bounds.contains(n));
        if number.is_none() {
            let message = format!("`{}` must be from {} to {}", self.key, bounds.start(), bounds.end());
            self.report("out-of-range", message, None);
        }
        number
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.get_ref(), DeValue::Table(_))
    }

    pub(super) fn is_list_of_tables(&self) -> bool {
        self.node
            .get_ref()
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()))
    }

    /// The items of an array, `None` (reported) when it is none.
    pub(super) fn items(&self) -> Option<Vec<Value<'_>>> {
        let Some(items) = self.node.get_ref().as_array() else {
            self.wrong_type("a list");
            return None;
        };
        let item = |node| Value {
            node,
            key: self.key.clone(),
            at: At { source: Arc::clone(&self.at.source), span: Spanned::span(node) },
            sink: self.sink,
        };
        Some(items.iter().map(item).collect())
    }

    /// A list of strings that are each parsed; a single string stands for a list of one.
    pub(super) fn list<T: FromStr<Err: Display>>(&self) -> Vec<Located<T>> {
        if self.node.get_ref().is_str() {
            return self.parsed().into_iter().collect();
        }
        self.items().unwrap_or_default().iter().filter_map(Value::parsed).collect()
    }

    pub(super) fn table<T>(&self, read: impl FnOnce(&Table<'_>) -> Option<T>) -> Option<T> {
        let Some(entries) = self.node.get_ref().as_table() else {
            self.wrong_type("a table");
            return None;
        };
        let table = Table { entries, at: self.at.clone(), sink: self.sink, asked: RefCell::default() };
        let value = read(&table);
        // A reader of free keys asks for none of them by name.
        if !table.asked.borrow().is_empty() {
            table.finish();
        }
        value
    }

    pub(super) fn tables<T>(&self, mut read: impl FnMut(&Table<'_>) -> Option<T>) -> Vec<T> {
        self.items().unwrap_or_default().iter().filter_map(|item| item.table(&mut read)).collect()
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
