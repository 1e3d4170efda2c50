use std::fmt::Write as _;

use super::*;
use crate::inputs::deb::universe::Pin;

/// An index with one package per line: `name version: field value; field value`.
fn index(lines: &str) -> String {
    let mut index = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (package, fields) = line.split_once(':').unwrap();
        let (name, version) = package.split_once(' ').unwrap_or((package, "1"));
        let _ = write!(index, "Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
        for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let (field, value) = field.split_once(' ').unwrap();
            let _ = writeln!(index, "{field}: {value}");
        }
        index.push('\n');
    }
    index
}

fn own(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

fn resolved(universe: &Universe<'_>, install: &str, without: &str) -> Result<Resolution, Unresolvable> {
    resolve(universe, Request { install: &own(install), without: &own(without) })
}

fn names(universe: &Universe<'_>, install: &str, without: &str) -> String {
    match resolved(universe, install, without) {
        Ok(resolution) => resolution.offers(universe).map(|o| o.package.name).collect::<Vec<_>>().join(" "),
        Err(error) => format!("{:?}", error.0[0]).split_once(' ').unwrap().0.to_owned(),
    }
}

#[test]
fn the_choice_is_the_one_that_apt_makes() {
    let index = index(
        "leaf:
         dep: Depends leaf
         first: Depends absent | leaf | dep
         second: Depends dep | leaf
         second-after-wish: Depends dep | other
         other:
         pre: Pre-Depends dep
         m1: Provides mta; Priority optional
         m2: Provides mta; Priority optional
         m3: Provides mta; Priority extra
         needs-mta: Depends mta
         low: Provides daemon; Priority optional
         high: Provides daemon; Priority important
         later: Provides daemon; Priority optional
         needs-daemon: Depends daemon
         v2: Provides thing (= 2)
         v-none: Provides thing
         needs-v2: Depends thing (>= 2)
         needs-v3: Depends thing (>= 3)
         py: Multi-Arch allowed
         needs-any: Depends py:any
         foreign: Multi-Arch foreign
         any-of-foreign: Depends foreign:any
         native: Depends leaf:native, leaf:amd64
         alien: Depends leaf:armhf
         broken: Depends absent
         falls-back: Depends half-broken | leaf
         half-broken: Depends other, broken
         a: Depends b
         b: Depends a
         x: Conflicts y
         y:
         z: Depends x | y
         breaks-old: Breaks leaf (<< 1)
         breaks: Breaks leaf (<= 1)
         self: Provides role; Conflicts role
         role2: Provides role; Conflicts role
         rec: Recommends leaf",
    );
    let mut universe = Universe::new("amd64");
    universe.add(&index, Pin::Normal).unwrap();
    for (install, expected) in [
        ("leaf", "leaf"),
        ("dep", "dep leaf"),
        ("pre", "dep leaf pre"),
        ("first", "first leaf"),
        ("second", "dep leaf second"),
        ("second leaf", "leaf second"),
        ("second-after-wish other", "other second-after-wish"),
        ("needs-mta", "m2 needs-mta"),
        ("needs-mta m3", "m3 needs-mta"),
        ("needs-daemon", "high needs-daemon"),
        ("needs-v2", "needs-v2 v2"),
        ("needs-v3", "Unsatisfied"),
        ("needs-any", "needs-any py"),
        ("any-of-foreign", "Unsatisfied"),
        ("native", "leaf native"),
        ("alien", "Unsatisfied"),
        ("broken", "Unsatisfied"),
        ("falls-back", "falls-back leaf"),
        ("a", "a b"),
        ("x y", "Conflict"),
        ("y x", "Conflict"),
        ("z y", "y z"),
        ("leaf breaks-old", "breaks-old leaf"),
        ("leaf breaks", "Conflict"),
        ("self", "self"),
        ("self role2", "Conflict"),
        ("rec", "rec"),
        ("mta", "Virtual"),
        ("absent", "Unknown"),
        ("leaf=1", "leaf"),
        ("leaf:amd64=1", "leaf"),
        ("dep:native", "dep leaf"),
        ("leaf:arm64", "Unknown"),
        ("leaf=2", "UnknownVersion"),
    ] {
        assert_eq!(names(&universe, install, ""), expected, "{install}");
    }
}

#[test]
fn what_is_left_out_satisfies_and_brings_nothing() {
    let index = index(
        "bundle: Depends tool, conf (>= 0.5) | conf-2
         tool: Depends library
         library:
         conf 0.1: Depends perl
         conf-2:
         perl:
         enemy: Conflicts conf
         user: Depends conf",
    );
    let mut universe = Universe::new("amd64");
    universe.add(&index, Pin::Normal).unwrap();
    assert_eq!(names(&universe, "bundle", ""), "bundle conf-2 library tool");
    assert_eq!(names(&universe, "bundle", "tool"), "bundle conf-2");
    assert_eq!(names(&universe, "bundle tool", "tool"), "bundle conf-2");
    assert_eq!(names(&universe, "user enemy", "conf"), "enemy user");
    assert_eq!(names(&universe, "bundle", "tol"), "Unknown");
    let omitted = resolved(&universe, "user bundle", "tool conf perl").unwrap().omitted;
    let omitted: Vec<_> = omitted.iter().map(|o| format!("{}: {}", o.package, o.needed_by.join(" "))).collect();
    assert_eq!(omitted, ["conf: user", "perl: ", "tool: bundle"]);
}

#[test]
fn versions_are_chosen_by_suite_and_then_by_number() {
    let (stable, security) = (index("a 1.9: \n b 2: \n c 1:"), index("a 1.10: Depends c"));
    let (backports, experimental) = (index("a 3: \n d 1: Depends b (>= 3)\n b 3:"), index("e 1: \n d 2:"));
    let mut universe = Universe::new("amd64");
    for (text, pin) in [
        (&stable, Pin::Normal),
        (&backports, Pin::OnlyUpgrades),
        (&experimental, Pin::NotAutomatic),
        (&security, Pin::Normal),
    ] {
        universe.add(text, pin).unwrap();
    }
    let versions = |install: &str| -> String {
        let resolution = resolved(&universe, install, "").unwrap();
        resolution
            .offers(&universe)
            .map(|o| format!("{}={}", o.package.name, o.package.version))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(versions("a"), "a=1.10 c=1");
    assert_eq!(versions("a=3"), "a=3");
    assert_eq!(versions("e"), "e=1");
    assert_eq!(versions("d b=3"), "b=3 d=1");
    assert_eq!(names(&universe, "d", ""), "Unsatisfied");
}

#[test]
fn errors_say_what_to_do() {
    let index = index("iptables: \n iproute2: \n a: Depends b | c (>= 2) \n x: Breaks y \n y:");
    let mut universe = Universe::new("amd64");
    universe.add(&index, Pin::Normal).unwrap();
    for (install, expected) in [
        ("iptable", "no suite has a package `iptable`: did you mean iptables?"),
        ("a", "a needs `b | c (>= 2)` (Depends), which no package satisfies"),
        ("x y", "x and y exclude each other (Breaks: y): remove one of them or what needs it"),
        ("zzz yyy", "no suite has a package `zzz`; no suite has a package `yyy`"),
    ] {
        let error = resolved(&universe, install, "").unwrap_err().to_string();
        assert_eq!(error, format!("resolving packages: {expected}"));
    }
}

/// Each link of the chain is a step of recursion: the walk gives up where apt does, before the stack ends.
#[test]
fn a_chain_of_any_length_ends() {
    const LENGTH: usize = 10_000;
    let mut lines = String::new();
    for number in 0..LENGTH {
        let _ = writeln!(lines, "p{number}: Depends p{}", number + 1);
    }
    let _ = writeln!(lines, "p{LENGTH}:");
    let index = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(&index, Pin::Normal).unwrap();
    assert_eq!(names(&universe, "p0", ""), "Unsatisfied");
    assert_eq!(resolved(&universe, &format!("p{}", LENGTH - 2000), "").unwrap().packages.len(), 2001);
}

#[test]
fn what_cannot_be_met_is_told_without_what_was_not_tried() {
    let index = index("leaf:\n other:\n a: Depends leaf, absent (>= 2), other");
    let mut universe = Universe::new("amd64");
    universe.add(&index, Pin::Normal).unwrap();
    let error = resolved(&universe, "a", "").unwrap_err();
    assert_eq!(error.0.len(), 1, "{error}");
    assert!(error.to_string().contains("a needs `absent (>= 2)`"), "{error}");
}
