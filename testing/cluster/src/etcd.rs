//! etcd: one member that keeps nothing longer than the directory exists.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::directory::Directory;
use crate::error::{Context as _, Error, Result};
use crate::https::exchange;
use crate::process::Program;

/// It starts in a second; a loaded machine may need many.
const START: Duration = Duration::from_mins(1);

/// etcd on a Unix socket, which only the owner of the directory can reach.
pub(crate) struct Etcd {
    pub(crate) program: Program,
    socket: PathBuf,
}

impl Etcd {
    pub(crate) fn new(program: PathBuf, directory: &Directory) -> Self {
        let socket = directory.file("etcd.sock");
        let peer = format!("unix://{}", directory.file("peer.sock").display());
        let arguments = vec![
            "--name=penstock-test".to_owned(),
            format!("--data-dir={}", directory.file("etcd").display()),
            format!("--listen-client-urls={}", url(&socket)),
            format!("--advertise-client-urls={}", url(&socket)),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=penstock-test={peer}"),
            // The data is thrown away in the end. A killed process loses nothing by this, only a machine would.
            "--unsafe-no-fsync=true".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        Self { program: Program::new("etcd", program, arguments, directory.file("etcd.log")), socket }
    }

    /// Where the API server finds it.
    pub(crate) fn url(&self) -> String {
        url(&self.socket)
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(&mut self) -> Result {
        self.program.start()?;
        let healthy = || self.ask("GET", "/health", "").is_ok_and(|answer| answer["health"] == "true");
        self.program.until("etcd is healthy", START, healthy)
    }

    /// Forgets all revisions but the current one: whoever asks for changes since an older one is told that it is gone.
    pub(crate) fn compact(&self) -> Result {
        let answer = self.ask("POST", "/v3/kv/range", &json!({"key": "AA=="}).to_string())?;
        let revision = &answer["header"]["revision"];
        self.ask("POST", "/v3/kv/compaction", &json!({"revision": revision, "physical": true}).to_string())?;
        Ok(())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let request = || format!("{method} {path} of etcd");
        let answer =
            UnixStream::connect(&self.socket).and_then(|stream| exchange(stream, method, path, body));
        let body = answer.context(request)?.good(request)?;
        serde_json::from_str(&body).map_err(|_| Error::Refused { request: request(), status: 200, body })
    }
}

fn url(socket: &std::path::Path) -> String {
    format!("unix://{}", socket.display())
}
