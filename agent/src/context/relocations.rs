//! What the dynamic linker has told a library about its own variable: it has
//! written the answers to the places that the relocations name.

use object::NativeEndian;
use object::elf::RelocationType;
use object::pod;
use object::read::elf::{FileHeader, Rel, Rela};

use super::elf::Abi;
use super::image::{Image, Variable};
use super::memory::{Memory, Refused};

/// Bytes of a table that are read at a time, and of all tables of an image.
const CHUNK: usize = 48 << 10;
const MAX_BYTES: u64 = 8 << 20;

/// An answer of the dynamic linker, at this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The variable's offset from the thread pointer.
    Offset(u64),
    /// The number of the library's module.
    Module(u64),
    /// A function and its argument: either of the above.
    Descriptor(u64),
}

/// A relocation, of either kind.
struct Relocation {
    at: u64,
    kind: RelocationType,
    symbol: u32,
    /// `None` where it is in the place itself.
    addend: Option<i64>,
}

/// The answers about the variable in this image.
pub(super) fn answers<Elf: FileHeader<Endian = NativeEndian>>(
    memory: &impl Memory,
    abi: &Abi,
    image: &Image,
    variable: &Variable,
) -> Result<Vec<Answer>, Refused> {
    let mut found = Vec::new();
    let mut look = |relocation: Relocation| {
        let is_of_variable = relocation.symbol == variable.symbol;
        // Without a symbol it is about the image itself.
        let is_same_place = relocation.symbol == 0
            && relocation.addend.map(i64::cast_unsigned) == Some(variable.value);
        let at = image.bias.wrapping_add(relocation.at);
        let kind = relocation.kind;
        if kind == abi.offset && is_of_variable {
            found.push(Answer::Offset(at));
        } else if kind == abi.module && (is_of_variable || relocation.symbol == 0) {
            found.push(Answer::Module(at));
        } else if kind == abi.descriptor && (is_of_variable || is_same_place) {
            found.push(Answer::Descriptor(at));
        }
    };
    let dynamic = &image.dynamic;
    let rela = |relocation: &Elf::Rela| Relocation {
        at: relocation.r_offset(NativeEndian).into(),
        kind: relocation.r_type(NativeEndian, false),
        symbol: relocation.r_sym(NativeEndian, false),
        addend: Some(relocation.r_addend(NativeEndian).into()),
    };
    let rel = |relocation: &Elf::Rel| Relocation {
        at: relocation.r_offset(NativeEndian).into(),
        kind: relocation.r_type(NativeEndian),
        symbol: relocation.r_sym(NativeEndian),
        addend: None,
    };
    let has_addends = dynamic.rela != 0;
    let mut left = MAX_BYTES;
    if has_addends {
        let skip = dynamic
            .rela_count
            .saturating_mul(size_of::<Elf::Rela>() as u64);
        let tables = [
            (dynamic.plt, dynamic.plt_size, 0),
            (dynamic.rela, dynamic.rela_size, skip),
        ];
        for table in tables {
            each::<Elf::Rela>(memory, table, &mut left, |one| look(rela(one)))?;
        }
    } else {
        let skip = dynamic
            .rel_count
            .saturating_mul(size_of::<Elf::Rel>() as u64);
        let tables = [
            (dynamic.plt, dynamic.plt_size, 0),
            (dynamic.rel, dynamic.rel_size, skip),
        ];
        for table in tables {
            each::<Elf::Rel>(memory, table, &mut left, |one| look(rel(one)))?;
        }
    }
    Ok(found)
}

/// Reads a table of so many bytes, without the first of them.
fn each<T: pod::Pod>(
    memory: &impl Memory,
    (at, size, skip): (u64, u64, u64),
    left: &mut u64,
    mut take: impl FnMut(&T),
) -> Result<(), Refused> {
    let bytes = size.saturating_sub(skip);
    if at == 0 || bytes == 0 {
        return Ok(());
    }
    *left = left.checked_sub(bytes).ok_or(Refused::TooMuch)?;
    let mut at = at.wrapping_add(skip);
    let mut count = usize::try_from(bytes).unwrap_or(0) / size_of::<T>();
    let mut room = vec![0; CHUNK];
    while count != 0 {
        let now = count.min(CHUNK / size_of::<T>());
        let Some(room) = room.get_mut(..now * size_of::<T>()) else {
            break;
        };
        memory.read(at, room)?;
        if let Ok((entries, _)) = pod::slice_from_bytes::<T>(room, now) {
            entries.iter().for_each(&mut take);
        }
        at = at.wrapping_add(room.len() as u64);
        count -= now;
    }
    Ok(())
}
