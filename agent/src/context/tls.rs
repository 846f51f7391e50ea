//! Where the variable `otel_thread_ctx_v1` is, seen from a thread pointer.
//!
//! In an executable the linker has decided it. In a library the dynamic linker
//! has: either at a fixed offset ("static TLS"), or in a block that each thread
//! has for each module, found through the thread's vector of modules. It has
//! written which into the library's own tables. Left out: variables in several
//! libraries at once, of which one cannot tell which is used; libraries that
//! define the variable and never use it themselves; executables without a
//! dynamic symbol table (linked with `-static`; `-static-pie` has one), started
//! through `ld.so`, or with their program headers moved; other C libraries than
//! glibc and musl; x32.

use object::NativeEndian;
use object::read::elf::FileHeader;

use super::elf::{Abi, Elf32, Elf64, Layout};
use super::image::{Image, TlsSegment, Variable};
use super::maps::{CLibrary, Maps};
use super::memory::{Memory, Refused, read_array, read_u32};
use super::relocations::{Answer, answers};
use crate::kernel::ContextRecipe;

/// Static TLS farther from the thread pointer is not believed. Addresses are not
/// so small, nor so close to the end of 32 bits.
const MAX_STATIC_BELOW: i64 = 1 << 20;
/// Nothing can be mapped there: `vm.mmap_min_addr`.
const MAX_STATIC_ABOVE: i64 = 1 << 16;
const MAX_MODULE: u64 = 1 << 16;

/// Looks for the variable in the executable and in all libraries.
pub(super) fn find(
    memory: &impl Memory,
    maps: &Maps,
    auxiliary: &[u8],
) -> Result<Option<ContextRecipe>, Refused> {
    let abi = Abi::of(maps.is_64_bit);
    if maps.is_64_bit {
        find_in::<Elf64>(memory, maps, &abi, auxiliary)
    } else {
        find_in::<Elf32>(memory, maps, &abi, auxiliary)
    }
}

fn find_in<Elf: FileHeader<Endian = NativeEndian>>(
    memory: &impl Memory,
    maps: &Maps,
    abi: &Abi,
    auxiliary: &[u8],
) -> Result<Option<ContextRecipe>, Refused> {
    let headers_at = program_headers(auxiliary, abi.word);
    let mut libraries = Vec::new();
    for &start in &maps.images {
        let read = Image::read::<Elf>(memory, abi, start).and_then(|image| {
            let Some(image) = image else {
                return Ok(None);
            };
            let variable = image.variable::<Elf>(memory)?;
            Ok(variable.map(|variable| (image, variable)))
        });
        // What is mapped can be a file of any kind, or cut short.
        let (image, variable) = match read {
            Ok(Some(found)) => found,
            Ok(None) | Err(Refused::Unreadable) => continue,
            Err(refused) => return Err(refused),
        };
        if headers_at.is_some_and(|at| image.has_headers_at(at)) {
            // It comes first in the search for symbols.
            let offset = offset_in_executable(abi.layout, &image.tls, variable.value);
            return Ok(Some(at_offset(abi, offset)));
        }
        libraries.push((image, variable));
    }
    match libraries.as_slice() {
        [(image, variable)] => in_library::<Elf>(memory, maps, abi, image, variable),
        _ => Ok(None),
    }
}

/// `AT_PHDR` of the auxiliary vector, pairs of words.
fn program_headers(auxiliary: &[u8], word: u8) -> Option<u64> {
    let word = usize::from(word);
    let number = |bytes: &[u8]| {
        let mut wide = [0; 8];
        let (low, high) = wide.split_at_mut(word.min(8));
        low.copy_from_slice(bytes.get(..low.len())?);
        high.fill(0);
        Some(u64::from_le_bytes(wide))
    };
    let mut pairs = auxiliary.chunks_exact(2 * word);
    pairs.find_map(|pair| {
        let (key, value) = pair.split_at(word);
        (number(key)? == libc::AT_PHDR).then(|| number(value))?
    })
}

/// The offset of a variable in the executable from the thread pointer.
fn offset_in_executable(layout: Layout, tls: &TlsSegment, value: u64) -> i64 {
    let mask = tls.align - 1;
    let offset = match layout {
        Layout::Below => {
            let padding = tls.address.wrapping_add(tls.size).wrapping_neg() & mask;
            value.wrapping_sub(tls.size + padding)
        }
        Layout::Above(gap) => value + gap + (tls.address.wrapping_sub(gap) & mask),
    };
    offset.cast_signed()
}

fn at_offset(abi: &Abi, offset: i64) -> ContextRecipe {
    ContextRecipe {
        offset,
        word: abi.word,
        ..ContextRecipe::default()
    }
}

/// By the vector of modules: glibc has two words for each module, and the number
/// of modules in the entry before the vector; musl has one word, and the number
/// in the first.
fn in_module(abi: &Abi, maps: &Maps, module: u64, value: u64) -> Option<ContextRecipe> {
    let word = abi.word.cast_signed();
    let module = u32::try_from(module)
        .ok()
        .filter(|&module| module != 0 && u64::from(module) <= MAX_MODULE)?;
    let (entry, vector_at, length_at) = match maps.c_library? {
        CLibrary::Musl => (word, abi.vector_at_musl, 0),
        CLibrary::Glibc => (2 * word, abi.vector_at_glibc, -2 * word),
    };
    Some(ContextRecipe {
        offset: i64::try_from(value).ok()?,
        module,
        word: abi.word,
        entry: entry.cast_unsigned(),
        vector_at,
        length_at,
    })
}

fn in_library<Elf: FileHeader<Endian = NativeEndian>>(
    memory: &impl Memory,
    maps: &Maps,
    abi: &Abi,
    image: &Image,
    variable: &Variable,
) -> Result<Option<ContextRecipe>, Refused> {
    for answer in answers::<Elf>(memory, abi, image, variable)? {
        let recipe = match answer {
            Answer::Offset(at) => {
                static_offset(abi, read_word(memory, abi, at)?).map(|offset| at_offset(abi, offset))
            }
            Answer::Module(at) => {
                let module = read_word(memory, abi, at)?;
                in_module(abi, maps, module, variable.value)
            }
            Answer::Descriptor(at) => {
                let argument = read_word(memory, abi, at.wrapping_add(abi.word.into()))?;
                match static_offset(abi, argument) {
                    Some(offset) => Some(at_offset(abi, offset)),
                    None => by_argument(memory, maps, abi, argument, variable)?,
                }
            }
        };
        if recipe.is_some() {
            return Ok(recipe);
        }
    }
    Ok(None)
}

/// The argument of a descriptor of a variable in a module leads to the module's
/// number and the variable's offset in it. One that the dynamic linker has not
/// filled in yet leads elsewhere.
fn by_argument(
    memory: &impl Memory,
    maps: &Maps,
    abi: &Abi,
    argument: u64,
    variable: &Variable,
) -> Result<Option<ContextRecipe>, Refused> {
    let pair = || {
        let module = read_word(memory, abi, argument)?;
        let value = read_word(memory, abi, argument.wrapping_add(abi.word.into()))?;
        Ok((module, value))
    };
    match pair() {
        Ok((module, value)) if value == variable.value => Ok(in_module(abi, maps, module, value)),
        Ok(_) | Err(Refused::Unreadable) => Ok(None),
        Err(refused) => Err(refused),
    }
}

fn read_word(memory: &impl Memory, abi: &Abi, at: u64) -> Result<u64, Refused> {
    if abi.word == 4 {
        read_u32(memory, at).map(u64::from)
    } else {
        read_array(memory, at).map(u64::from_ne_bytes)
    }
}

/// The word as an offset from the thread pointer, if it can be one.
fn static_offset(abi: &Abi, word: u64) -> Option<i64> {
    let signed = if abi.word == 4 {
        i64::from((word as u32).cast_signed())
    } else {
        word.cast_signed()
    };
    let range = match abi.layout {
        Layout::Below => -MAX_STATIC_BELOW..0,
        Layout::Above(_) => 1..MAX_STATIC_ABOVE,
    };
    range.contains(&signed).then_some(signed)
}
