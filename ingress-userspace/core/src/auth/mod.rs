//! Who may make a request: single sign-on, decided without I/O, clock or randomness.
//!
//! ```text
//!  session cookie ─► cookie ─► (opened by the caller) ─► session ─┐
//!  bearer token ───► (signature checked by the caller) ─► token ──┼─► decision ─► allow, with identity fields
//!  request ────────► asking, public_paths ────────────────────────┘          ├─► sign in ─► login ─► session
//!                                                                            ├─► 401, 403
//!                                                                            └─► 503
//! ```
//!
//! Whatever is missing, malformed, expired or ambiguous denies (law 2). Time is Unix seconds, passed in.

pub mod asking;
pub mod claims;
pub mod cookie;
pub mod decision;
pub mod fields;
pub mod id_token;
pub mod identity;
pub mod key_ring;
pub mod login;
pub mod public_paths;
pub mod return_to;
pub mod revocation;
pub mod rules;
pub mod session;
pub mod token;
pub mod tokens;

#[cfg(test)]
mod tests;
