//! Which endpoint, when to eject it, when to retry.
