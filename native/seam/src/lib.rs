//! The seam: `falak._native`, the one extension module.
//!
//! Owns what Python sees of mesh, gateway and wasm, and the runtime they share. Never decides
//! anything and never carries a byte itself. Its contract is `falak/_native.pyi`.

mod events;
mod functions;
mod gateway;
mod mesh;
mod queue;
mod runtime;
mod settings;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<events::Events>()?;
    module.add_class::<mesh::Mesh>()?;
    events::register(module)?;
    functions::register(module)?;
    gateway::register(module)?;
    // PyO3 makes one; the contract is the list of names.
    module.delattr("__all__")
}
