//! Listening: addresses in, sockets or a clear error out. Owns the checks around libp2p's listeners;
//! never accepts a connection.

use crate::mesh::StartError;
use crate::reason::os_error;
use crate::swarm::{Listened, Node};
use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How long the constructor waits for an address.
const WAIT: Duration = Duration::from_secs(2);

/// An address whose first event is awaited.
pub(crate) struct First {
    address: String,
    event: mpsc::Receiver<Listened>,
}

pub(crate) fn parse(addresses: &[String]) -> Result<Vec<Multiaddr>, StartError> {
    let parse = |text: &String| {
        let address = text.parse::<Multiaddr>();
        let address = address
            .ok()
            .filter(|address| socket_address(address).is_some());
        address.ok_or_else(|| {
            let example = "/ip4/0.0.0.0/tcp/4200";
            StartError::Value(format!(
                "{text:?} cannot be listened on: it is not like {example}"
            ))
        })
    };
    addresses.iter().map(parse).collect()
}

/// Bind every address.
pub(crate) fn listen(node: &mut Node, addresses: &[Multiaddr]) -> Result<Vec<First>, StartError> {
    for address in addresses {
        probe(address).map_err(|error| failed(address.to_string(), error))?;
    }
    let mut firsts = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = node.swarm.listen_on(address.clone()).map_err(|error| {
            let error = match error {
                TransportError::Other(error) => error,
                unsupported => io::Error::other(unsupported),
            };
            failed(address.to_string(), error)
        })?;
        let (tell, event) = mpsc::channel(1);
        node.listening.insert(listener, tell);
        firsts.push(First {
            address: address.to_string(),
            event,
        });
    }
    Ok(firsts)
}

/// Wait until each address is listened on.
pub(crate) fn wait(runtime: &Handle, firsts: Vec<First>) -> Result<(), StartError> {
    for mut first in firsts {
        let event = first.event.recv();
        let event = runtime.block_on(async { tokio::time::timeout(WAIT, event).await });
        let listened = match event {
            Ok(Some(listened)) => listened,
            Ok(None) => Err(io::Error::other("the node stopped")),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        };
        listened.map_err(|error| failed(first.address, error))?;
    }
    Ok(())
}

/// libp2p's listeners share their port with others of the same user (SO_REUSEPORT), and half of the
/// connections would go to each: so see first whether the port can be had alone.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let Some(address) = socket_address(address).filter(|address| address.port() != 0) else {
        return Ok(());
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Keeps the number of the operating system's error, which is at the bottom of libp2p's wrappings.
fn failed(address: String, error: io::Error) -> StartError {
    let error = os_error(&error).map_or(error, io::Error::from_raw_os_error);
    StartError::Listen { address, error }
}
