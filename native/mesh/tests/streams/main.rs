//! Streams between whole nodes, and what a hostile one cannot do with them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that cannot go on has failed.

mod hostile;
mod http;
mod nodes;
