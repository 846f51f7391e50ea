//! The kernel's table of the processes that publish the spans of their threads.

use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{ErrorKind, MapCore, MapFlags};

use crate::event::ProcessKey;
use crate::skel::types::{context_recipe, execution};

/// How to get from a thread pointer to the variable `otel_thread_ctx_v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContextRecipe {
    /// Of the variable: from the thread pointer, or in its module's block.
    pub offset: i64,
    /// Number of the module that has it; 0 if the offset is from the pointer.
    pub module: u32,
    /// Bytes of a pointer.
    pub word: u8,
    /// Bytes of an entry of the thread's vector of modules.
    pub entry: u8,
    /// Of the pointer to that vector, from the thread pointer.
    pub vector_at: i8,
    /// Of the number of modules, from the vector.
    pub length_at: i8,
}

/// A change to the table: `None` takes the process out.
pub type ContextChange = (ProcessKey, Option<ContextRecipe>);

/// Applies one change. `known` is the number of entries, which programs take
/// from as well.
pub(super) fn apply(
    contexts: &impl MapCore,
    known: &AtomicU64,
    (process, recipe): &ContextChange,
) -> libbpf_rs::Result<()> {
    let key = process.pid.to_ne_bytes();
    let execution = execution {
        process_start_ns: process.start_ns,
        pid: process.pid,
        exec_id: process.exec_id,
    };
    let Some(recipe) = recipe else {
        // The id may stand for a later execution, and an ended process is gone.
        let there = contexts.lookup(&key, MapFlags::ANY)?;
        let of = bytes_of(&context_recipe {
            execution,
            ..context_recipe::default()
        });
        let is_same = there.is_some_and(|there| there.get(..EXECUTION) == of.get(..EXECUTION));
        if is_same {
            match contexts.delete(&key) {
                Ok(()) => drop(known.fetch_sub(1, Ordering::Relaxed)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    };
    let value = bytes_of(&context_recipe {
        execution,
        offset: recipe.offset,
        module: recipe.module,
        word: recipe.word,
        entry: recipe.entry,
        vector_at: recipe.vector_at,
        length_at: recipe.length_at,
    });
    match contexts.update(&key, &value, MapFlags::NO_EXIST) {
        Ok(()) => {
            known.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            contexts.update(&key, &value, MapFlags::EXIST)
        }
        Err(error) => Err(error),
    }
}

fn bytes_of(recipe: &context_recipe) -> [u8; size_of::<context_recipe>()] {
    // SAFETY: `context_recipe` is `repr(C)` of integers without gaps between them:
    // 16 bytes of `execution`, and 16 of the rest.
    unsafe { std::mem::transmute_copy(recipe) }
}

const EXECUTION: usize = size_of::<execution>();
const _: () = assert!(size_of::<context_recipe>() == EXECUTION + 16);
