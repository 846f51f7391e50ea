//! Processes and the children they have already.

use std::collections::HashMap;
use std::fs;

/// The processes named, and all that descend from them, with the verdict of
/// the nearest one named. A process that starts meanwhile is seen at its fork.
pub(super) fn with_descendants(named: &[(u32, u8)]) -> HashMap<u32, u8> {
    extend(named, &parents())
}

/// Parent by process, from `/proc/<pid>/stat`, proc(5).
fn parents() -> HashMap<u32, u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The second field is a name in parentheses that may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

fn extend(named: &[(u32, u8)], parents: &HashMap<u32, u32>) -> HashMap<u32, u8> {
    let mut verdicts: HashMap<u32, u8> = named.iter().copied().collect();
    for &pid in parents.keys() {
        let mut line = Vec::new();
        let mut at = pid;
        let found = loop {
            if let Some(&verdict) = verdicts.get(&at) {
                break Some(verdict);
            }
            line.push(at);
            match parents.get(&at) {
                // A line longer than all processes is a circle: the table was
                // read while processes came and went.
                Some(&parent) if parent != 0 && line.len() <= parents.len() => at = parent,
                _ => break None,
            }
        };
        if let Some(verdict) = found {
            verdicts.extend(line.into_iter().map(|pid| (pid, verdict)));
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_decides() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 3), (9, 1)]);
        let verdicts = extend(&[(2, 1), (4, 2)], &parents);
        assert_eq!(verdicts, HashMap::from([(2, 1), (3, 1), (4, 2), (5, 1)]));
    }

    #[test]
    fn a_circle_ends() {
        let parents = HashMap::from([(2, 3), (3, 2)]);
        assert_eq!(extend(&[(7, 1)], &parents), HashMap::from([(7, 1)]));
    }
}
