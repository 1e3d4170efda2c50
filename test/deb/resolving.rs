//! The same packages as `apt-get -s --no-install-recommends install` in an empty root, exactly.

use std::collections::BTreeMap;

use kletimg::inputs::deb::{
    resolver::{Request, resolve},
    universe::Universe,
};

use super::apt::Apt;

/// Sets of an image's kind, of many packages, of virtual packages, of choices between alternatives.
const SETS: [&str; 40] = [
    "ca-certificates mount iptables conntrack",
    "bash",
    "coreutils findutils e2fsprogs xfsprogs util-linux kmod procps iproute2 ethtool socat ebtables ipset",
    "nftables iptables conntrack iproute2 socat kmod",
    "containernetworking-plugins buildah",
    "apt",
    "systemd systemd-sysv dbus",
    "openssh-server",
    "nfs-common open-iscsi multipath-tools cifs-utils",
    "python3 perl ruby",
    "default-mta",
    "default-jre-headless",
    "build-essential debhelper",
    "postgresql nginx php-fpm",
    "lvm2 cryptsetup mdadm",
    "gnome-core",
    "golang-1.19-go golang-1.19-src",
    "upx-ucl",
    "texlive-latex-base emacs-nox vim",
    "docker.io containerd runc podman",
    // Names that are only provided, alternatives that exclude each other, relations with a qualifier.
    "mailutils default-mta exim4-daemon-light",
    "sysvinit-core libpam-elogind",
    "libcurl4-gnutls-dev libssl-dev",
    "gawk base-files",
    "default-mysql-server mariadb-client",
    "jackd2 pulseaudio",
    "network-manager wpasupplicant resolvconf",
    "crossbuild-essential-armhf",
    "wine",
    "dbus-x11 dbus-user-session",
    "openjdk-17-jre-headless java-common",
    "libpython3-dev python3-pip cython3",
    "chrony systemd",
    "busybox-static initramfs-tools",
    "rsyslog logrotate cron-daemon-common",
    "libsdl2-dev libgl-dev",
    "xserver-xorg-core x11-utils",
    // Three of the random ones, in which apt's choice was hard to follow.
    "libanyevent-irc-perl syslog-ng-mod-sql libdist-zilla-plugin-podspellingtests-perl ruby-unicode-display-width \
     gimp-help-es",
    "r-bioc-zlibbioc nanostat pari-galpol librust-shared-library-dev openssh-known-hosts \
     ruby-rails-assets-jquery.slimscroll",
    "meteo-qt libobjc-12-dev-i386-cross libime-data-language-model bouncy yazc libchemistry-isotope-perl",
];

/// What the resolver chooses, by name.
pub fn resolved(universe: &Universe<'_>, packages: &[&str]) -> Result<BTreeMap<String, String>, String> {
    resolved_beside(universe, packages, &[])
}

/// What the resolver chooses beside packages that count as present.
fn resolved_beside(
    universe: &Universe<'_>,
    packages: &[&str],
    present: &[String],
) -> Result<BTreeMap<String, String>, String> {
    let install: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
    let resolution =
        resolve(universe, Request { install: &install, without: present }).map_err(|error| error.to_string())?;
    let chosen = resolution.offers(universe);
    Ok(chosen.map(|offer| (offer.package.name.to_owned(), offer.package.version.to_owned())).collect())
}

/// The packages on which two answers differ, with both versions.
fn differences(ours: &BTreeMap<String, String>, apts: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = ours.keys().chain(apts.keys()).collect();
    let of = |map: &BTreeMap<String, String>, name: &String| map.get(name).map_or("-", String::as_str).to_owned();
    let both = names.into_iter().map(|name| (name, of(ours, name), of(apts, name)));
    both.filter(|(_, a, b)| a != b).map(|(name, a, b)| format!("{name}: {a}, apt {b}")).collect()
}

fn assert_alike(apt: &Apt, sets: impl Iterator<Item = &'static str>) {
    let universe = apt.universe();
    for set in sets {
        let packages: Vec<_> = set.split(' ').collect();
        let apts = apt.install(&packages).unwrap_or_else(|error| panic!("{set}: {error}"));
        let ours = resolved(&universe, &packages).unwrap_or_else(|error| panic!("{set}: {error}"));
        assert!(!apts.is_empty());
        assert_eq!(differences(&ours, &apts), Vec::<String>::new(), "{set} for {}", apt.architecture);
    }
}

#[test]
fn forty_sets_resolve_exactly_as_apt_resolves_them() {
    let Some(apt) = Apt::here() else { return };
    assert_alike(&apt, SETS.into_iter());
}

#[test]
fn sets_resolve_for_other_machines_as_apt_resolves_them_there() {
    for architecture in ["arm64", "armhf"] {
        let Some(apt) = Apt::of(architecture) else { return };
        // apt takes a second for each.
        assert_alike(&apt, SETS.into_iter().step_by(3));
    }
}

/// What is left out counts as present, so leaving out a minimal root gives what apt would add to it.
#[test]
fn sets_resolve_beside_a_minimal_root_as_apt_resolves_them_in_it() {
    let Some(apt) = Apt::here() else { return };
    let universe = apt.universe();
    let candidates = universe.names().filter_map(|name| universe.candidate(name)).map(|id| &universe.get(id).package);
    let mut minimal: Vec<_> = candidates.filter(|package| package.essential).map(|package| package.name).collect();
    minimal.push("apt");
    let minimal: Vec<_> = resolved(&universe, &minimal).unwrap().into_keys().collect();
    assert!(minimal.len() > 60);
    let stanzas = minimal.iter().map(|name| universe.get(universe.candidate(universe.find(name).unwrap()).unwrap()));
    apt.installed(stanzas.map(|offer| &offer.package));
    for set in SETS.iter().step_by(3) {
        let packages: Vec<_> = set.split(' ').collect();
        let apts = apt.install(&packages).unwrap_or_else(|error| panic!("{set}: {error}"));
        let ours = resolved_beside(&universe, &packages, &minimal).unwrap_or_else(|error| panic!("{set}: {error}"));
        assert_eq!(differences(&ours, &apts), Vec::<String>::new(), "{set}");
    }
}

#[test]
#[ignore = "takes minutes: run it after a change to the resolver"]
fn sets_taken_at_random_resolve_exactly_as_apt_resolves_them() {
    let Some(apt) = Apt::here() else { return };
    let universe = apt.universe();
    let names: Vec<_> = universe.packages().collect();
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (sets, mut seed) = (number("KLETIMG_TEST_SETS", 200), number("KLETIMG_TEST_SEED", 1));
    let mut next = move || {
        // A linear congruential generator is random enough to pick packages.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap()
    };
    let mut different = Vec::new();
    let (mut agreed, mut refused) = (0, 0);
    for set in 0..sets {
        // Some large ones, in which packages exclude each other.
        let count = if set % 8 == 7 { 30 } else { 1 + next() % 6 };
        let packages: Vec<_> = (0..count).map(|_| names[next() % names.len()]).collect();
        match (resolved(&universe, &packages), apt.install(&packages)) {
            (Ok(ours), Ok(apts)) if ours == apts => agreed += 1,
            (Ok(ours), Ok(apts)) => different.push(format!("{packages:?}: {:?}", differences(&ours, &apts))),
            (Err(_), Err(_)) => refused += 1,
            (Ok(_), Err(error)) => different.push(format!("{packages:?}: apt refuses: {error}")),
            (Err(error), Ok(_)) => different.push(format!("{packages:?}: only apt takes them: {error}")),
        }
    }
    assert!(different.is_empty(), "{agreed} agree, {refused} refused by both, these differ:\n{}", different.join("\n"));
}
