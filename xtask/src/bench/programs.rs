//! The programs that are compared, and how each is called.

use std::path::Path;
use std::process::Command;

use super::unpacked;
use crate::shell::{Outcome, find, output};

/// What a server is to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Penstock: the numerator of every ratio.
    Subject,
    /// The same program again: what differs between the two is noise.
    Twin,
    /// Another build of Penstock.
    Baseline,
    /// What Penstock is compared with.
    Peer,
}

/// Whose configuration it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Penstock,
    Nginx,
    Haproxy,
}

/// A program that serves.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// As the report names it.
    pub(super) name: String,
    pub(super) role: Role,
    /// What the program says of itself.
    pub(super) version: String,
    pub(super) product: Product,
    pub(super) command: Vec<String>,
}

/// Every program of a run.
pub(super) struct Programs {
    pub(super) servers: Vec<Program>,
    /// An nginx for the backend.
    pub(super) backend: Program,
}

impl Programs {
    /// Leaves only the peers whose name contains one of some texts; all of them if there is no text.
    pub(super) fn retain_peers(&mut self, texts: &[String]) {
        let wanted = |name: &str| texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str()));
        self.servers.retain(|program| program.role != Role::Peer || wanted(&program.name));
    }
}

/// Finds every program. Without a current Debian, the installed peers have to do, and the user is told.
pub(super) fn programs(penstock: &Path, baseline: Option<&Path>, suite: &str) -> Outcome<Programs> {
    let mut servers = vec![
        program("penstock", Role::Subject, Product::Penstock, path(penstock))?,
        program("penstock again", Role::Twin, Product::Penstock, path(penstock))?,
    ];
    if let Some(baseline) = baseline {
        let file = baseline.canonicalize().map_err(|error| format!("{}: {error}", baseline.display()))?;
        servers.push(program("penstock baseline", Role::Baseline, Product::Penstock, path(&file))?);
    }
    let installed =
        |name: &str| Ok::<_, String>(path(&find(name).ok_or(format!("{name} is not installed"))?));
    let backend = program("nginx", Role::Peer, Product::Nginx, installed("nginx")?)?;
    servers.push(backend.clone());
    servers.push(program("haproxy", Role::Peer, Product::Haproxy, installed("haproxy")?)?);
    match unpacked::unpack(suite, &["nginx", "haproxy"]) {
        Ok(current) => {
            let (nginx, haproxy) =
                (current.command("/usr/sbin/nginx")?, current.command("/usr/sbin/haproxy")?);
            servers.push(program("nginx", Role::Peer, Product::Nginx, nginx)?);
            servers.push(program("haproxy", Role::Peer, Product::Haproxy, haproxy)?);
        }
        Err(error) => {
            eprintln!("only the installed peers are measured; those of {suite} are not here: {error}");
        }
    }
    Ok(Programs { servers, backend })
}

/// A program that needs nothing but its name.
fn path(program: &Path) -> Vec<String> {
    vec![program.display().to_string()]
}

fn program(name: &str, role: Role, product: Product, command: Vec<String>) -> Outcome<Program> {
    let flag = if product == Product::Penstock { "version" } else { "-v" };
    // nginx tells its version on standard error.
    let script = r#""$@" 2>&1"#;
    let mut ask = Command::new("sh");
    ask.args(["-c", script, "sh"]).args(&command).arg(flag);
    let version = output(&mut ask)?.lines().next().unwrap_or_default().to_owned();
    let number = version.split([' ', '/']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let name = match (product, number) {
        (Product::Penstock, _) | (_, None) => name.to_owned(),
        (_, Some(number)) => format!("{name} {}", number.split(['-', '+']).next().unwrap_or(number)),
    };
    Ok(Program { name, role, version, product, command })
}
