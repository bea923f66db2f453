//! Tests with scripted providers, which answer as the documentation of the real ones says.

mod keys;
mod presets;
mod scripted;
mod single;
