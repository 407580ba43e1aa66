//! Streams for HTTP: carried both ways, counted a peer, refused where nobody takes them.

use crate::nodes::{Node, WAIT, settings};
use falak_mesh::{Event, HttpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

fn linked(runtime: &Runtime) -> (Node, Node) {
    let (one, two) = (Node::start(runtime, 1), Node::start(runtime, 2));
    one.mesh.dial(1, &two.address).unwrap();
    one.wait(|event| matches!(event, Event::Dialed { .. }).then_some(()));
    (one, two)
}

/// Answer every stream with what it brought, until its writer is done.
fn echo(node: &Node) {
    node.mesh
        .accept_http(Some(Arc::new(|_, stream: HttpStream| {
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        })));
}

async fn said_back(stream: &mut HttpStream, text: &[u8]) -> bool {
    let mut back = vec![0; text.len()];
    let exchange = async {
        stream.write_all(text).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await
    };
    matches!(tokio::time::timeout(WAIT, exchange).await, Ok(Ok(_)) if back == text)
}

#[test]
fn bytes_go_both_ways_and_so_does_the_end() {
    let runtime = Runtime::new().unwrap();
    let (one, two) = linked(&runtime);
    echo(&two);
    runtime.block_on(async {
        let mut stream = one.mesh.open_http(two.mesh.peer_id(), WAIT).await.unwrap();
        assert!(said_back(&mut stream, b"GET / HTTP/1.1").await);
        assert!(said_back(&mut stream, &[7; 100_000]).await);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    });
    one.mesh.close();
    two.mesh.close();
}

#[test]
fn a_peer_has_so_many_streams_and_gets_places_back() {
    let runtime = Runtime::new().unwrap();
    let (one, two) = linked(&runtime);
    echo(&two);
    runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..settings().http_streams_max {
            let mut stream = one.mesh.open_http(two.mesh.peer_id(), WAIT).await.unwrap();
            assert!(said_back(&mut stream, b"hello").await);
            open.push(stream);
        }
        let more = one.mesh.open_http(two.mesh.peer_id(), WAIT).await;
        assert_eq!(
            more.err().unwrap().kind(),
            std::io::ErrorKind::QuotaExceeded
        );
        open.pop();
        let deadline = Instant::now() + WAIT;
        loop {
            let mut again = one.mesh.open_http(two.mesh.peer_id(), WAIT).await.unwrap();
            if said_back(&mut again, b"hello").await {
                break;
            }
            assert!(Instant::now() < deadline, "the place was not given back");
        }
    });
    one.mesh.close();
    two.mesh.close();
}

#[test]
fn nobody_there_is_an_error_in_time() {
    let runtime = Runtime::new().unwrap();
    let (one, two) = linked(&runtime);
    let stranger = falak_mesh::identity::peer_id([9; 32]).unwrap();
    runtime.block_on(async {
        let error = one.mesh.open_http(stranger, WAIT).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        let started = Instant::now();
        let mut refused = one.mesh.open_http(two.mesh.peer_id(), WAIT).await.unwrap();
        assert!(!said_back(&mut refused, b"no gateway there").await);
        assert!(started.elapsed() < Duration::from_secs(1));
    });
    one.mesh.close();
    two.mesh.close();
}
