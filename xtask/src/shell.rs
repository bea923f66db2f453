//! Running other programs, and where things are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A result whose error is told to the user as it stands.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    // `cargo run` sets the variable; the compiled-in path serves a binary that is started by hand.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts what it builds: this program lies in `TARGET/PROFILE`.
pub(crate) fn target() -> PathBuf {
    let own = std::env::current_exe().ok();
    let target = own.as_deref().and_then(Path::parent).and_then(Path::parent);
    target.map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// Where things are kept that outlive a checkout: `$XDG_CACHE_HOME/penstock`.
pub(crate) fn cache() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir);
    // The XDG specification tells to ignore a relative path.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache.unwrap_or_else(|| home().join(".cache")).join("penstock")
}

/// Whether this is a CI run, where a skipped suite is a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// A `cargo` command in the root of the checkout, with the toolchain that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command, showing it and its output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Outcome {
    eprintln!("$ {}", describe(command));
    let status =
        command.stdin(Stdio::null()).status().map_err(|error| format!("{}: {error}", describe(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", describe(command)).into()) }
}

/// Runs a command and returns its standard output; anything but success is an error that shows its standard error.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", describe(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let detail = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}\n{detail}", describe(command), output.status).into())
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Finds a program on `PATH` and where system programs and cargo's tools live.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::env::split_paths(&path)
        .chain(cargo_home().map(|home| home.join("bin")))
        .chain(usual.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Where cargo keeps its tools and sources.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Installs a cargo tool when it is absent. Debug builds of tools are compiled in a third of the time.
pub(crate) fn ensure_cargo_tool(name: &str) -> Outcome {
    if find(name).is_some() {
        return Ok(());
    }
    eprintln!("{name} is missing: installing it once");
    run(cargo(&["install", "--debug", "--locked", name]).current_dir("/"))
}
