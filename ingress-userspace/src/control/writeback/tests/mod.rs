//! Simulations: the parts together, with a clock of the test and a server that fails on purpose. A seed replays a
//! failure.

mod api;
mod clock;
mod documentation;
mod lease;
mod story;
mod writer;
