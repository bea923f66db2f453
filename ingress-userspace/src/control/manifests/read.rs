//! Reads a file, whatever it turns out to be.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::catalog::display;
use super::file::{self, Content, MAX_FILE};
use super::walk::{Stamp, syntax};
use super::yaml::Syntax;

/// Reads a file; what is wrong with it is in its content. No stamp if it could not be read.
pub(super) fn read(path: &Path, stamp: io::Result<Stamp>, last: &Content) -> (Option<Stamp>, Content) {
    let name = display(path);
    match stamp.and_then(|_| read_bounded(path)) {
        Ok((stamp, None)) => {
            let message = format!("is larger than {} MiB", MAX_FILE >> 20);
            (Some(stamp), file::unreadable(&name, &message, last))
        }
        Ok((stamp, Some(bytes))) => {
            let syntax = syntax(path).unwrap_or(Syntax::Yaml);
            // A file must not stop the watch over the others, even if it finds a fault in a parser.
            let parsed = catch_unwind(AssertUnwindSafe(|| file::parse(&name, &bytes, syntax, last)));
            (Some(stamp), parsed.unwrap_or_else(|_| file::unreadable(&name, "makes the parser fail", last)))
        }
        Err(error) => (None, file::unreadable(&name, &format!("cannot be read: {error}"), last)),
    }
}

/// Reads a file with the stamp of what was read; no bytes if it is too large.
fn read_bounded(path: &Path) -> io::Result<(Stamp, Option<Vec<u8>>)> {
    // Without O_NONBLOCK, a FIFO that took the file's place would block until somebody writes it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let stamp = Stamp::of(&meta);
    if meta.len() > MAX_FILE {
        return Ok((stamp, None));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok((stamp, (bytes.len() as u64 <= MAX_FILE).then_some(bytes)))
}
