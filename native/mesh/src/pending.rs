//! Inbound handshakes in progress, bounded: the youngest wins. Owns their number; never reads a byte.
//!
//! A plain limit lets silent TCP connections lock out everybody else until their handshakes time out.
//! Here a connection above the limit is let in, and the oldest handshake of the address with the most
//! of them is given up: an honest handshake takes milliseconds and is rarely the oldest.

use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::{Multiaddr, Protocol};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The handshakes in progress, oldest first.
pub(crate) struct Lot {
    places_max: usize,
    places: Mutex<VecDeque<Place>>,
}

struct Place {
    number: u64,
    address: Option<IpAddr>,
    /// Dropped to give the handshake up.
    _keep: oneshot::Sender<()>,
}

impl Lot {
    pub fn new(places_max: usize) -> Arc<Self> {
        Arc::new(Lot {
            places_max: places_max.max(1),
            places: Mutex::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.places.lock().len()
    }

    /// Enter a handshake; above the limit another one is given up.
    fn enter(&self, number: u64, address: Option<IpAddr>) -> oneshot::Receiver<()> {
        let (keep, given_up) = oneshot::channel();
        let mut places = self.places.lock();
        if places.len() >= self.places_max {
            let at = oldest_of_busiest(&places);
            places.remove(at);
        }
        places.push_back(Place {
            number,
            address,
            _keep: keep,
        });
        given_up
    }

    fn leave(&self, number: u64) {
        self.places.lock().retain(|place| place.number != number);
    }
}

fn oldest_of_busiest(places: &VecDeque<Place>) -> usize {
    let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
    for place in places {
        *counts.entry(place.address).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or_default();
    places
        .iter()
        .position(|place| counts.get(&place.address) == Some(&most))
        .unwrap_or_default()
}

/// A transport that enters its inbound handshakes in a [`Lot`].
pub(crate) struct Pending<T> {
    inner: T,
    lot: Arc<Lot>,
    next: u64,
}

impl<T> Pending<T> {
    pub fn new(inner: T, lot: Arc<Lot>) -> Self {
        Pending {
            inner,
            lot,
            next: 0,
        }
    }
}

/// One inbound handshake.
pub(crate) struct Handshake<F> {
    inner: F,
    given_up: oneshot::Receiver<()>,
    number: u64,
    lot: Arc<Lot>,
}

impl<F, O> Future for Handshake<F>
where
    F: Future<Output = Result<O, io::Error>> + Unpin,
{
    type Output = Result<O, io::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = Pin::new(&mut self.inner).poll(cx) {
            return Poll::Ready(done);
        }
        Pin::new(&mut self.given_up)
            .poll(cx)
            .map(|_| Err(io::Error::other("its place was given to a newer handshake")))
    }
}

impl<F> Drop for Handshake<F> {
    fn drop(&mut self) {
        self.lot.leave(self.number);
    }
}

impl<T> Transport for Pending<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::ListenerUpgrade: Unpin,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = Handshake<T::ListenerUpgrade>;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<T::Dial, TransportError<io::Error>> {
        self.inner.dial(address, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let Poll::Ready(event) = Pin::new(&mut self.inner).poll(cx) else {
            return Poll::Pending;
        };
        let address = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => ip_of(send_back_addr),
            _ => None,
        };
        let (number, lot) = (self.next, self.lot.clone());
        self.next += 1;
        Poll::Ready(event.map_upgrade(|inner| {
            let given_up = lot.enter(number, address);
            Handshake {
                inner,
                given_up,
                number,
                lot,
            }
        }))
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::Lot;
    use std::net::IpAddr;
    use tokio::sync::oneshot::error::TryRecvError;

    #[test]
    fn the_oldest_of_the_busiest_address_gives_way() {
        let [busy, calm] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let lot = Lot::new(3);
        let mut honest = lot.enter(0, calm);
        let mut first = lot.enter(1, busy);
        let mut second = lot.enter(2, busy);
        let mut third = lot.enter(3, busy);
        assert_eq!(first.try_recv(), Err(TryRecvError::Closed));
        for kept in [&mut honest, &mut second, &mut third] {
            assert_eq!(kept.try_recv(), Err(TryRecvError::Empty));
        }
        lot.leave(2);
        assert_eq!(lot.len(), 2);
    }
}
