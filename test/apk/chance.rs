//! Versions, and small repositories, made by chance. The repositories have everything that an index can say: versions,
//! virtual names, provider priorities, conditions, conflicts, tags. The resolver and the real apk are asked the same.

use std::{cmp::Ordering, collections::BTreeMap, fmt::Write as _, fs, process::Command};

use kletimg::inputs::apk::{
    checksum::Checksum,
    repository::VerifiedIndex,
    resolver::{Repository, ResolveError, World, resolve},
    version::Version,
};

use crate::{
    reference::Reference,
    repository::{KEY, index, open},
    resolution::{Numbers, number},
    support::parts,
};

const VERSIONS: [&str; 10] =
    ["1", "1.0-r0", "1.1-r0", "1.1-r1", "2", "2.0_rc1", "2.0", "2.0_p1-r3", "1.10", "3_alpha2-r0"];
const OPERATORS: [&str; 8] = ["=", "<", ">", "<=", ">=", "~", ">~", "<~"];
const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const VIRTUAL: [&str; 4] = ["v", "w", "so:x", "cmd:y"];

const SUFFIXES: [&str; 10] = ["_alpha", "_beta1", "_pre", "_rc2", "_cvs", "_svn3", "_git20230717", "_hg", "_p", "_p01"];
/// What makes of a version another one, or none.
const ODD: [&str; 9] = [".", "0", "00", "9", "a", "_", "-r1", "_post", "A"];

/// A repository with its tag, as records.
type Records = (Option<&'static str>, String);

struct Chance {
    numbers: Numbers,
    names: usize,
}

impl Chance {
    fn percent(&mut self, percent: usize) -> bool {
        self.numbers.below(100) < percent
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.numbers.below(values.len())]
    }

    fn name(&mut self) -> &'static str {
        if self.percent(25) { self.of(&VIRTUAL) } else { self.of(&NAMES[..self.names]) }
    }

    fn dependency(&mut self, conflicts: usize, tag: Option<&str>) -> String {
        let mut text = if self.percent(conflicts) { "!".to_owned() } else { String::new() };
        text.push_str(self.name());
        if let Some(tag) = tag {
            write!(text, "@{tag}").unwrap();
        }
        if self.percent(25) {
            text.extend([self.of(&OPERATORS), self.of(&VERSIONS)]);
        }
        text
    }

    fn record(&mut self, name: &str, version: &str) -> String {
        let mut lines = format!("P:{name}\nV:{version}\nA:x86_64\nS:1\n");
        // Packages that take no space are apk's own virtual ones, which tags do not keep back.
        lines.push_str(self.of(&["I:0\n", "I:4096\n", "I:4096\n"]));
        let depends: Vec<_> = (0..self.numbers.below(4)).map(|_| self.dependency(8, None)).collect();
        let mut provides = Vec::new();
        for _ in 0..self.numbers.below(3) {
            let other = self.name();
            let version = if self.percent(50) { format!("={}", self.of(&VERSIONS)) } else { String::new() };
            if other != name {
                provides.push(format!("{other}{version}"));
            }
        }
        let conditions = if self.percent(25) { 1 + self.numbers.below(2) } else { 0 };
        let conditions: Vec<_> = (0..conditions).map(|_| self.dependency(5, None)).collect();
        for (field, list) in [("D", depends), ("p", provides), ("i", conditions)] {
            if !list.is_empty() {
                writeln!(lines, "{field}:{}", list.join(" ")).unwrap();
            }
        }
        if self.percent(40) {
            writeln!(lines, "k:{}", self.of(&["1", "5", "100"])).unwrap();
        }
        // A package is known by its checksum: one with the same lines elsewhere is another.
        let checksum = Checksum::of(format!("{} {lines}", self.numbers.below(1 << 30)).as_bytes());
        format!("C:{checksum}\n{lines}\n")
    }

    fn repositories(&mut self) -> Vec<Records> {
        let tags: &[Option<&str>] = match self.numbers.below(4) {
            0 => &[None],
            1 => &[None, None],
            2 => &[None, Some("t")],
            _ => &[None, Some("t"), Some("u"), None],
        };
        let mut repositories: Vec<Records> = tags.iter().map(|tag| (*tag, String::new())).collect();
        for name in &NAMES[..self.names] {
            let mut versions = vec![self.of(&VERSIONS)];
            while self.percent(35) {
                versions.push(self.of(&VERSIONS));
            }
            versions.sort_unstable();
            versions.dedup();
            for version in versions {
                let record = self.record(name, version);
                // Some packages are in two repositories.
                for _ in 0..=usize::from(self.percent(20)) {
                    let at = self.numbers.below(repositories.len());
                    if !repositories[at].1.contains(&record) {
                        repositories[at].1.push_str(&record);
                    }
                }
            }
        }
        repositories
    }

    fn version(&mut self) -> String {
        let mut version = self.of(&["1", "10", "007", "3", "20230506"]).to_owned();
        for _ in 0..self.numbers.below(3) {
            version.extend([".", self.of(&["0", "1", "01", "00", "12", ""])]);
        }
        if self.percent(30) {
            version.push_str(self.of(&["a", "b", "b2"]));
        }
        for _ in 0..self.numbers.below(3) {
            version.push_str(self.of(&SUFFIXES));
        }
        if self.percent(50) {
            version.push_str(self.of(&["-r0", "-r1", "-r12", "-r"]));
        }
        version
    }

    /// A version that differs little from another.
    fn neighbour(&mut self, version: &str) -> String {
        let (before, after) = version.split_at(1 + self.numbers.below(version.len()));
        let after = if self.percent(50) { after.get(1..).unwrap_or_default() } else { after };
        format!("{before}{}{after}", self.of(&ODD))
    }

    /// What is asked for, once for each name.
    fn world(&mut self, tags: &[Option<&'static str>]) -> Vec<String> {
        let mut world = BTreeMap::new();
        for _ in 0..=self.numbers.below(4) {
            let tag = tags[self.numbers.below(tags.len())];
            let dependency = self.dependency(8, tag);
            let name: String =
                dependency.trim_start_matches('!').chars().take_while(|c| !"@<>=~".contains(*c)).collect();
            world.insert(name, dependency);
        }
        world.into_values().collect()
    }
}

/// What we would install: name, version and tag of each, in order. `None` where we refuse.
fn ours(repositories: &[(Option<&str>, VerifiedIndex)], world: &[String]) -> Option<Vec<String>> {
    let repositories: Vec<_> =
        repositories.iter().map(|(tag, index)| Repository { tag: *tag, index: index.index() }).collect();
    let selected = match resolve(&repositories, &World::parse(world).unwrap()) {
        Ok(selected) => selected,
        Err(ResolveError::Conflict(conflict)) => {
            assert!(!conflict.problems.is_empty(), "{world:?} is refused without a reason");
            return None;
        }
        Err(error) => panic!("{world:?}: {error}"),
    };
    let title = |selected: &kletimg::inputs::apk::resolver::Selected| {
        format!("{} {}", selected.package().name(), selected.package().version())
    };
    Some(selected.iter().map(title).collect())
}

/// 300 pairs.
#[test]
fn versions_by_chance_are_ordered_as_by_apk() {
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::new(&data, &[]) else { return };
    let seed = number("KLETIMG_TEST_APK_SEED", 2024) as u64;
    let mut chance = Chance { numbers: Numbers(seed), names: 0 };
    let version = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        let output =
            command.arg(reference.root.path()).args(["/sbin/apk", "version"]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for _ in 0..300 * number("KLETIMG_TEST_APK_FACTOR", 1) {
        let one = chance.version();
        let other = if chance.percent(70) { chance.neighbour(&one) } else { chance.version() };
        match (Version::parse(&one), Version::parse(&other)) {
            (Ok(a), Ok(b)) => {
                let ours = match a.cmp(&b) {
                    Ordering::Less => "<",
                    Ordering::Equal => "=",
                    Ordering::Greater => ">",
                };
                assert_eq!(ours, version(&["--test", &one, &other]), "{one} and {other}");
            }
            (Ok(_), Err(_)) => assert_eq!(version(&["--check", &one, &other]), other),
            (Err(_), Ok(_)) => assert_eq!(version(&["--check", &one, &other]), one),
            (Err(_), Err(_)) => assert_eq!(version(&["--check", &one, &other]), format!("{one}\n{other}")),
        }
    }
}

/// 60 repositories, each asked 10 times. `KLETIMG_TEST_APK_SEED` and `KLETIMG_TEST_APK_FACTOR` try others and more.
#[test]
fn repositories_by_chance_are_resolved_as_by_apk() {
    let Some(data) = parts::alpine_data() else { return };
    let Some(reference) = Reference::new(&data, &[]) else { return };
    fs::write(reference.root.path().join("etc/apk/keys").join(KEY), include_str!("key.rsa.pub")).unwrap();
    let seed = number("KLETIMG_TEST_APK_SEED", 2024) as u64;
    let (mut differences, mut refused, mut asked) = (Vec::new(), 0, 0);
    for repository in 0..60 * number("KLETIMG_TEST_APK_FACTOR", 1) as u64 {
        let mut chance = Chance { numbers: Numbers(seed << 20 | repository), names: 0 };
        chance.names = 3 + chance.numbers.below(NAMES.len() - 2);
        let records = chance.repositories();
        let mut list = String::new();
        for (number, (tag, records)) in records.iter().enumerate() {
            let tag = tag.map(|tag| format!("@{tag} ")).unwrap_or_default();
            writeln!(list, "{tag}/repos/{number}").unwrap();
            let folder = reference.root.path().join(format!("repos/{number}/x86_64"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("APKINDEX.tar.gz"), index(records)).unwrap();
        }
        fs::write(reference.root.path().join("repos/repositories"), list).unwrap();
        if repository == 0 {
            assert!(reference.add("/r", &[], &[]).status.success());
        }
        let indexes: Vec<_> = records.iter().map(|(tag, records)| (*tag, open(records))).collect();
        let tags: Vec<_> = records.iter().map(|(tag, _)| *tag).collect();
        for _ in 0..10 {
            let world = chance.world(&tags);
            let theirs = reference.simulate(&world.iter().map(String::as_str).collect::<Vec<_>>());
            let ours = ours(&indexes, &world);
            asked += 1;
            refused += usize::from(theirs.is_none());
            if ours != theirs {
                differences.push(format!("{world:?}:\n  ours   {ours:?}\n  theirs {theirs:?}\n{records:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {asked} differ:\n{}", differences.len(), differences.join("\n"));
    assert!((asked / 10..asked * 9 / 10).contains(&refused), "{refused} of {asked} are refused: the sets say little");
}
