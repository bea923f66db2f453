//! The programs that are compared, and how each is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::penstock::Rungs;
use super::scenario::Family;
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
    /// Penstock with other rungs: it stands beside the peers, and is compared with each of them itself.
    Variant,
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

/// Where Debian has it.
pub(super) const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

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
    /// What a Penstock may use of the kernel.
    pub(super) rungs: Rungs,
    /// nginx' module for streams, where it is.
    pub(super) module: Option<PathBuf>,
}

impl Program {
    /// Whether a family of scenarios is about it.
    pub(super) fn takes_part(&self, family: Family) -> bool {
        match (self.role, self.rungs) {
            (Role::Variant, Rungs::Sockmap) => {
                matches!(family, Family::Passthrough | Family::WebSocket | Family::Plain)
            }
            (Role::Variant, Rungs::Splice) => matches!(family, Family::Plain | Family::Tls),
            (Role::Variant, _) => family != Family::Https,
            (Role::Peer, _) if family == Family::Plain => false,
            (Role::Peer, _) if family == Family::Passthrough && self.product == Product::Nginx => {
                self.module.is_some()
            }
            _ => true,
        }
    }

    fn with(mut self, rungs: Rungs) -> Self {
        self.rungs = rungs;
        self
    }
}

/// Every program of a run.
pub(super) struct Programs {
    pub(super) servers: Vec<Program>,
    /// An nginx for the backend; without it, there is only our own.
    pub(super) backend: Option<Program>,
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
    let mut servers = penstocks(penstock)?;
    if let Some(baseline) = baseline {
        let file = baseline.canonicalize().map_err(|error| format!("{}: {error}", baseline.display()))?;
        servers.push(program("penstock baseline", Role::Baseline, Product::Penstock, path(&file))?);
    }
    let installed =
        |name: &str| Ok::<_, String>(path(&find(name).ok_or(format!("{name} is not installed"))?));
    let mut backend = program("nginx", Role::Peer, Product::Nginx, installed("nginx")?)?;
    backend.module = Some(PathBuf::from(STREAM_MODULE)).filter(|file| file.exists());
    servers.push(backend.clone());
    servers.push(program("haproxy", Role::Peer, Product::Haproxy, installed("haproxy")?)?);
    match unpacked::unpack(suite, &["nginx", "haproxy", "libnginx-mod-stream"]) {
        Ok(current) => {
            let (nginx, haproxy) =
                (current.command("/usr/sbin/nginx")?, current.command("/usr/sbin/haproxy")?);
            let mut nginx = program("nginx", Role::Peer, Product::Nginx, nginx)?;
            nginx.module = Some(current.file(STREAM_MODULE)).filter(|file| file.exists());
            servers.push(nginx);
            servers.push(program("haproxy", Role::Peer, Product::Haproxy, haproxy)?);
        }
        Err(error) => {
            eprintln!("only the installed peers are measured; those of {suite} are not here: {error}");
        }
    }
    Ok(Programs { servers, backend: Some(backend) })
}

/// The programs of a guest, in which little is installed.
pub(super) fn guest_programs(penstock: &Path) -> Outcome<Programs> {
    let mut servers = penstocks(penstock)?;
    let haproxy = find("haproxy").ok_or("haproxy is not installed")?;
    servers.push(program("haproxy", Role::Peer, Product::Haproxy, path(&haproxy))?);
    Ok(Programs { servers, backend: None })
}

/// Penstock, again, and with other rungs.
fn penstocks(penstock: &Path) -> Outcome<Vec<Program>> {
    let penstock = path(penstock);
    let call = |name, role| program(name, role, Product::Penstock, penstock.clone());
    let variant = |name, rungs| call(name, Role::Variant).map(|program| program.with(rungs));
    Ok(vec![
        call("penstock", Role::Subject)?,
        call("penstock again", Role::Twin)?,
        variant("penstock copy", Rungs::Copy)?,
        variant("penstock splice", Rungs::Splice)?,
        variant("penstock sockmap", Rungs::Sockmap)?,
    ])
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
    Ok(Program { name, role, version, product, command, rungs: Rungs::Default, module: None })
}
