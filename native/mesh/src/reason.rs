//! Failures of connections in words for people. Owns the wording; never what follows from it.

use libp2p::core::transport::TransportError;
use libp2p::swarm::{ConnectionError, DialError};
use libp2p::{Multiaddr, PeerId};
use std::error::Error;
use std::io;
use std::time::Duration;

/// Why a dial failed, and whether that is proof that nobody listens there.
pub(crate) struct Failure {
    pub refused: bool,
    pub why: String,
}

pub(crate) fn of_dial(
    error: &DialError,
    address: &Multiaddr,
    expected: Option<PeerId>,
    handshake: Duration,
) -> Failure {
    let why = match error {
        DialError::WrongPeerId { obtained, .. } => {
            let expected = expected
                .map(|peer| format!(", not {peer}"))
                .unwrap_or_default();
            format!("{obtained} answers at {address}{expected}")
        }
        // The swarm leaves out addresses that it listens on itself.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => {
            format!("{address} is this node itself")
        }
        DialError::Denied { cause } => format!("a limit of this node: {}", root(cause)),
        DialError::Aborted => "given up by this node".to_string(),
        DialError::Transport(tried) => match tried.first() {
            Some((_, error)) => return of_transport(error, address, handshake),
            None => format!("{address} cannot be dialled"),
        },
        DialError::DialPeerConditionFalse(_) => error.to_string(),
    };
    Failure {
        refused: false,
        why,
    }
}

fn of_transport(
    error: &TransportError<io::Error>,
    address: &Multiaddr,
    handshake: Duration,
) -> Failure {
    let TransportError::Other(error) = error else {
        let why = format!("{address} cannot be dialled: only /ip4/…/tcp/… and /ip6/…/tcp/… can");
        return Failure {
            refused: false,
            why,
        };
    };
    let refused = os_error(error) == Some(libc::ECONNREFUSED);
    let cause = root(error);
    let why = if refused {
        format!("nobody listens at {address}")
    } else if cause.contains("Timeout") {
        let limit_ms = handshake.as_millis();
        format!(
            "no handshake with {address} within {limit_ms} ms: gone, stuck or of another network key"
        )
    } else if os_error(error).is_some() {
        format!("cannot reach {address}: {cause}")
    } else {
        format!(
            "the handshake with {address} failed, so it has another network key or is no mesh node: {cause}"
        )
    };
    Failure { refused, why }
}

/// Why a connection ended.
pub(crate) fn of_close(cause: Option<&ConnectionError>) -> String {
    match cause {
        None => "closed by this node".to_string(),
        Some(ConnectionError::KeepAliveTimeout) => "idle".to_string(),
        Some(ConnectionError::IO(error)) => root(error),
    }
}

/// The number of the operating system's error at the bottom of a chain.
pub(crate) fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    chain(error)
        .into_iter()
        .find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

/// The text at the bottom of a chain: the layers above repeat it or only name themselves.
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// Every error of a chain, the outermost first. An `io::Error` hides the one it wraps from `source`.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut errors = vec![error];
    let mut at = error;
    loop {
        let wrapped = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let next: Option<&(dyn Error + 'static)> = match wrapped {
            Some(inner) => Some(inner),
            None => at.source(),
        };
        let Some(next) = next else {
            return errors;
        };
        errors.push(next);
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::{os_error, root};
    use std::io;

    #[test]
    fn errors_are_found_below_their_wrappings() {
        let inner = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let text = inner.to_string();
        let outer = io::Error::other(io::Error::other(inner));
        assert_eq!(os_error(&outer), Some(libc::ECONNREFUSED));
        assert_eq!(root(&outer), text);
        assert_eq!(os_error(&io::Error::other("no number")), None);
    }
}
