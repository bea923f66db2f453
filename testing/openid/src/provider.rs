//! The running provider.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::install;

/// A running provider. Dropping it kills the process and waits for its end.
pub struct Provider {
    child: Child,
    /// The provider ends when this is closed, also if this process is killed.
    _alive: ChildStdin,
    issuer: String,
    control: SocketAddr,
}

impl Provider {
    /// The provider at `https://localhost:PORT`, with this certificate and key (PEM). Port 0 is any free one. The first start on a
    /// machine installs it, which takes a minute at most.
    ///
    /// # Errors
    /// npm is missing or fails, or the port is taken.
    pub fn start(certificate: &Path, key: &Path, port: u16) -> Result<Self> {
        let place = install::ensure()?;
        let mut command = Command::new(install::node(&place));
        command.arg("server.js").args([certificate, key]).args(["localhost", &port.to_string()]);
        command.current_dir(&place).env_remove("NODE_OPTIONS").stdin(Stdio::piped()).stdout(Stdio::piped());
        let not_started = |reason: &dyn ToString| Error::NotStarted(reason.to_string());
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let (alive, output) =
            child.stdin.take().zip(child.stdout.take()).ok_or_else(|| not_started(&"no pipes"))?;
        let mut line = String::new();
        // The end of the output is an empty line: it has said on standard error what it could not do.
        let read = BufReader::new(output).read_line(&mut line);
        let said: Value = read.map(|_| serde_json::from_str(&line).unwrap_or_default()).unwrap_or_default();
        let control = said["control"].as_u64().and_then(|port| u16::try_from(port).ok());
        let Some((control, issuer)) = control.zip(said["issuer"].as_str()) else {
            let _ = child.kill();
            return Err(not_started(
                &child.wait().map_or_else(|error| error.to_string(), |status| status.to_string()),
            ));
        };
        Ok(Self {
            child,
            _alive: alive,
            issuer: issuer.to_owned(),
            control: ([127, 0, 0, 1], control).into(),
        })
    }

    /// The issuer, which is also where it is reached.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Does what `server.js` lists; returns the state afterwards.
    ///
    /// # Errors
    /// The provider has ended, or knows no such command.
    pub fn command(&self, what: &Value) -> Result<Value> {
        let failed = |reason: String| Error::Command { command: what.to_string(), reason };
        let answer = self.post(&what.to_string()).map_err(|error| failed(error.to_string()))?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| failed(answer.clone()))?;
        match serde_json::from_str(body) {
            Ok(state) if head.contains(" 200 ") => Ok(state),
            _ => Err(failed(body.to_owned())),
        }
    }

    /// By HTTP/1.0, where the end of the connection is the end of the answer.
    fn post(&self, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.control)?;
        write!(stream, "POST /control HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Errors say that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
