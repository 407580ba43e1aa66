//! The engine: how guests are compiled, where their instances live, and the clock that interrupts them.
//!
//! Owns wasmtime's configuration and the epoch thread. Never knows a guest.
//!
//! Trap to know: `faulthandler.enable()` in a Python process *after* an engine exists takes the signal
//! handlers that turn a guest's trap into an error, and the next trap kills the process. So nothing here
//! makes an engine when the extension is imported.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
};

/// Version of the wasmtime crate inside: AOT files of another version are of no use.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Length of an epoch: the precision of CPU limits.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Largest linear memory an instance may have: all that 32 bits can address. The limit that counts is
/// the capsule's own; this one only sizes the reservation of addresses.
const MEMORY_ADDRESSABLE_BYTES: usize = 4 << 30;
/// Memory of a slot that is cleared by hand and kept when an instance ends, instead of given back to
/// the kernel: the strongest lever on the cost of a request (28 -> 17 us at 256 KiB).
const MEMORY_KEPT_BYTES: usize = 256 << 10;
const TABLE_KEPT_BYTES: usize = 64 << 10;
const STACK_KEPT_BYTES: usize = 16 << 10;
/// Slots that wait to be given back in one system call: none, so that the next request gets the slot
/// whose memory is in the CPU's caches (8 -> 1 took 7 % off a request).
const DECOMMIT_BATCH: usize = 1;
/// Entries of a table, and what one component may be made of: enough for a Python interpreter.
const TABLE_ENTRIES_MAX: usize = 50_000;
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 50;
const MEMORIES_PER_COMPONENT_MAX: u32 = 4;
const TABLES_PER_COMPONENT_MAX: u32 = 20;
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Initial memory up to this size is mapped copy-on-write as one image.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What decides which machine code comes out: the same for compiling and for running.
fn code_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(IMAGE_BYTES_MAX);
    config.wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX));
    config
}

/// An engine that compiles and never runs anything.
pub(crate) fn compiler() -> Result<Engine> {
    Engine::new(&code_config())
}

/// An engine with room for `instances_max` instances at once.
fn runner(instances_max: u32) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max.saturating_mul(4))
        .total_memories(instances_max)
        .total_tables(instances_max.saturating_mul(4))
        .total_stacks(instances_max)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ENTRIES_MAX)
        .max_memory_size(MEMORY_ADDRESSABLE_BYTES)
        .max_unused_warm_slots(instances_max)
        .decommit_batch_size(DECOMMIT_BATCH)
        .linear_memory_keep_resident(MEMORY_KEPT_BYTES)
        .table_keep_resident(TABLE_KEPT_BYTES)
        .async_stack_keep_resident(STACK_KEPT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Guests being polled right now, and whether the epoch thread sleeps because there are none.
#[derive(Default)]
struct Activity {
    polled: AtomicU32,
    asleep: AtomicBool,
}

/// The running engine and its epoch thread, which sleeps while no guest runs.
pub(crate) struct Clocked {
    engine: Engine,
    activity: Arc<Activity>,
    ticker: Thread,
}

impl Clocked {
    pub fn new(instances_max: u32) -> Result<Self> {
        let engine = runner(instances_max)?;
        let activity = Arc::new(Activity::default());
        let (weak, seen) = (engine.weak(), activity.clone());
        let thread = std::thread::Builder::new()
            .name("falak-epoch".into())
            .spawn(move || {
                while tick(&seen) {
                    match weak.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            })?;
        Ok(Clocked {
            engine,
            activity,
            ticker: thread.thread().clone(),
        })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Epochs pass until the returned guard is dropped.
    pub fn running(&self) -> Running<'_> {
        let first = self.activity.polled.fetch_add(1, Ordering::SeqCst) == 0;
        if first && self.activity.asleep.load(Ordering::SeqCst) {
            self.ticker.unpark();
        }
        Running(&self.activity)
    }
}

impl Drop for Clocked {
    fn drop(&mut self) {
        // Counted as running for good: the thread wakes, finds the engine gone and ends.
        self.activity.polled.fetch_add(1, Ordering::SeqCst);
        self.ticker.unpark();
    }
}

/// A guest is on a thread.
pub(crate) struct Running<'a>(&'a Activity);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.polled.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Wait for one epoch; for the next guest first, if none runs.
fn tick(activity: &Activity) -> bool {
    std::thread::sleep(TICK);
    while activity.polled.load(Ordering::SeqCst) == 0 {
        activity.asleep.store(true, Ordering::SeqCst);
        if activity.polled.load(Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        activity.asleep.store(false, Ordering::SeqCst);
    }
    true
}
