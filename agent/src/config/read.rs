//! Reading the merged layers into [`RawConfig`], with all problems found in one run.

use ::config::{Value, ValueKind};
use serde::Deserialize;

use super::de::{KeyPath, Reader};
use super::raw::RawConfig;

/// Reads the tree. A bad node is reported and taken out, so that one run finds all of them; a null takes the default.
///
/// Of the items of one list only the first bad one is reported. The pairs are the paths of the bad nodes, in order, with what
/// is wrong there.
pub(super) fn read(mut tree: Value) -> Result<RawConfig, Vec<(KeyPath, String)>> {
    let mut problems = Vec::new();
    loop {
        let error = match RawConfig::deserialize(Reader { value: &tree }) {
            Ok(raw) if problems.is_empty() => return Ok(raw),
            Ok(_) => break,
            Err(error) => error,
        };
        let removed = remove(&mut tree, &error.path);
        if !(error.is_null && removed == Removed::Entry) {
            problems.push((error.path, error.message));
        }
        if removed == Removed::Nothing {
            break;
        }
    }
    problems.sort();
    Err(problems)
}

#[derive(PartialEq)]
enum Removed {
    /// The value of a key.
    Entry,
    /// The whole list, because an item cannot go without renumbering the others.
    List,
    Nothing,
}

/// Takes out the node at a path.
fn remove(node: &mut Value, path: &[String]) -> Removed {
    let (Some((key, below)), ValueKind::Table(table)) = (path.split_first(), &mut node.kind) else {
        return Removed::Nothing;
    };
    let in_list = match table.get_mut(key) {
        None => return Removed::Nothing,
        Some(child) if !below.is_empty() && matches!(child.kind, ValueKind::Array(_)) => true,
        Some(child) if !below.is_empty() => return remove(child, below),
        Some(_) => false,
    };
    table.remove(key);
    if in_list {
        Removed::List
    } else {
        Removed::Entry
    }
}
