//! What a process publishes about itself to others: when to look for it, and
//! what of its resource is taken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::environment::{KEY_MAX_BYTES, MAX_ATTRIBUTES, MAX_BYTES, SERVICE, bounded};
use super::lookups::{DEADLINE, LookupLosses, Lookups};
use super::proc::is_still;
use crate::context::{Found, Refused, discover};
use crate::event::ProcessKey;
use crate::kernel::{ContextChange, ContextRecipe};
use crate::resource::{AttributeValue, may_claim};

/// A program may publish long after its first call, or load the library that
/// does. So it is looked at again with its calls, less and less often.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The attributes of a published resource that a process may claim, bounded like
/// those in its environment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Published(BTreeMap<String, AttributeValue>);

impl Published {
    fn of(attributes: Vec<(String, AttributeValue)>) -> Self {
        let mut found = BTreeMap::new();
        let (mut others, mut bytes) = (0, 0);
        for (key, value) in attributes {
            let value = match value {
                AttributeValue::String(text) if text.is_empty() => continue,
                AttributeValue::String(text) => AttributeValue::String(bounded(&text).to_owned()),
                value => value,
            };
            if SERVICE.contains(&&*key) {
                if matches!(value, AttributeValue::String(_)) {
                    found.entry(key).or_insert(value);
                }
                continue;
            }
            let more = key.len() + value.text_bytes().max(size_of::<u64>());
            if key.is_empty()
                || key.len() > KEY_MAX_BYTES
                || !may_claim(&key)
                || others == MAX_ATTRIBUTES
                || bytes + more > MAX_BYTES
                || found.contains_key(&key)
            {
                continue;
            }
            (others, bytes) = (others + 1, bytes + more);
            found.insert(key, value);
        }
        Self(found)
    }

    /// The value of an attribute that is text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            AttributeValue::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &AttributeValue)> {
        self.0.iter()
    }

    /// Approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pairs = self.iter();
        pairs
            .map(|(key, value)| {
                size_of_val(key) + key.len() + size_of_val(value) + value.text_bytes()
            })
            .sum()
    }
}

/// What is known of one execution's context, and when to look again.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// Its id in the agent's PID namespace.
    pid: Option<u32>,
    /// `None` while one looks, and once it makes no sense to look again.
    next: Option<Instant>,
    wait: Duration,
    /// What the kernel has been told.
    recipe: Option<ContextRecipe>,
}

impl Look {
    pub(super) fn at(pid: Option<u32>, now: Instant) -> Self {
        Self {
            pid,
            next: pid.map(|_| now),
            ..Self::default()
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }
}

/// The search for the contexts of processes.
pub(super) struct Contexts {
    is_on: bool,
    lookups: Lookups<Result<Option<Found>, Refused>>,
    losses: LookupLosses,
    changes: Vec<ContextChange>,
    has_warned: bool,
}

impl Contexts {
    pub(super) fn new(losses: &LookupLosses) -> Self {
        Self {
            is_on: false,
            lookups: Lookups::new(losses.of_contexts()),
            losses: losses.clone(),
            changes: Vec::new(),
            has_warned: false,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn set_on(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Begins to look at a process, if one may.
    pub(super) fn begin(&mut self, key: ProcessKey, uid: u32, look: &mut Look, now: Instant) {
        let Some(pid) = look.pid.filter(|_| self.is_on) else {
            look.next = None;
            return;
        };
        let begun = self.lookups.begin_with(key, uid, now, move || {
            let found = discover(pid, Instant::now() + DEADLINE);
            match is_still(pid, &key) {
                true => found,
                false => Err(Refused::Unreadable),
            }
        });
        look.next = (!begun).then(|| now + FIRST_WAIT);
    }

    /// What was found since the last call.
    pub(super) fn take(
        &mut self,
        now: Instant,
    ) -> Vec<(ProcessKey, Result<Option<Found>, Refused>)> {
        let mut found = self.lookups.take(now);
        if !self.is_on {
            found.clear();
        }
        found
    }

    /// Tells the kernel and sets the time to look again. Returns what the process
    /// says of itself, if that is known now.
    pub(super) fn found(
        &mut self,
        key: ProcessKey,
        look: &mut Look,
        found: Result<Option<Found>, Refused>,
        now: Instant,
    ) -> Option<Published> {
        let found = match found {
            Ok(found) => found.unwrap_or_default(),
            // Maybe it was just changing; if it has ended, nobody asks again.
            Err(Refused::Unreadable) => {
                self.again(look, now, false);
                return None;
            }
            Err(Refused::NotPermitted) => {
                self.warn_once();
                return None;
            }
            Err(Refused::TooMuch) => {
                self.losses.context_refused();
                return None;
            }
        };
        if found.recipe != look.recipe {
            look.recipe = found.recipe;
            self.changes.push((key, found.recipe));
        }
        self.again(look, now, found.recipe.is_some());
        Some(Published::of(found.resource))
    }

    /// The rule on most hosts, where other users' programs may not be read.
    fn warn_once(&mut self) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::info!(
                "the traces of other users' programs cannot be joined: reading what they publish \
                 takes CAP_SYS_PTRACE"
            );
        }
    }

    fn again(&self, look: &mut Look, now: Instant, has_all: bool) {
        look.wait = if has_all {
            LONGEST_WAIT
        } else {
            (look.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT)
        };
        look.next = Some(now + look.wait);
    }

    /// The process is forgotten, or nobody is to know its context any more.
    pub(super) fn forget(&mut self, key: ProcessKey, look: &mut Look) {
        if look.recipe.take().is_some() {
            self.changes.push((key, None));
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<ContextChange> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::String(text.to_owned())
    }

    fn of(attributes: &[(&str, AttributeValue)]) -> Published {
        let owned = attributes.iter().cloned();
        Published::of(owned.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    #[test]
    fn what_a_process_may_not_claim_is_left_out() {
        let published = of(&[
            ("service.name", text("shop")),
            ("service.name", text("twice")),
            ("service.version", AttributeValue::Int(1)),
            ("process.pid", AttributeValue::Int(1)),
            ("host.name", text("elsewhere")),
            ("telemetry.sdk.name", text("opentelemetry")),
            ("deployment.environment.name", text("test")),
            ("empty", text("")),
            ("replicas", AttributeValue::Int(3)),
        ]);
        let keys: Vec<&str> = published.iter().map(|(key, _)| &**key).collect();
        assert_eq!(
            keys,
            ["deployment.environment.name", "replicas", "service.name"]
        );
        assert_eq!(published.text("service.name"), Some("shop"));
        assert_eq!(published.text("replicas"), None);
    }

    #[test]
    fn there_are_not_too_many_and_they_are_not_too_long() {
        let many: Vec<_> = (0..1000)
            .map(|number| (format!("key.{number}"), AttributeValue::Bool(true)))
            .collect();
        assert_eq!(Published::of(many).iter().count(), MAX_ATTRIBUTES);
        let long = of(&[
            ("a", text(&"x".repeat(10_000))),
            (&"k".repeat(129), text("y")),
        ]);
        assert_eq!(long.text("a").map(str::len), Some(256));
        assert_eq!(long.iter().count(), 1);
        let large: Vec<_> = (0..64)
            .map(|number| (format!("key.{number}"), text(&"x".repeat(250))))
            .collect();
        assert!(Published::of(large).iter().count() < 20);
    }

    #[test]
    fn a_process_is_looked_at_less_and_less_often() {
        let contexts = Contexts::new(&LookupLosses::default());
        let mut now = Instant::now();
        let mut look = Look::at(Some(1), now);
        let mut looks = 0;
        let end = now + Duration::from_secs(600);
        while now < end {
            if look.is_due(now) {
                looks += 1;
                contexts.again(&mut look, now, false);
            }
            now += Duration::from_millis(20);
        }
        assert!((15..25).contains(&looks), "{looks}");
        contexts.again(&mut look, now, true);
        assert!(!look.is_due(now + LONGEST_WAIT / 2) && look.is_due(now + LONGEST_WAIT));
    }
}
