//! How much one instance may take. Owns the memory limiter; never the time (see `meter`).

use std::time::Duration;
use wasmtime::{ResourceLimiter, Result};

/// Entries of one table that a guest may grow to.
const TABLE_ENTRIES_MAX: usize = 50_000;

/// What a copy's requests may use, each.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All linear memories of an instance together.
    pub memory_bytes: usize,
    /// CPU time.
    pub cpu: Duration,
    /// From the call to the end of the guest.
    pub wall: Duration,
}

/// Counts the bytes of all memories of an instance.
pub(crate) struct MemoryLimit {
    max_bytes: usize,
    held_bytes: usize,
    /// A growth was refused: what follows is probably a trap of the guest's allocator.
    pub refused: bool,
}

impl MemoryLimit {
    pub fn new(max_bytes: usize) -> Self {
        MemoryLimit {
            max_bytes,
            held_bytes: 0,
            refused: false,
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> Result<bool> {
        let held = (self.held_bytes - now.min(self.held_bytes)).saturating_add(wanted);
        if held > self.max_bytes {
            self.refused = true;
            return Ok(false);
        }
        self.held_bytes = held;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, wanted: usize, _: Option<usize>) -> Result<bool> {
        Ok(wanted <= TABLE_ENTRIES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_of_an_instance_count_together() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 60, None).unwrap());
        assert!(limit.memory_growing(0, 40, None).unwrap());
        assert!(!limit.refused);
        assert!(!limit.memory_growing(60, 61, None).unwrap());
        assert!(limit.refused);
        assert!(limit.table_growing(0, TABLE_ENTRIES_MAX, None).unwrap());
        assert!(!limit.table_growing(0, TABLE_ENTRIES_MAX + 1, None).unwrap());
    }
}
