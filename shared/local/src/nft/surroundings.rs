//! Programs of this machine that write rules too, and how each of them gets on with ours.

use portcullis_domain::Finding;
use std::{fs, path::Path};

const CHECK: &str = "packet-filter";
/// Where systemd keeps what is started with the machine.
const UNITS: &str = "etc/systemd/system";

/// A program that writes rules, as files of the machine tell that it is in use. Sources: nftables.service of Debian, ufw(8),
/// firewalld(1), fwknopd(8).
struct Program {
    is_in_use: fn(&Path) -> bool,
    found: &'static str,
    advice: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        is_in_use: |root| {
            is_started(root, "sysinit.target.wants/nftables.service")
                && text(root, "etc/nftables.conf").lines().any(|it| it.trim() == "flush ruleset")
        },
        found: "each reload of `nftables.service` flushes all tables, ours too: guarded ports are open until the next \
                verification pass",
        advice: "replace `flush ruleset` in `/etc/nftables.conf` by `flush table` of the tables that the file defines",
    },
    Program {
        is_in_use: |root| text(root, "etc/ufw/ufw.conf").lines().any(|it| it.trim() == "ENABLED=yes"),
        found: "`ufw` is enabled: it refuses each port that it does not allow itself, also with a lease",
        advice: "allow the guarded ports in `ufw` too, such as `ufw allow 22/tcp`: without a lease they stay closed",
    },
    Program {
        is_in_use: |root| is_started(root, "multi-user.target.wants/firewalld.service"),
        found: "`firewalld` is enabled: it refuses each port that its zone does not allow, also with a lease",
        advice: "allow the guarded ports in `firewalld` too, such as `firewall-cmd --permanent --add-port=22/tcp`: without \
                 a lease they stay closed",
    },
    Program {
        is_in_use: |root| is_started(root, "multi-user.target.wants/fwknop-server.service"),
        found: "`fwknopd` is enabled: a port that it opens stays closed where Portcullis guards it",
        advice: "request guarded ports with `portcullis request`",
    },
];

/// Findings about the programs that are in use on the machine whose files are under `root`.
pub fn findings(root: &Path) -> Vec<Finding> {
    let in_use = PROGRAMS.iter().filter(|it| (it.is_in_use)(root));
    in_use.map(|it| Finding::warning(CHECK, it.found, it.advice)).collect()
}

/// The finding about a table that refuses a guarded port.
pub fn refused(sentence: String) -> Finding {
    Finding::warning(CHECK, sentence, "without a lease the port stays closed by our own table")
}

/// The finding where nothing is in the way.
pub fn clear() -> Finding {
    Finding::ok(CHECK, "no other packet filter of this machine refuses a guarded port")
}

fn is_started(root: &Path, unit: &str) -> bool {
    root.join(UNITS).join(unit).symlink_metadata().is_ok()
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The words of what is found on a machine with these files; an empty one is a link to a unit.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            match *text {
                "" => symlink("/lib/systemd/system/unit", path).expect("linked"),
                text => fs::write(path, text).expect("written"),
            }
        }
        findings(root.path()).into_iter().map(|it| it.found).collect()
    }

    #[test]
    fn machine_without_other_programs_has_no_findings() {
        assert_eq!(found(&[]), Vec::<String>::new());
        let unused = [("etc/ufw/ufw.conf", "ENABLED=no\n"), ("etc/nftables.conf", "flush ruleset\n")];
        assert_eq!(found(&unused), Vec::<String>::new(), "neither is started");
    }

    #[test]
    fn each_program_that_writes_rules_and_is_in_use_is_found() {
        let nftables = [
            ("etc/systemd/system/sysinit.target.wants/nftables.service", ""),
            ("etc/nftables.conf", "#!/usr/sbin/nft -f\n\nflush ruleset\n"),
        ];
        assert!(found(&nftables)[0].contains("flushes all tables"));
        for (files, program) in [
            (("etc/ufw/ufw.conf", "# ufw\nENABLED=yes\n"), "`ufw`"),
            (("etc/systemd/system/multi-user.target.wants/firewalld.service", ""), "`firewalld`"),
            (("etc/systemd/system/multi-user.target.wants/fwknop-server.service", ""), "`fwknopd`"),
        ] {
            let found = found(&[files]);
            assert!(found.len() == 1 && found[0].starts_with(program), "{found:?}");
        }
    }
}
