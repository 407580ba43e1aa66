//! How gossip is set up: sizes, message ids, degree, scoring. Owns these choices; never a message.

use crate::settings::Settings;
use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, Behaviour, ConfigBuilder, IdentityTransform,
    MaxCountSubscriptionFilter, Message, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode,
};
use libp2p::identity::Keypair;
use std::time::Duration;

/// Longest name of a topic.
pub(crate) const TOPIC_MAX_BYTES: usize = 256;
/// What a message adds to its data: topic, source, sequence number, key, signature, lengths. A message
/// of exactly `gossip_max_bytes` must fit at the receiver: one that does not makes a peer deaf for good.
const OVERHEAD_BYTES: usize = TOPIC_MAX_BYTES + 512;
/// Topics that a peer may be subscribed to, and changes in one message of it; more are ignored.
const TOPICS_OF_PEER_MAX: usize = 1024;
/// How long a message's id is remembered: far longer than it travels (history is 5 heartbeats), and
/// short enough that a flood of ids stays small.
const SEEN: Duration = Duration::from_secs(30);
/// RPCs that wait for one peer; beyond that new ones are let go of, so a stopped peer holds at most this
/// many times `gossip_max_bytes` here.
const QUEUE_LENGTH: usize = 512;
/// Messages that wait longer than this for one peer are let go of.
const QUEUED: Duration = Duration::from_secs(2);
/// First heartbeat after the start: the mesh of a new node forms soon.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);

pub(crate) type Gossip =
    Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

pub(crate) fn behaviour(key: &Keypair, settings: &Settings) -> Result<Gossip, String> {
    let degree = settings.gossip_mesh;
    let mut config = ConfigBuilder::default();
    config
        .max_transmit_size(settings.gossip_max_bytes + OVERHEAD_BYTES)
        .max_control_message_size(settings.gossip_max_bytes)
        .validation_mode(ValidationMode::Strict)
        .message_id_fn(message_id)
        .mesh_n(degree)
        .mesh_n_low((degree * 2 / 3).max(1))
        .mesh_n_high(degree * 2)
        .mesh_outbound_min((degree / 3).min(2))
        .heartbeat_interval(settings.gossip_heartbeat)
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .flood_publish(true)
        .duplicate_cache_time(SEEN)
        .connection_handler_queue_len(QUEUE_LENGTH)
        .publish_queue_duration(QUEUED)
        .forward_queue_duration(QUEUED);
    let config = config.build().map_err(|error| format!("gossip: {error}"))?;
    let signed = MessageAuthenticity::Signed(key.clone());
    let topics = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: TOPICS_OF_PEER_MAX,
        max_subscriptions_per_request: TOPICS_OF_PEER_MAX,
    };
    let mut gossip = Behaviour::new_with_subscription_filter(signed, config, topics)
        .map_err(|error| format!("gossip: {error}"))?;
    gossip.with_peer_score(peer_score(), PeerScoreThresholds::default())?;
    Ok(gossip)
}

/// The id that go and js use: source, then the sequence number. Rust's default differs, and the same
/// message would be delivered once per implementation.
fn message_id(message: &Message) -> MessageId {
    let mut id = message
        .source
        .map(|peer| peer.to_bytes())
        .unwrap_or_default();
    id.extend_from_slice(&message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId::from(id)
}

fn peer_score() -> PeerScoreParams {
    PeerScoreParams {
        // Many nodes on one host are normal.
        ip_colocation_factor_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

/// Scores of one topic: being there and being first earns a little, invalid messages cost a lot (nine of
/// them, and a peer is ignored), being quiet costs nothing: orbits are quiet most of the time.
pub(crate) fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    }
}
