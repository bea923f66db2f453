//! Single sign-on as people see it: Chromium, Penstock and a certified OpenID provider.
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

#[path = "../support/browser.rs"]
#[expect(dead_code, reason = "the tests of sign-ins, which use the rest, are not there yet")]
mod browser;
mod selftest;
#[path = "../support/mod.rs"]
mod support;
