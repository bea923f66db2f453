//! The pipes of one worker. A pipe is in use only while bytes are in it, so that waiting transfers hold none.

use std::cell::RefCell;
use std::io;

use crate::sys::splice::Pipe;

/// What one pipe holds at the most.
pub const PIPE_SIZE: usize = 256 * 1024;

/// A pipe that holds less than this much makes more system calls than a copy does.
const LEAST_SIZE: usize = super::SCRATCH;

/// How many empty pipes a worker keeps: as many as transfers begin and end at once. Each costs two file descriptors.
const KEPT: usize = 64;

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe.
pub(super) fn take() -> io::Result<Pipe> {
    if let Some(pipe) = EMPTY.with_borrow_mut(Vec::pop) {
        return Ok(pipe);
    }
    let pipe = Pipe::new(PIPE_SIZE)?;
    if pipe.capacity() < LEAST_SIZE {
        return Err(io::Error::other("the kernel grants small pipes only"));
    }
    Ok(pipe)
}

/// Keeps an empty pipe for the next transfer. One with bytes in it would give them to another flow: it is dropped instead.
pub(super) fn put(pipe: Pipe) {
    debug_assert!(matches!(pipe.held(), Ok(0)), "a pipe with bytes in it was about to be used again");
    EMPTY.with_borrow_mut(|empty| {
        if empty.len() < KEPT {
            empty.push(pipe);
        }
    });
}
