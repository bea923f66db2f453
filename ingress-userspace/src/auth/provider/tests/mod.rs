//! Tests with scripted providers.
