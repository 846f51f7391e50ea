//! A map that drops its oldest entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that drops its oldest entries when it becomes too heavy.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, (V, usize)>,
    /// Keys in order of insertion; some are gone from the map.
    order: VecDeque<K>,
    weight: usize,
    max_weight: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// Keeps the total weight of the entries at `max_weight` or below.
    pub fn new(max_weight: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            weight: 0,
            max_weight,
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (value, weight) = self.entries.remove(key)?;
        self.weight -= weight;
        Some(value)
    }

    /// Does nothing if the key is present.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.contains(&key) {
            return;
        }
        self.grow(key, weight, || value);
        while self.pop_excess().is_some() {}
    }

    /// Adds weight to an entry, which `new` makes if it is missing. The caller has
    /// to call [`Recent::pop_excess`] until it returns `None`.
    pub fn grow(&mut self, key: K, weight: usize, new: impl FnOnce() -> V) -> &mut V {
        let Self { entries, order, .. } = self;
        // Keys whose entry is gone must not pile up.
        if order.len() > 2 * entries.len() + 16 {
            order.retain(|key| entries.contains_key(key));
        }
        self.weight += weight;
        let (value, weight_so_far) = entries.entry(key).or_insert_with(|| {
            order.push_back(key);
            (new(), 0)
        });
        *weight_so_far += weight;
        value
    }

    /// Drops the oldest entry if the map is too heavy.
    pub fn pop_excess(&mut self) -> Option<V> {
        while self.weight > self.max_weight {
            let first = self.order.pop_front()?;
            if let Some(value) = self.remove(&first) {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten() {
        let mut recent = Recent::new(10);
        for key in 0..5 {
            recent.insert(key, key, 3);
        }
        assert!(!recent.contains(&0) && !recent.contains(&1));
        assert_eq!(recent.remove(&2), Some(2));
        assert_eq!(recent.remove(&2), None);
        recent.insert(9, 9, 3);
        assert!(recent.contains(&3) && recent.contains(&4) && recent.contains(&9));
        recent.insert(10, 10, 100);
        assert_eq!((recent.entries.len(), recent.weight), (0, 0));
    }

    #[test]
    fn one_that_stays_is_not_forgotten_for_those_that_go() {
        let mut recent = Recent::new(1_000);
        recent.insert(0, (), 1);
        for key in 1..10_000 {
            recent.insert(key, (), 1);
            recent.remove(&key);
            assert!(recent.contains(&0), "{key}");
        }
    }

    #[test]
    fn keys_do_not_pile_up() {
        let mut recent = Recent::new(1_000);
        for key in 0..10_000 {
            recent.insert(key, (), 1);
            recent.remove(&key);
        }
        assert!(recent.order.len() < 32, "{}", recent.order.len());
    }
}
