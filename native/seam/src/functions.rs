//! Module functions and constants: identities, components, versions. Owns nothing; never keeps state.

use crate::mesh::key;
use falak_gateway::LATENCY_BUCKETS_US;
use falak_mesh::identity;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::path::PathBuf;

#[pyfunction]
fn sign(key_seed: &[u8], data: &[u8]) -> PyResult<Vec<u8>> {
    identity::sign(key(key_seed, "key_seed")?, data).map_err(PyValueError::new_err)
}

#[pyfunction]
fn verify(peer: &str, data: &[u8], signature: &[u8]) -> bool {
    identity::verify(peer, data, signature)
}

#[pyfunction]
fn peer_id(key_seed: &[u8]) -> PyResult<String> {
    let peer = identity::peer_id(key(key_seed, "key_seed")?).map_err(PyValueError::new_err)?;
    Ok(peer.to_base58())
}

#[pyfunction]
fn compile(py: Python<'_>, source: PathBuf, target: PathBuf) -> PyResult<()> {
    py.detach(|| falak_wasm::compile(&source, &target))
        .map_err(PyValueError::new_err)
}

#[pyfunction]
fn inspect(py: Python<'_>, source: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let found = py
        .detach(|| falak_wasm::inspect(&source))
        .map_err(PyValueError::new_err)?;
    let interfaces = PyDict::new(py);
    interfaces.set_item("imports", found.imports)?;
    interfaces.set_item("exports", found.exports)?;
    Ok(interfaces)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add("WASMTIME_VERSION", falak_wasm::WASMTIME_VERSION)?;
    module.add("CPU", falak_wasm::cpu())?;
    module.add(
        "LATENCY_BUCKETS_US",
        PyTuple::new(module.py(), LATENCY_BUCKETS_US)?,
    )?;
    module.add_function(wrap_pyfunction!(sign, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(peer_id, module)?)?;
    module.add_function(wrap_pyfunction!(compile, module)?)?;
    module.add_function(wrap_pyfunction!(inspect, module)?)
}
