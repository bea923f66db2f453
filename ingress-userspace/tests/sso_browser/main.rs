//! Single sign-on as people see it: Chromium, Penstock and a certified OpenID provider.
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

#[path = "../support/browser.rs"]
mod browser;
mod ends;
mod github;
mod refusals;
mod rig;
mod selftest;
mod sessions;
mod signing_in;
mod signing_out;
#[path = "../support/mod.rs"]
mod support;
