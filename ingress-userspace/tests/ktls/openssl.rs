//! OpenSSL's s_client, driven by its standard input.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::rig::DEADLINE;

/// A running s_client.
pub(crate) struct SClient {
    child: Child,
    output: mpsc::Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl SClient {
    /// Connects; None if there is no OpenSSL.
    pub(crate) fn start(address: SocketAddr, arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let (send, output) = mpsc::channel();
        forward(child.stdout.take().unwrap(), send.clone());
        // It says there what it makes of commands.
        forward(child.stderr.take().unwrap(), send);
        Some(Self { child, output, seen: Vec::new() })
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Types the command that ends it, if it has not ended yet.
    pub(crate) fn quit(&mut self) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(b"Q\n");
    }

    /// Waits until it has printed these bytes, and forgets what came up to there.
    #[track_caller]
    pub(crate) fn prints(&mut self, bytes: &[u8]) {
        assert!(self.printed(bytes), "s_client printed: {}", String::from_utf8_lossy(&self.seen));
    }

    fn printed(&mut self, bytes: &[u8]) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.windows(bytes.len()).position(|window| window == bytes) {
                self.seen.drain(..at + bytes.len());
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(more) => self.seen.extend_from_slice(&more),
                Err(_) => return false,
            }
        }
    }
}

fn forward(mut from: impl io::Read + Send + 'static, to: mpsc::Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
