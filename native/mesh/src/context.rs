//! What the protocols of one node share. Owns nothing of its own; never a protocol's state.

use crate::counters::Counters;
use crate::event::Sink;
use crate::settings::Settings;
use crate::streams::Opener;
use crate::tasks::Tasks;
use std::sync::Arc;

pub(crate) struct Context {
    pub settings: Settings,
    pub sink: Arc<dyn Sink>,
    pub counters: Counters,
    pub tasks: Arc<Tasks>,
    pub opener: Opener,
}
