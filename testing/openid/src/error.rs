//! What can go wrong, told to the user as it stands.

use std::io;
use std::path::PathBuf;

/// Why there is no provider, or no answer of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// npm is not there, or could not install what the lock file pins.
    #[error("npm, which installs the OpenID provider: {0}")]
    NotInstalled(String),
    /// A file or directory could not be used.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The process did not start, or ended at once.
    #[error("the OpenID provider does not start: {0}")]
    NotStarted(String),
    /// A command was refused, or not answered.
    #[error("the OpenID provider does not do {command}: {reason}")]
    Command {
        /// What it was told, as JSON.
        command: String,
        /// Its answer, or the system's.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Turns the error about a file into ours.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |error| Error::File { path, error }
}
