//! `penstock doctor` as root, without capabilities, and without a bpffs: it reports, and never fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

const PENSTOCK: &str = env!("CARGO_BIN_EXE_penstock");

/// The user and group «nobody» of all distributions.
const NOBODY: u32 = 65534;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The state of an item of the report.
fn state<'a>(report: &'a str, item: &str) -> &'a str {
    let line = report.lines().find(|line| line.split_whitespace().next() == Some(item));
    line.unwrap_or_else(|| panic!("no {item} in:\n{report}")).split_whitespace().nth(1).unwrap()
}

#[test]
fn it_reports_kernel_capabilities_and_every_acceleration() {
    let file = everything();
    let report = run(Command::new(PENSTOCK).arg("doctor").arg("--config").arg(file.path()));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(state(&report, "release"), release.trim());
    for item in ["BTF", "bpffs", "tls", "CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE", "net.core.somaxconn"]
    {
        state(&report, item);
    }
    for acceleration in ["ktls", "splice", "sockmap", "steering"] {
        let state = state(&report, acceleration);
        assert!(["proven", "unavailable"].contains(&state), "{acceleration}: {state}");
    }
    assert_eq!(report.matches("unavailable").count(), report.matches("to change it: ").count(), "{report}");
}

#[test]
fn what_the_configuration_switches_off_is_off() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kernel:\n  ktls: off\n  splice: off\n  sockmap: off\n  steering: off\n")
        .unwrap();
    let report = run(Command::new(PENSTOCK).arg("doctor").arg("--config").arg(file.path()));
    for acceleration in ["ktls", "splice", "sockmap", "steering"] {
        assert_eq!(state(&report, acceleration), "off", "{report}");
    }
}

#[test]
fn without_capabilities_it_names_those_that_are_missing() {
    // The program may lie where only its owner can reach it: it is started from an open directory.
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("penstock");
    std::fs::copy(PENSTOCK, &copy).unwrap();
    open_to_all(directory.path());
    let file = everything();
    open_to_all(file.path());
    // A user may have ambient capabilities, which children inherit: they are given up.
    let mut command = if is_root() { Command::new(&copy) } else { Command::new("setpriv") };
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        command.args(["--inh-caps=-all", "--ambient-caps=-all"]).arg(&copy);
    }
    let report = run(command.arg("doctor").arg("--config").arg(file.path()));
    assert_eq!(state(&report, "CAP_BPF"), "no");
    for acceleration in ["sockmap", "steering"] {
        assert_eq!(state(&report, acceleration), "unavailable", "{report}");
    }
    assert!(report.contains("CAP_BPF and CAP_NET_ADMIN"), "{report}");
}

#[test]
fn without_a_bpffs_it_says_how_to_mount_one() {
    // Root need not have CAP_SYS_ADMIN.
    let mut command = Command::new("unshare");
    let tried = command.args(["--mount", "--", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return skipped("without_a_bpffs_it_says_how_to_mount_one", "it takes CAP_SYS_ADMIN to unmount");
    }
    let script = "umount -a -t bpf 2>/dev/null; exec \"$0\" doctor";
    let mut command = Command::new("unshare");
    let report = run(command.args(["--mount", "--", "sh", "-c", script, PENSTOCK]));
    assert_eq!(state(&report, "bpffs"), "no", "{report}");
    assert!(report.contains("mount -t bpf"), "{report}");
}

/// What a report says about each acceleration.
fn states(report: &str) -> [&str; 4] {
    ["ktls", "splice", "sockmap", "steering"].map(|acceleration| state(report, acceleration))
}

fn skipped(test: &str, reason: &str) {
    // Directly to standard error: libtest hides what a passing test prints.
    std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {test}: {reason}\n").as_bytes())
        .unwrap();
}

/// Without CAP_PERFMON the verifier of some kernels (6.1) refuses what it otherwise takes: then the report says so, and with it a user
/// may do what root may.
#[test]
fn capabilities_are_as_good_as_root() {
    const TEST: &str = "capabilities_are_as_good_as_root";
    let file = everything();
    let report = run(Command::new(PENSTOCK).arg("doctor").arg("--config").arg(file.path()));
    if !is_root() || state(&report, "CAP_BPF") == "no" {
        return skipped(TEST, "it takes root to give capabilities to another user");
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("penstock");
    std::fs::copy(PENSTOCK, &copy).unwrap();
    open_to_all(directory.path());
    open_to_all(file.path());
    let restricted = |rights| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
            .args(["--bounding-set", rights, "--inh-caps", rights, "--ambient-caps", rights])
            .arg(&copy)
            .arg("doctor")
            .arg("--config")
            .arg(file.path());
        run(&mut command)
    };
    let mut found = restricted("-all,+bpf,+net_admin");
    assert_eq!(state(&found, "CAP_BPF"), "yes", "{found}");
    assert_eq!(state(&found, "CAP_SYS_RESOURCE"), "no", "{found}");
    if states(&found) != states(&report) {
        assert!(found.contains("CAP_PERFMON"), "{found}");
        found = restricted("-all,+bpf,+net_admin,+perfmon");
    }
    assert_eq!(states(&found), states(&report), "{found}");
}

/// Since Linux 5.11 (commit 97306be45fbe) the memory of maps counts for the control group, not for this limit.
#[test]
fn the_limit_on_locked_memory_does_not_matter() {
    let file = everything();
    let report = run(Command::new(PENSTOCK).arg("doctor").arg("--config").arg(file.path()));
    let script = "ulimit -l 1 && exec \"$0\" doctor --config \"$1\"";
    let limited = run(Command::new("sh").args(["-c", script, PENSTOCK]).arg(file.path()));
    assert_eq!(states(&limited), states(&report), "{limited}");
}

/// Lockdown keeps eBPF from memory of the kernel and of other processes, which our programs have no use for: with the right to load
/// programs, everything works as it does without.
#[test]
fn a_locked_down_kernel_takes_nothing_away() {
    let Ok(lockdown) = std::fs::read_to_string("/sys/kernel/security/lockdown") else {
        return skipped(
            "a_locked_down_kernel_takes_nothing_away",
            "there is no /sys/kernel/security/lockdown",
        );
    };
    let file = everything();
    let report = run(Command::new(PENSTOCK).arg("doctor").arg("--config").arg(file.path()));
    let level = state(&report, "lockdown");
    assert!(lockdown.contains(&format!("[{level}]")), "{lockdown} {report}");
    let there = |item| state(&report, item) == "yes";
    let mut expected = vec!["splice"];
    expected.extend(there("tls").then_some("ktls"));
    // Without CAP_PERFMON, which root has, 6.1 refuses the programs, locked down or not.
    if is_root() && there("CAP_BPF") && there("CAP_NET_ADMIN") {
        expected.extend(["sockmap", "steering"]);
    }
    for acceleration in expected {
        assert_eq!(state(&report, acceleration), "proven", "{level}: {report}");
    }
}

/// A configuration with which everything is tried.
fn everything() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kernel:\n  sockmap: auto\n  sockmapAfter: 0\n").unwrap();
    file
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
