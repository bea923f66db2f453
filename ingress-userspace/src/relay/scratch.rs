//! One read buffer per worker: what is read is used up or copied before the next read, so connections can share it.

use std::cell::RefCell;

use super::SCRATCH;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Lends the buffer. Not to be nested.
pub fn with<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| use_it(buffer))
}
