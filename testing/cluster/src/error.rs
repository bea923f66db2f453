//! What can go wrong, said so that whoever reads it knows what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// A result of this crate.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why there is no cluster, or why it did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program was not built.
    #[error("{} does not exist; build it with: cargo xtask cluster --build-only", .0.display())]
    NotBuilt(PathBuf),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// A program ended by itself.
    #[error("{program} ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        log: String,
    },
    /// Something did not happen in time.
    #[error("not within {seconds} seconds: {what}; the end of the log:\n{log}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// The last lines that the program wrote.
        log: String,
    },
    /// A server gave another answer than was hoped for.
    #[error("{request} was answered with {status}: {body}")]
    Refused {
        /// Method and path.
        request: String,
        /// The status code.
        status: u16,
        /// The body, which is JSON of the kind Status if the API server sent it.
        body: String,
    },
    /// A certificate or key could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A TLS client could not be made.
    #[error("cannot speak TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Says what was tried when the operating system refuses it.
pub(crate) trait Context<T> {
    /// Names what was tried.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
