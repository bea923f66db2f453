//! Tests with scripted providers, which answer as the documentation of the real ones says.

mod assertions;
mod github;
mod keys;
mod presets;
mod scripted;
mod single;
mod time;
mod user_info;
