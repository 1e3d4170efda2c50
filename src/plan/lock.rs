//! `matrix.lock`: the digest of every input, and the time that the images mention.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Input, Plan, Selection, Terms};
use crate::{
    base::{Digest, Epoch, Platform},
    matrix::AlpineRepository,
};

/// The pinned inputs of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The time of the first lock; later ones keep it, so that pinning one more input changes no other image.
    pub epoch: Epoch,
    pub inputs: BTreeMap<String, Pin>,
    /// Pins of packages that [`Lock::forget`] dropped. They are not written; whoever chooses anew need not fetch those that
    /// turn out to be right again.
    pub former: BTreeMap<String, Pin>,
    /// What the questions to package repositories were answered with.
    selections: BTreeMap<Asked, Selected>,
    /// Versions of the programs that were found on the machine rather than pinned as inputs.
    pub tools: BTreeMap<String, String>,
    /// Indexes that packages were chosen from before they were forgotten: what is chosen anew is asked of them again. Not
    /// written down.
    formerly: BTreeSet<String>,
}

/// One input's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub sha256: Digest,
    /// In bytes, where it is known.
    pub size: Option<u64>,
    /// What vouched for the bytes when they were first locked.
    pub verified: String,
}

/// The packages that were chosen, by the URLs of files that [`Lock::inputs`] pins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// In the order of their installation.
    pub packages: Vec<String>,
    /// The signed indexes that they were chosen from. A build does not need them.
    pub indexes: Vec<String>,
    /// What was left out on purpose and who among them asks for it: `openssl: ca-certificates`. For people.
    #[serde(default)]
    pub omitted: Vec<String>,
    /// The lines of the repositories that were asked, in their order. `None` where that is not known: for Debian, and in
    /// locks of format 1.
    pub repositories: Option<Vec<String>>,
    /// The repository tags of the packages that were chosen by one.
    pub tags: BTreeMap<String, String>,
}

impl Selected {
    /// What was left out, each with the packages that ask for it.
    pub fn omissions(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        let split = |line| str::split_once(line, ": ");
        self.omitted.iter().filter_map(move |line| split(line)).map(|(name, by)| (name, by.split(' ')))
    }
}

/// Base, platform, and the names asked for.
type Asked = (String, Platform, Vec<String>);

/// A lock that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLock {
    #[error("{0}\n  help: restore the lock from version control, or delete it and run `kletimg matrix lock`")]
    Malformed(#[from] toml::de::Error),
    #[error(
        "the lock has format {found}, this kletimg reads formats up to {known}: use the kletimg that wrote it, or a newer one"
    )]
    Format { found: u32, known: u32 },
    #[error("the lock pins {url} twice\n  help: restore the lock from version control")]
    Twice { url: String },
    #[error("the lock chooses {url} for {base}, but does not pin it\n  help: restore the lock from version control")]
    Unpinned { base: String, url: String },
}

/// Raised when older versions of kletimg could not read what is written. Format 2 has repositories and tags; a lock that
/// has none of them is written in format 1 still.
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    format: u32,
    source_date_epoch: Epoch,
    #[serde(default, rename = "tool", skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FileTool>,
    #[serde(default, rename = "selection", skip_serializing_if = "Vec::is_empty")]
    selections: Vec<FileSelection>,
    #[serde(default, rename = "input", skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<FileInput>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTool {
    name: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSelection {
    base: String,
    platform: Platform,
    request: Vec<String>,
    packages: Vec<String>,
    indexes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    omitted: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repositories: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileInput {
    url: String,
    sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    verified: String,
}

impl Lock {
    /// A lock that pins nothing yet.
    pub const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            inputs: BTreeMap::new(),
            selections: BTreeMap::new(),
            tools: BTreeMap::new(),
            former: BTreeMap::new(),
            formerly: BTreeSet::new(),
        }
    }

    /// Reads the text of a lock file.
    pub fn parse(text: &str) -> Result<Self, InvalidLock> {
        let file: File = toml::from_str(text)?;
        if !(1..=FORMAT).contains(&file.format) {
            return Err(InvalidLock::Format { found: file.format, known: FORMAT });
        }
        let mut lock = Self::new(file.source_date_epoch);
        for FileInput { url, sha256, size, verified } in file.inputs {
            if lock.inputs.insert(url.clone(), Pin { sha256, size, verified }).is_some() {
                return Err(InvalidLock::Twice { url });
            }
        }
        for file in file.selections {
            let FileSelection { base, platform, request, packages, indexes, omitted, repositories, tags } = file;
            if let Some(url) = packages.iter().chain(&indexes).find(|url| !lock.inputs.contains_key(*url)) {
                return Err(InvalidLock::Unpinned { base, url: url.clone() });
            }
            let selected = Selected { packages, indexes, omitted, repositories, tags };
            lock.selections.insert((base, platform, request), selected);
        }
        lock.tools = file.tools.into_iter().map(|tool| (tool.name, tool.version)).collect();
        Ok(lock)
    }

    /// The text of the lock file: inputs and tools in the order of their names, so that changes show as changes.
    pub fn text(&self) -> String {
        let file = File {
            format: if self.selections.values().any(|selected| selected.repositories.is_some()) { FORMAT } else { 1 },
            source_date_epoch: self.epoch,
            tools: self
                .tools
                .iter()
                .map(|(name, version)| FileTool { name: name.clone(), version: version.clone() })
                .collect(),
            selections: self
                .selections
                .iter()
                .map(|((base, platform, request), selected)| FileSelection {
                    base: base.clone(),
                    platform: *platform,
                    request: request.clone(),
                    packages: selected.packages.clone(),
                    indexes: selected.indexes.clone(),
                    omitted: selected.omitted.clone(),
                    repositories: selected.repositories.clone(),
                    tags: selected.tags.clone(),
                })
                .collect(),
            inputs: self
                .inputs
                .iter()
                .map(|(url, pin)| FileInput {
                    url: url.clone(),
                    sha256: pin.sha256,
                    size: pin.size,
                    verified: pin.verified.clone(),
                })
                .collect(),
        };
        let body = toml::to_string_pretty(&file).unwrap_or_default();
        format!("# Written by `kletimg matrix lock`. Commit it: it makes the same images from the same inputs.\n{body}")
    }

    /// The inputs of a plan that are not pinned yet.
    pub fn missing<'a>(&self, plan: &'a Plan) -> Vec<&'a Input> {
        plan.inputs.iter().filter(|input| !self.inputs.contains_key(&input.url)).collect()
    }

    /// What was chosen for a selection. `None` when nothing was, or from repositories that it no longer asks, or when
    /// anything of its base was chosen on other terms than the definition now has: the images of one base must not hold
    /// packages of two states of its repositories.
    pub fn selected(&self, selection: &Selection) -> Option<&Selected> {
        let Selection { base, platform, request, repositories, terms } = selection;
        let of = |request: Vec<String>| self.selections.get(&(base.clone(), *platform, request));
        // Locks of before the order counted have the sorted question.
        let sorted = || request.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let selected = of(request.clone()).or_else(|| of(sorted()))?;
        let known = |url: &String| repositories.iter().any(|repository| url.starts_with(repository));
        let beside = || {
            let from = (base.clone(), *platform, Vec::new());
            self.selections.range(from..).take_while(|((of, on, _), _)| of == base && on == platform)
        };
        let agree = |terms: &Terms| beside().all(|(_, selected)| terms.allow(selected, &self.inputs));
        (selected.packages.iter().all(known) && terms.as_ref().is_none_or(agree)).then_some(selected)
    }

    /// Everything that was chosen for a base, on all platforms.
    pub fn of_base(&self, base: &str) -> impl Iterator<Item = &Selected> {
        self.selections.iter().filter(move |((of, ..), _)| of == base).map(|(_, selected)| selected)
    }

    /// Drops what was chosen for the selection's base and platform on other terms. Its pins stay: files that are chosen
    /// again need not be fetched.
    pub fn retire(&mut self, selection: &Selection) {
        let Some(terms) = &selection.terms else { return };
        let is_beside = |base: &String, platform: &Platform| *base == selection.base && *platform == selection.platform;
        self.selections
            .retain(|(base, platform, _), selected| !is_beside(base, platform) || terms.allow(selected, &self.inputs));
    }

    /// The selections of a plan that are not made yet.
    pub fn unselected<'a>(&self, plan: &'a Plan) -> Vec<&'a Selection> {
        plan.selections.iter().filter(|selection| self.selected(selection).is_none()).collect()
    }

    /// What of a plan is not pinned yet, in words.
    pub fn lacks(&self, plan: &Plan) -> Vec<String> {
        let mut lacks: Vec<_> = self.missing(plan).iter().map(|input| input.purpose.clone()).collect();
        let local = plan.local_files().into_iter().filter(|file| !self.inputs.contains_key(file.pin));
        lacks.extend(local.map(|file| format!("{} of {}", file.path.display(), file.name)));
        lacks.extend(self.unselected(plan).iter().map(|selection| selection.title()));
        lacks.dedup();
        lacks
    }

    /// Keeps what was chosen for a selection. Its files are to be pinned beside it.
    pub fn select(&mut self, selection: &Selection, selected: Selected) {
        let Selection { base, platform, request, .. } = selection;
        self.selections.insert((base.clone(), *platform, request.clone()), selected);
    }

    /// The URLs of all packages that a plan's selections were answered with, each once.
    pub fn packages(&self, plan: &Plan) -> Vec<&str> {
        self.urls(plan, |selected| &selected.packages)
    }

    /// The URLs of all indexes that a plan's selections were made from, each once.
    pub fn indexes(&self, plan: &Plan) -> Vec<&str> {
        self.urls(plan, |selected| &selected.indexes)
    }

    fn urls(&self, plan: &Plan, of: impl Fn(&Selected) -> &Vec<String>) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let selected = plan.selections.iter().filter_map(|selection| self.selected(selection));
        selected.flat_map(of).map(String::as_str).filter(|url| seen.insert(*url)).collect()
    }

    /// Forgets what has the word `name` in its URL, purpose or request, and tools of this name, so that they are locked
    /// anew; without a name, everything. Returns how much that was.
    ///
    /// Packages of one base are chosen from one state of its repositories: where one of them is to be chosen anew, all
    /// are.
    pub fn forget(&mut self, name: &str, plan: &Plan) -> usize {
        let local = plan.local_files();
        let purposes: BTreeMap<&str, &str> =
            (plan.inputs.iter().map(|input| (input.url.as_str(), input.purpose.as_str())))
                .chain(local.iter().map(|file| (file.pin, file.name)))
                .collect();
        let before = self.inputs.len() + self.selections.len() + self.tools.len();
        let holds = |text: &String| has_word(text, name);
        let is_of = |url: &str| purposes.get(url).is_some_and(|purpose| has_word(purpose, name));
        let chosen = self.selections.iter().filter(|((base, _, request), selected)| {
            holds(base) || request.iter().any(holds) || selected.packages.iter().any(holds)
        });
        let stale: BTreeSet<String> = chosen.map(|((base, ..), _)| base.clone()).collect();
        for base in &stale {
            self.forget_base(base);
        }
        self.inputs.retain(|url, _| !holds(url) && !is_of(url));
        self.tools.retain(|tool, _| !(name.is_empty() || tool == name));
        before - self.inputs.len() - self.selections.len() - self.tools.len()
    }

    /// Forgets what was chosen for a base, and the indexes that it was chosen from.
    pub fn forget_base(&mut self, base: &str) {
        let (forgotten, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.selections).into_iter().partition(|((name, ..), _)| name == base);
        self.selections = kept;
        for index in forgotten.values().flat_map(|selected| &selected.indexes) {
            self.inputs.remove(index);
            self.formerly.insert(index.clone());
        }
        let needed: BTreeSet<&String> = self.selections.values().flat_map(|selected| &selected.packages).collect();
        // A repository may have published a package anew under its version: what is chosen again is pinned again.
        for url in forgotten.values().flat_map(|selected| &selected.packages).filter(|url| !needed.contains(url)) {
            self.former.extend(self.inputs.remove_entry(url));
        }
    }

    /// Whether the packages of a base were chosen from an index, where they were chosen from the places that `place` is one
    /// of. `None` when none were.
    pub fn uses(&self, base: &str, place: &str, index: &str) -> Option<bool> {
        if self.formerly.contains(index) {
            return Some(true);
        }
        let asked = |(name, _, request): &Asked| name == base && request.iter().any(|item| item == place);
        let mut chosen = self.selections.iter().filter(|(key, _)| asked(key)).peekable();
        chosen.peek()?;
        Some(chosen.any(|(_, selected)| selected.indexes.iter().any(|used| used == index)))
    }

    /// Drops the pins that neither a plan of the whole matrix nor its selections mention any more.
    pub fn tidy(&mut self, plan: &Plan) {
        let used: BTreeSet<String> = (plan.inputs.iter().map(|input| input.url.as_str()))
            .chain(plan.local_files().into_iter().map(|file| file.pin))
            .chain(self.packages(plan))
            .chain(self.indexes(plan))
            .map(str::to_owned)
            .collect();
        self.inputs.retain(|url, _| used.contains(url));
        let key = |selection: &Selection, request: Vec<String>| (selection.base.clone(), selection.platform, request);
        let sorted = |request: &[String]| request.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let asked: BTreeSet<Asked> = (plan.selections.iter())
            .flat_map(|one| [key(one, one.request.clone()), key(one, sorted(&one.request))])
            .collect();
        self.selections.retain(|key, _| asked.contains(key));
        self.formerly.clear();
        self.former.clear();
    }
}

impl Terms {
    /// Whether what was chosen would be chosen from the same repositories now, and from indexes that are trusted.
    fn allow(&self, selected: &Selected, inputs: &BTreeMap<String, Pin>) -> bool {
        let is_same =
            |lines: &Vec<String>| *lines == self.repositories.iter().map(AlpineRepository::line).collect::<Vec<_>>();
        let is_trusted = |url: &String| {
            let repository = self.repositories.iter().find(|repository| url.starts_with(&repository.prefix()));
            let pin = inputs.get(url);
            repository.zip(pin).is_none_or(|(repository, pin)| self.trust(repository, pin))
        };
        selected.repositories.as_ref().is_none_or(is_same) && selected.indexes.iter().all(is_trusted)
    }

    /// Whether what vouched for an index, or for a package of it, when it was pinned is still taken for enough.
    pub fn trust(&self, repository: &AlpineRepository, pin: &Pin) -> bool {
        let signed_by = pin.verified.rsplit_once(SIGNED_BY).map(|(_, key)| key);
        repository.allow_unsigned || signed_by.is_some_and(|signer| self.keys.iter().any(|key| key == signer))
    }
}

/// What vouches for an index, in the words of [`Pin::verified`].
pub fn evidence(signed_by: Option<&str>) -> String {
    signed_by.map_or_else(|| "unsigned as allowed".to_owned(), |key| format!("{SIGNED_BY}{key}"))
}

const SIGNED_BY: &str = "signed by ";

/// Whether `word` stands in the text by itself or before a version: `go` in `go1.22.tar.gz`, not in `golang` or `cargo`.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(begin, _)| {
        let (before, after) = (&text[..begin], &text[begin + word.len()..]);
        word.is_empty()
            || !before.ends_with(|c: char| c.is_alphanumeric()) && !after.starts_with(|c: char| c.is_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_of_what_is_updated() {
        let held = [("https://go.dev/dl/go1.22.tar.gz", "go"), ("upx", "upx"), ("golang-1.19-go", "go"), ("x", "")];
        for (text, word) in held.into_iter().chain([("https://a.org/x/y.apk", "https://a.org/x"), ("é-go", "go")]) {
            assert!(has_word(text, word), "{text} {word}");
        }
        for (text, word) in [("storage.googleapis.com", "go"), ("cargo", "go"), ("", "go"), ("kubelet", "kube")] {
            assert!(!has_word(text, word), "{text} {word}");
        }
    }

    #[test]
    fn a_lock_is_read_back_as_it_was_written() {
        let mut lock = Lock::new(Epoch::try_from(1_700_000_000).unwrap());
        let pin = |size| Pin { sha256: Digest::of("x"), size, verified: "https://example.org/b.sha256".to_owned() };
        lock.inputs.insert("https://example.org/b".to_owned(), pin(Some(3)));
        lock.inputs.insert("https://example.org/a".to_owned(), pin(None));
        lock.tools.insert("go".to_owned(), "go1.19.8".to_owned());
        assert_eq!(Lock::parse(&lock.text()).unwrap(), lock);
        assert!(lock.text().find("org/a").unwrap() < lock.text().find("org/b\"").unwrap());
    }

    #[test]
    fn a_repository_is_not_the_beginning_of_anothers_name() {
        let mut lock = Lock::new(Epoch::default());
        let selection = |repository: &str| Selection {
            base: "alpine3.22".to_owned(),
            platform: Platform::Amd64,
            request: vec!["a".to_owned()],
            repositories: vec![repository.to_owned()],
            terms: None,
        };
        let packages = vec!["https://h/v3.22/main-old/x86_64/a-1.apk".to_owned()];
        lock.select(&selection("https://h/v3.22/main-old/"), Selected { packages, ..Selected::default() });
        assert!(lock.selected(&selection("https://h/v3.22/main-old/")).is_some());
        assert!(lock.selected(&selection("https://h/v3.22/main/")).is_none());
    }

    fn terms(repositories: &[(Option<&str>, &str)]) -> Terms {
        let repository = |(tag, url): &(Option<&str>, &str)| AlpineRepository {
            url: (*url).to_owned(),
            tag: tag.map(str::to_owned),
            allow_unsigned: false,
        };
        Terms { repositories: repositories.iter().map(repository).collect(), keys: vec!["k".to_owned()] }
    }

    /// A selection of `request`, and a lock in which it and `beside` were chosen on these terms.
    fn chosen(terms: &Terms, recorded: bool) -> (Lock, impl Fn(&str, &Terms) -> Selection) {
        let selection = |request: &str, terms: &Terms| Selection {
            base: "alpine3.22".to_owned(),
            platform: Platform::Amd64,
            request: vec![request.to_owned()],
            repositories: terms.repositories.iter().map(AlpineRepository::prefix).collect(),
            terms: Some(terms.clone()),
        };
        let mut lock = Lock::new(Epoch::default());
        let pin = |verified: &str| Pin { sha256: Digest::of("x"), size: None, verified: verified.to_owned() };
        let (index, package) = ("https://h/m/x86_64/APKINDEX.tar.gz", "https://h/m/x86_64/a-1.apk");
        lock.inputs.insert(index.to_owned(), pin(&evidence(Some("k"))));
        lock.inputs.insert(package.to_owned(), pin(&format!("{index}, {}", evidence(Some("k")))));
        let selected = |lines| Selected {
            packages: vec![package.to_owned()],
            indexes: vec![index.to_owned()],
            repositories: lines,
            tags: BTreeMap::from([(package.to_owned(), "edge".to_owned())]),
            ..Selected::default()
        };
        let lines: Vec<_> = terms.repositories.iter().map(AlpineRepository::line).collect();
        lock.select(&selection("a", terms), selected(None));
        lock.select(&selection("beside", terms), selected(recorded.then_some(lines)));
        (lock, selection)
    }

    #[test]
    fn what_was_chosen_on_other_terms_is_stale_with_all_beside_it() {
        let own = terms(&[(None, "https://h/m"), (Some("edge"), "https://h/e")]);
        let (lock, selection) = chosen(&own, true);
        assert!(lock.selected(&selection("a", &own)).is_some());
        assert_eq!(Lock::parse(&lock.text()).unwrap(), lock);
        let others = [
            terms(&[(None, "https://h/m")]),
            terms(&[(None, "https://h/m"), (Some("testing"), "https://h/e")]),
            terms(&[(Some("edge"), "https://h/e"), (None, "https://h/m")]),
            terms(&[(None, "https://h/m"), (Some("edge"), "https://h/e"), (None, "https://h/n")]),
            Terms { keys: vec!["other".to_owned()], ..own.clone() },
        ];
        for other in others {
            assert!(lock.selected(&selection("a", &other)).is_none(), "{other:?}");
            let mut lock = lock.clone();
            lock.retire(&selection("a", &other));
            assert!(lock.selections.len() < 2, "{other:?}");
        }
        // Where nothing is recorded, nothing is known to differ but trust.
        let (lock, selection) = chosen(&own, false);
        assert!(lock.text().contains("format = 1"));
        assert!(lock.selected(&selection("a", &terms(&[(None, "https://h/m")]))).is_some());
        let distrusted = Terms { keys: Vec::new(), ..own.clone() };
        assert!(lock.selected(&selection("a", &distrusted)).is_none());
        let mut allowed = distrusted;
        allowed.repositories[0].allow_unsigned = true;
        assert!(lock.selected(&selection("a", &allowed)).is_some());
    }

    #[test]
    fn a_damaged_lock_is_refused() {
        let cases = [
            ("", "format"),
            ("format = 3\nsource-date-epoch = 0", "reads formats up to 2"),
            ("format = 1\nsource-date-epoch = -1", "source-date-epoch"),
            ("format = 1\nsource-date-epoch = 0\n[[input]]\nurl = 'a'\nsha256 = 'zz'\nverified = ''", "SHA-256"),
            ("format = 1\nsource-date-epoch = 0\nelse = 1", "else"),
        ];
        for (text, expected) in cases {
            let error = Lock::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
