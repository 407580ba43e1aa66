//! The WASM host: wasi:http/proxy 0.2 components, a fresh instance for every request.
//!
//! Owns the engine, compiled files, limits of guests and their logs. Never routes, never decides where
//! a capsule runs, never deserialises a file that this node did not compile itself, and knows nothing
//! of Python.

mod call;
mod compile;
mod driver;
mod engine;
mod guest;
mod heavy;
mod limits;
mod logs;
mod meter;
mod outgoing;

pub use call::RequestBody;
pub use compile::{Interfaces, compile, cpu, inspect};
pub use driver::GuestBody;
pub use engine::WASMTIME_VERSION;
pub use guest::{Failure, Guest, Host, Order, Settings};
pub use limits::Limits;
pub use logs::{Line, Record, Stream};
pub use wasmtime_wasi_http::Error as BodyError;
