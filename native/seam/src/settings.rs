//! Reading the `settings` mapping of a constructor. Owns the check of names; never a default.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use std::collections::HashMap;
use std::time::Duration;

/// Nothing here is larger: neither a byte count nor a number of milliseconds.
const NUMBER_MAX: u64 = 1 << 48;

/// A mapping of exactly the expected names to numbers.
pub struct Numbers(HashMap<String, u64>);

impl Numbers {
    /// Read the mapping. `ValueError` names what is missing or unknown, and values that are not whole
    /// numbers of at least 1.
    pub fn read(settings: &Bound<'_, PyMapping>, names: &[&str]) -> PyResult<Self> {
        let mut numbers = HashMap::with_capacity(names.len());
        for item in settings.items()?.iter() {
            let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
            if !names.contains(&name.as_str()) {
                return Err(PyValueError::new_err(format!("unknown setting: {name}")));
            }
            let number = value
                .extract::<u64>()
                .ok()
                .filter(|number| (1..=NUMBER_MAX).contains(number));
            let number = number.ok_or_else(|| {
                PyValueError::new_err(format!(
                    "setting {name} must be a whole number from 1 to {NUMBER_MAX}, not {value}"
                ))
            })?;
            numbers.insert(name, number);
        }
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !numbers.contains_key(**name))
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(Numbers(numbers));
        }
        Err(PyValueError::new_err(format!(
            "missing settings: {}",
            missing.join(", ")
        )))
    }

    /// The number under a name that was among those expected.
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.0.get(name).copied().unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// The same, cut to 32 bits.
    pub fn count_u32(&self, name: &str) -> u32 {
        u32::try_from(self.count(name)).unwrap_or(u32::MAX)
    }

    /// A number of milliseconds.
    pub fn ms(&self, name: &str) -> Duration {
        Duration::from_millis(self.count(name) as u64)
    }
}
