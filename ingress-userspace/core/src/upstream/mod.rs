//! Which endpoint, when to eject it, when to retry: pure decisions; time and randomness are passed in.
//!
//! ```text
//! request ──► balance::pick ──► endpoint ──► response ──► outlier::Outlier::success, balance::PeakEwma::observe
//!                  ▲                    └──► failure  ──► outlier::Outlier::failure ─► ejected for a while
//!                  └── once more, if retry::may_retry and retry::RetryBudget agree ◄──┘
//! ```

pub mod balance;
pub mod outlier;
pub mod retry;
