//! Local copies: loaded in the background, found by their number. Owns the loading thread and the bound
//! of its queue; never decides what is loaded.

use crate::capsule::Load;
use crate::event::{Event, Sink};
use falak_wasm::{Guest, Host, Order};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

/// Why a load was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// A copy of this number is loaded or being loaded.
    Known,
    /// As many loads as may wait do.
    Full,
    Closed,
}

/// A loaded copy, and the count of its requests.
#[derive(Clone)]
pub struct Copy {
    pub guest: Arc<Guest>,
    pub load: Arc<Load>,
}

/// By number; `None` while it is being loaded.
type Copies = Arc<Mutex<HashMap<u64, Option<Copy>>>>;

/// See the module.
pub struct Loader {
    copies: Copies,
    orders: Mutex<Option<SyncSender<(u64, Order)>>>,
}

impl Loader {
    pub fn start(host: Arc<Host>, sink: Arc<dyn Sink>, waiting_max: usize) -> io::Result<Self> {
        let (send, orders) = sync_channel(waiting_max);
        let copies = Copies::default();
        let loaded = copies.clone();
        std::thread::Builder::new()
            .name("falak-load".into())
            .spawn(move || run(&host, sink.as_ref(), &loaded, &orders))?;
        Ok(Loader {
            copies,
            orders: Mutex::new(Some(send)),
        })
    }

    /// Load a copy; ends in `Loaded`.
    pub fn load(&self, instance: u64, order: Order) -> Result<(), Refused> {
        let orders = self.orders.lock();
        let orders = orders.as_ref().ok_or(Refused::Closed)?;
        let mut copies = self.copies.lock();
        if copies.contains_key(&instance) {
            return Err(Refused::Known);
        }
        orders
            .try_send((instance, order))
            .map_err(|error| match error {
                TrySendError::Full(_) => Refused::Full,
                TrySendError::Disconnected(_) => Refused::Closed,
            })?;
        copies.insert(instance, None);
        Ok(())
    }

    /// Forget a copy; one that is being loaded ends as not loaded.
    pub fn unload(&self, instance: u64) {
        self.copies.lock().remove(&instance);
    }

    /// A loaded copy.
    pub fn find(&self, instance: u64) -> Option<Copy> {
        self.copies.lock().get(&instance).cloned().flatten()
    }

    /// What every loaded copy has and had to do: its number and `Load::look`.
    pub fn looks(&self) -> Vec<(u64, (u64, u64, u64))> {
        let copies = self.copies.lock();
        let loaded = copies
            .iter()
            .filter_map(|(number, copy)| Some((*number, copy.as_ref()?.load.look())));
        loaded.collect()
    }

    /// Take no more orders, and forget all copies.
    pub fn close(&self) {
        self.orders.lock().take();
        self.copies.lock().clear();
    }
}

fn run(host: &Arc<Host>, sink: &dyn Sink, copies: &Copies, orders: &Receiver<(u64, Order)>) {
    while let Ok((instance, order)) = orders.recv() {
        let start = Instant::now();
        let result = host.load(order).and_then(|guest| {
            match copies.lock().get_mut(&instance) {
                Some(place) => {
                    let load = Arc::default();
                    *place = Some(Copy { guest, load });
                }
                None => return Err("it was unloaded while it was being loaded".into()),
            }
            Ok(())
        });
        if result.is_err() {
            copies.lock().remove(&instance);
        }
        let load_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        sink.tell(Event::Loaded {
            instance,
            result,
            load_us,
        });
    }
}
