//! Streams between whole nodes, and what a hostile one cannot do with them.

mod hostile;
mod http;
mod nodes;
