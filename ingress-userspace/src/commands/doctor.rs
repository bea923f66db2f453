//! `penstock doctor`: what this kernel can do for this process, and what to change so that it can do more.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::kernel::{self, Acceleration, KernelConfig, Verdict};
use crate::tls::ktls;

/// Capabilities that accelerations need, by their bits (linux/capability.h).
const CAPABILITIES: [(&str, u32, &str); 3] = [
    ("CAP_BPF", 39, "to load eBPF programs"),
    ("CAP_NET_ADMIN", 12, "to attach them to sockets and the network namespace"),
    ("CAP_SYS_RESOURCE", 24, "only for larger pipes, and on kernels before 5.11 for maps"),
];

/// Settings of the kernel that matter, with what they do.
const SYSCTLS: [(&str, &str); 5] = [
    ("kernel.unprivileged_bpf_disabled", "eBPF without capabilities; not needed"),
    ("net.core.bpf_jit_enable", "1: eBPF programs are compiled"),
    ("net.core.somaxconn", "connections that may wait for a listener"),
    ("net.ipv4.tcp_migrate_req", "1: connections that wait move to another listener when theirs closes"),
    ("fs.pipe-user-pages-soft", "memory of all pipes of a user without CAP_SYS_RESOURCE, in pages"),
];

/// Probes the accelerations, and describes what was found.
pub fn doctor(config: &KernelConfig) -> String {
    let mut text = String::new();
    section(&mut text, "kernel", &kernel_facts());
    section(&mut text, "settings", &sysctls());
    section(&mut text, "capabilities", &capabilities());
    section(&mut text, "accelerations", &accelerations(config));
    text
}

/// A line: what, how it stands, and a remark.
type Line = (String, String, String);

/// Writes lines in columns.
fn section(text: &mut String, title: &str, lines: &[Line]) {
    let width = |column: fn(&Line) -> &String| lines.iter().map(|line| column(line).len()).max().unwrap_or(0);
    let (first, second) = (width(|line| &line.0), width(|line| &line.1));
    let separator = if text.is_empty() { "" } else { "\n" };
    // Writing to a String does not fail, here and below.
    let _ = writeln!(text, "{separator}{title}");
    for (what, state, remark) in lines {
        let line = format!("  {what:first$}  {state:second$}  {remark}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn line(what: &str, state: impl Into<String>, remark: &str) -> Line {
    (what.to_owned(), state.into(), remark.to_owned())
}

fn present(there: bool) -> &'static str {
    if there { "yes" } else { "no" }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel_facts() -> Vec<Line> {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let bpffs = mounts.lines().find_map(|mount| {
        let mut fields = mount.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        (kind == "bpf").then(|| place.to_owned())
    });
    let ulps = read("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let tls = ulps.split(' ').any(|ulp| ulp == "tls");
    let lockdown = read("/sys/kernel/security/lockdown");
    let mut lines = vec![
        line("release", release, ""),
        line("BTF", present(btf), "types of the kernel, /sys/kernel/btf/vmlinux"),
        match bpffs {
            Some(place) => line("bpffs", place, "programs and maps can be pinned"),
            None => line("bpffs", "no", "nothing is pinned; mount -t bpf bpf /sys/fs/bpf"),
        },
        line(
            "tls",
            present(tls),
            if tls { "the TLS record layer is there" } else { "modprobe tls, if the kernel has it" },
        ),
    ];
    // Without securityfs, or in a container without it, nobody can tell.
    if let Some(lockdown) = lockdown {
        lines.push(line("lockdown", active(&lockdown), LOCKDOWN));
    }
    lines
}

/// What lockdown refuses of eBPF (`LOCKDOWN_BPF_WRITE_USER` and `LOCKDOWN_BPF_READ_KERNEL` of linux/security.h).
const LOCKDOWN: &str =
    "integrity and confidentiality forbid eBPF to write and read memory of others, which ours does not";

/// The word in brackets, which is the one that counts (kernel_lockdown(7)).
fn active(lockdown: &str) -> &str {
    let inner = lockdown.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(lockdown, |(level, _)| level)
}

fn sysctls() -> Vec<Line> {
    let value = |name: &str| read(&format!("/proc/sys/{}", name.replace('.', "/")));
    SYSCTLS
        .iter()
        .map(|(name, remark)| line(name, value(name).unwrap_or_else(|| "unknown".to_owned()), remark))
        .collect()
}

/// The effective capabilities of this process.
fn capabilities() -> Vec<Line> {
    let status = read("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or_default();
    CAPABILITIES
        .iter()
        .map(|(name, bit, remark)| line(name, present(effective >> bit & 1 == 1), remark))
        .collect()
}

fn accelerations(config: &KernelConfig) -> Vec<Line> {
    let found = kernel::probe(config);
    let describe = |which: Acceleration| match found.verdict(which) {
        Verdict::Proven if which == Acceleration::Steering => {
            let remark = "real connections were steered and refused; in use while connections.deniedSources has something";
            vec![line(which.as_str(), "proven", remark)]
        }
        Verdict::Proven => {
            let mut lines = vec![line(which.as_str(), "proven", "a real transfer came through")];
            if which == Acceleration::Ktls {
                lines.extend(ktls::report().iter().flat_map(suites));
            }
            lines
        }
        Verdict::Off => {
            let remark = format!("by kernel.{}: off in the configuration", which.as_str());
            vec![line(which.as_str(), "off", &remark)]
        }
        Verdict::Probing => vec![line(which.as_str(), "probing", "")],
        Verdict::Unavailable { reason, remedy } => vec![
            line(which.as_str(), "unavailable", reason),
            line("", "", &format!("to change it: {remedy}")),
        ],
    };
    Acceleration::ALL.into_iter().flat_map(describe).collect()
}

/// What the kernel takes over of TLS, and what it does not.
fn suites(found: &ktls::Report) -> Vec<Line> {
    let mut lines = vec![line("", "", &format!("suites: {}", found.suites.join(", ")))];
    for (suite, why) in &found.missing {
        lines.push(line("", "", &format!("not proven, stays with rustls: {suite}: {why}")));
    }
    let rekey = if found.rekey {
        "key updates are followed"
    } else {
        "key updates end the connection in order: the kernel cannot replace keys (Linux 6.14 can)"
    };
    lines.push(line("", "", rekey));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_is_not_proven_is_named() {
        let found = ktls::Report {
            suites: vec!["TLS 1.3 AES-128-GCM".to_owned()],
            missing: vec![("TLS 1.2 AES-256-GCM".to_owned(), "late".to_owned())],
            rekey: false,
        };
        let mut text = String::new();
        section(&mut text, "title", &suites(&found));
        assert!(text.contains("suites: TLS 1.3 AES-128-GCM\n"), "{text}");
        assert!(text.contains("not proven, stays with rustls: TLS 1.2 AES-256-GCM: late\n"), "{text}");
    }

    #[test]
    fn the_lockdown_that_counts_is_in_brackets() {
        assert_eq!(active("none [integrity] confidentiality"), "integrity");
        assert_eq!(active("[none] integrity confidentiality"), "none");
        assert_eq!(active("odd"), "odd");
    }

    #[test]
    fn columns_are_aligned() {
        let mut text = String::new();
        section(
            &mut text,
            "title",
            &[line("a", "yes", "first"), line("longer", "no", ""), line("", "", "more")],
        );
        assert_eq!(text, "title\n  a       yes  first\n  longer  no\n               more\n");
    }
}
