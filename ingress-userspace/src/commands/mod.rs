//! The commands that look instead of serve.

mod certificate;
pub mod check;
pub mod doctor;
pub mod dump;
pub mod explain;
pub mod explain_access;
mod fetch;
mod load;

pub use load::Objects;
