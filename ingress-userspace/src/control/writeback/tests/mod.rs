//! Simulations: the parts together, with a clock of the test and a server that fails on purpose. A seed replays a
//! failure.

mod clock;
mod lease;
