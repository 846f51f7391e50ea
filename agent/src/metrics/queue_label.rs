//! How series tell queues apart.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_semantic_conventions::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_TEMPLATE,
};

use super::proto::text;
use crate::templates::Templates;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueLabel {
    Name(Arc<str>),
    /// Of all queues that match it, so that their series stay few.
    Template(Arc<str>),
}

impl QueueLabel {
    pub fn of(name: &str, templates: &Templates) -> Self {
        match templates.of_queue(name) {
            Some(template) => Self::Template(template),
            None => Self::Name(name.into()),
        }
    }

    /// The name, unless it is of several queues.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Name(name) => Some(name),
            Self::Template(_) => None,
        }
    }

    pub fn attribute(&self) -> KeyValue {
        match self {
            Self::Name(name) => text(MESSAGING_DESTINATION_NAME, &**name),
            Self::Template(template) => text(MESSAGING_DESTINATION_TEMPLATE, &**template),
        }
    }
}
