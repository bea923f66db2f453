//! Table-driven cases, by class.
