//! A mesh peer that breaks every rule: it has the network key and a valid identity, and sends garbage.
//!
//! Everybody else must not notice, the garbage must be counted, and nothing of it be told as fact.

use crate::nodes::{NETWORK_KEY, Node, WAIT, settings};
use falak_mesh::{Event, PeerId, identity};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::Transport;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, noise, pnet, tcp, yamux};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Ask another node something and have it answered.
fn ask(from: &Node, to: &Node) {
    from.mesh.ask(1, to.mesh.peer_id(), b"well?", WAIT).unwrap();
    let ask = to.wait(|event| match event {
        Event::Asked { ask, data, .. } if data == b"well?" => Some(ask),
        _ => None,
    });
    to.mesh.answer(ask, b"well".to_vec()).unwrap();
    let answer = from.wait(|event| match event {
        Event::Answered { answer, .. } => Some(answer),
        _ => None,
    });
    assert_eq!(answer, Ok(b"well".to_vec()));
}

#[derive(NetworkBehaviour)]
struct Wild {
    stream: libp2p_stream::Behaviour,
    gossip: gossipsub::Behaviour,
}

/// A plain libp2p swarm with the network key, connected to a node.
async fn wild(node: &Node, gossip: gossipsub::Behaviour) -> Swarm<Wild> {
    let key = Keypair::generate_ed25519();
    let network = pnet::PnetConfig::new(pnet::PreSharedKey::new(NETWORK_KEY));
    let transport = tcp::tokio::Transport::new(tcp::Config::default())
        .and_then(move |socket, _| network.handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let behaviour = Wild {
        stream: libp2p_stream::Behaviour::new(),
        gossip,
    };
    let config = Config::with_tokio_executor().with_idle_connection_timeout(WAIT * 10);
    let mut swarm = Swarm::new(transport, behaviour, key.public().to_peer_id(), config);
    swarm
        .dial(node.address.parse::<Multiaddr>().unwrap())
        .unwrap();
    loop {
        if let SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
            return swarm;
        }
    }
}

fn loose_gossip(author: MessageAuthenticity, max_bytes: usize) -> gossipsub::Behaviour {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::None)
        .max_transmit_size(max_bytes)
        .heartbeat_interval(Duration::from_millis(100))
        .build()
        .unwrap();
    gossipsub::Behaviour::new(author, config).unwrap()
}

fn unheard_gossip() -> gossipsub::Behaviour {
    loose_gossip(
        MessageAuthenticity::Signed(Keypair::generate_ed25519()),
        1 << 16,
    )
}

/// Garbage of several shapes: nothing, noise, lengths that lie, a name that climbs out of the folder.
fn garbage() -> Vec<Vec<u8>> {
    let mut climbing = b"../".repeat(22)[..64].to_vec();
    climbing.extend_from_slice(&[0; 8]);
    vec![
        vec![],
        vec![0xff],
        vec![0xff; 5000],
        vec![0, 0, 0, 9, 1, 2],
        vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        climbing,
    ]
}

/// Gossip keeps its end of a stream open; everybody else is done with garbage at once.
const THROWN: Duration = Duration::from_millis(300);

/// Send one piece of garbage on a stream of its own, and wait until the other side is done with it.
async fn throw(
    control: &mut libp2p_stream::Control,
    peer: PeerId,
    protocol: &'static str,
    data: &[u8],
) {
    let Ok(mut stream) = control
        .open_stream(peer, StreamProtocol::new(protocol))
        .await
    else {
        return; // Refused: as good an end as any.
    };
    let _ = stream.write_all(data).await;
    let _ = stream.close().await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(THROWN, stream.read_to_end(&mut rest)).await;
}

#[test]
fn garbage_on_every_protocol_harms_nobody_and_is_counted() {
    let runtime = Runtime::new().unwrap();
    let (one, two) = (Node::start(&runtime, 1), Node::start(&runtime, 2));
    one.mesh.dial(1, &two.address).unwrap();
    one.wait(|event| matches!(event, Event::Dialed { .. }).then_some(()));
    let (falak, foreign) = (
        [
            "/falak/message/1",
            "/falak/ask/1",
            "/falak/blob/1",
            "/falak/http/1",
            "/falak/beat/1",
        ],
        [
            "/meshsub/1.1.0",
            "/meshsub/1.2.0",
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/other/1",
        ],
    );
    runtime.block_on(async {
        for protocol in falak.into_iter().chain(foreign) {
            let mut swarm = wild(&two, unheard_gossip()).await;
            let mut control = swarm.behaviour().stream.new_control();
            let driving = tokio::spawn(async move {
                loop {
                    swarm.select_next_some().await;
                }
            });
            for data in garbage() {
                throw(&mut control, two.mesh.peer_id(), protocol, &data).await;
            }
            driving.abort();
        }
    });
    // Four lengths above the limit on messages and on asks, an empty ask, seven requests for no blob.
    two.counter_reaches("peer_errors", 4 + 4 + 1 + 7);
    ask(&one, &two);
    ask(&two, &one);
    assert_eq!(one.counter("peer_errors"), 0);
    two.counter_reaches("connections", 1);
    one.mesh.close();
    two.mesh.close();
}

#[test]
fn more_streams_than_allowed_are_reset() {
    let runtime = Runtime::new().unwrap();
    let node = Node::start(&runtime, 3);
    let held = Mutex::new(Vec::new());
    node.mesh.accept_http(Some(Arc::new(move |_, stream| {
        held.lock().unwrap().push(stream)
    })));
    runtime.block_on(async {
        let mut swarm = wild(&node, unheard_gossip()).await;
        let mut control = swarm.behaviour().stream.new_control();
        let driving = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let mut held = Vec::new();
        for (protocol, allowed) in [
            ("/falak/message/1", 4),
            ("/falak/ask/1", 16),
            ("/falak/blob/1", 16),
            ("/falak/http/1", settings().http_streams_max),
            ("/falak/beat/1", 2),
        ] {
            let before = node.counter("peer_errors");
            for _ in 0..allowed + 3 {
                let stream =
                    control.open_stream(node.mesh.peer_id(), StreamProtocol::new(protocol));
                held.push(stream.await.unwrap());
            }
            node.counter_reaches("peer_errors", before + 3);
        }
        driving.abort();
    });
    node.mesh.close();
}

/// Publish from a wild swarm and, on the way, from an honest node; what the other honest node hears.
fn heard_beside(author: MessageAuthenticity, max_bytes: usize, data: Vec<u8>) -> Vec<Vec<u8>> {
    let runtime = Runtime::new().unwrap();
    let (honest, hearing) = (Node::start(&runtime, 1), Node::start(&runtime, 4));
    honest.mesh.dial(1, &hearing.address).unwrap();
    honest.wait(|event| matches!(event, Event::Dialed { .. }).then_some(()));
    for node in [&honest, &hearing] {
        node.mesh.subscribe("t".into()).unwrap();
    }
    let mut heard = Vec::new();
    runtime.block_on(async {
        let mut swarm = wild(&hearing, loose_gossip(author, max_bytes)).await;
        let deadline = Instant::now() + WAIT;
        let mut published = false;
        while !(published && heard.contains(&b"after".to_vec())) {
            assert!(
                Instant::now() < deadline,
                "published: {published}, heard: {heard:?}"
            );
            let _ = tokio::time::timeout(Duration::from_millis(20), swarm.select_next_some()).await;
            if swarm
                .behaviour_mut()
                .gossip
                .publish(IdentTopic::new("t"), data.clone())
                .is_ok()
            {
                published = true;
            }
            let word = if published { "after" } else { "before" };
            honest.mesh.publish("t".into(), word.into()).unwrap();
            heard.extend(hearing.events.try_iter().filter_map(|event| match event {
                Event::Gossip { data, .. } => Some(data),
                _ => None,
            }));
        }
    });
    for node in [honest, hearing] {
        node.mesh.close();
    }
    heard
}

#[test]
fn gossip_in_the_name_of_another_is_not_heard() {
    let victim = identity::peer_id([1; 32]).unwrap();
    let forged = b"forged".to_vec();
    let heard = heard_beside(MessageAuthenticity::Author(victim), 1 << 16, forged.clone());
    assert!(!heard.contains(&forged));
}

#[test]
fn gossip_without_an_author_is_not_heard() {
    let nameless = b"nameless".to_vec();
    let heard = heard_beside(MessageAuthenticity::Anonymous, 1 << 16, nameless.clone());
    assert!(!heard.contains(&nameless));
}

#[test]
fn gossip_above_the_limit_is_not_heard_and_others_are() {
    let huge = vec![b'x'; 200_000];
    let author = MessageAuthenticity::Signed(Keypair::generate_ed25519());
    let heard = heard_beside(author, 1 << 20, huge.clone());
    assert!(!heard.contains(&huge));
}
