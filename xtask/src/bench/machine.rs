//! What the numbers were measured on.

use std::fs;

use serde_json::{Value, json};

use super::fleet::Cpus;
use super::programs::{Programs, Role};
use crate::shell::Outcome;

/// The machine and the programs, as far as they matter to a reader.
pub(super) struct Machine {
    facts: Vec<(String, String)>,
}

/// Describes this machine; refuses one that has not both CPUs. A guest has one.
pub(super) fn describe(programs: &Programs, cpus: Cpus, guest: bool) -> Outcome<Machine> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    for cpu in [cpus.server, cpus.load] {
        if !lists(online.trim(), cpu) {
            return Err(format!("CPU {cpu} is not online ({}): two are needed", online.trim()).into());
        }
    }
    if cpus.server == cpus.load && !guest {
        return Err("the load needs a CPU of its own".into());
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let mut facts = vec![
        ("kernel".to_owned(), release.trim().to_owned()),
        ("processor".to_owned(), processor()),
        ("CPUs".to_owned(), format!("{} (servers on {}, load on {})", online.trim(), cpus.server, cpus.load)),
        ("load before".to_owned(), load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
    ];
    if let Ok(control) = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control") {
        facts.push(("congestion control".to_owned(), control.trim().to_owned()));
    }
    if let Ok(governor) = fs::read_to_string(governor) {
        facts.push(("governor".to_owned(), governor.trim().to_owned()));
    }
    let named = programs.servers.iter().filter(|it| !matches!(it.role, Role::Twin | Role::Variant));
    facts.extend(named.map(|program| (program.name.clone(), program.version.clone())));
    Ok(Machine { facts })
}

impl Machine {
    pub(super) fn print(&self) {
        for (name, value) in &self.facts {
            println!("{name:<18} {value}");
        }
    }

    pub(super) fn json(&self) -> Value {
        self.facts
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| Some(line.strip_prefix(name)?.split_once(':')?.1.trim().to_owned()))
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    match (field("cpu family"), field("model\t")) {
        (Some(family), Some(number)) => format!("{model}, family {family}, model {number}"),
        _ => model,
    }
}

/// Whether a list such as `0-3,8` contains a number.
fn lists(list: &str, wanted: u16) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(a), Ok(b)) if (a..=b).contains(&wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_have_ranges() {
        assert!(lists("0-3,8", 2) && lists("0-3,8", 8) && lists("0", 0));
        assert!(!lists("0-3,8", 5) && !lists("", 0));
    }
}
