//! Other programs on the wire: nginx and HAProxy, as Debian packages them.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use socket2::SockRef;
use tempfile::TempDir;

/// A running program. Dropping it ends the process.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Peer {
    /// Starts a program whose process ends with `directory`, where its files are.
    pub(crate) fn start(
        program: &str,
        arguments: &[&str],
        environment: (&str, &str),
        address: SocketAddr,
        directory: TempDir,
    ) -> Result<Self, String> {
        let mut command = Command::new(path(program)?);
        command.args(arguments).env(environment.0, environment.1);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|e| format!("{program}: {e}"))?, address, _directory: directory })
    }

    /// HAProxy with one thread. `sections` come after `global` and `defaults`; in them, `SOCKET` stands for a listening
    /// socket.
    pub(crate) fn haproxy(mode: &str, sections: &str) -> Result<Self, String> {
        let (listener, address) = listen();
        let directory = tempfile::tempdir().unwrap();
        let timeouts = "  timeout connect 2s\n  timeout client 10s\n  timeout server 1s\n";
        let socket = format!("fd@{}", listener.as_raw_fd());
        let sections = sections.replace("SOCKET", &socket);
        let text =
            format!("global\n  nbthread 1\n  maxconn 512\ndefaults\n  mode {mode}\n{timeouts}{sections}");
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        Self::start("haproxy", &["-db", "-q", "-f", &file], ("LC_ALL", "C"), address, directory)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Not SIGKILL, which would leave nginx's worker behind.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A test that cannot run says so by its name.
pub(crate) fn skipped(test: &str, reason: &str) {
    // Directly to standard error: libtest hides what a passing test prints.
    std::io::stderr().write_all(format!("SKIPPED: {test}: {reason}\n").as_bytes()).unwrap();
}

/// Where a program is; `/usr/sbin` is not in everybody's path.
pub(crate) fn path(program: &str) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let mut files = places.map(|place| format!("{place}/{program}"));
    files.find(|file| Path::new(file).exists()).ok_or(format!("{program} is not installed"))
}

/// The peer inherits a socket that listens already: there is no port to lose, and no start to wait for.
pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).set_cloexec(false).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
