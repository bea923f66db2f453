//! The Helm chart, with the real helm: what it renders, what it refuses, and what it makes of a real API server.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

#[path = "../support/mod.rs"]
mod support;

mod helm;
mod lifecycle;
mod pods;
mod program;
mod release;
mod rights;
mod serving;
mod values;
