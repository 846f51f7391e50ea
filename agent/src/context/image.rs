//! An executable or a library as it is mapped into a process: its TLS segment
//! and its dynamic symbols.

use object::NativeEndian;
use object::elf::{
    DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_NULL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELACOUNT,
    DT_RELASZ, DT_RELCOUNT, DT_RELSZ, DT_STRTAB, DT_SYMTAB, ELFMAG, PT_DYNAMIC, PT_LOAD, PT_TLS,
    STT_TLS, gnu_hash, hash,
};
use object::pod;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};

use super::elf::Abi;
use super::memory::{Memory, Refused, read_u32};

/// The variable of OTEP 4947, and its end as a string.
const NAME: &[u8] = b"otel_thread_ctx_v1";
const NAME_SIZE: usize = NAME.len() + 1;

const MAX_PROGRAM_HEADERS: usize = 64;
const MAX_DYNAMIC: usize = 512;
/// Symbols with the same hash, or in the same bucket.
const MAX_CHAIN: usize = 256;
/// Of alignments and sizes in a TLS segment.
const MAX_TLS: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TlsSegment {
    pub(super) address: u64,
    pub(super) size: u64,
    /// A power of two.
    pub(super) align: u64,
}

/// Addresses and sizes in bytes from the dynamic section; 0 if absent.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    symbols: u64,
    strings: u64,
    gnu_hash: u64,
    hash: u64,
    pub(super) rela: u64,
    pub(super) rela_size: u64,
    /// So many at the beginning are not about symbols.
    pub(super) rela_count: u64,
    pub(super) rel: u64,
    pub(super) rel_size: u64,
    pub(super) rel_count: u64,
    pub(super) plt: u64,
    pub(super) plt_size: u64,
}

/// The variable in a module that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variable {
    /// Number of its symbol.
    pub(super) symbol: u32,
    /// Offset in the TLS segment.
    pub(super) value: u64,
}

/// An image that has thread-local variables and dynamic symbols.
#[derive(Debug)]
pub(super) struct Image {
    /// Where its program headers are.
    pub(super) headers_at: u64,
    /// What to add to the addresses in the file.
    pub(super) bias: u64,
    pub(super) tls: TlsSegment,
    pub(super) dynamic: Dynamic,
    start: u64,
}

impl Image {
    /// Looks at what is mapped at `start`. `None` if it is no program for this
    /// ABI, or without thread-local variables or dynamic symbols.
    pub(super) fn read<Elf: FileHeader<Endian = NativeEndian>>(
        memory: &impl Memory,
        abi: &Abi,
        start: u64,
    ) -> Result<Option<Self>, Refused> {
        let mut bytes = vec![0; size_of::<Elf>()];
        memory.read(start, &mut bytes)?;
        let Ok((header, _)) = pod::from_bytes::<Elf>(&bytes) else {
            return Ok(None);
        };
        let count = usize::from(header.e_phnum(NativeEndian));
        let is_ours = header.e_ident().magic == ELFMAG
            && header.is_class_64() == (abi.word == 8)
            && header.e_machine(NativeEndian) == abi.machine
            && usize::from(header.e_phentsize(NativeEndian)) == size_of::<Elf::ProgramHeader>();
        if !is_ours || count > MAX_PROGRAM_HEADERS {
            return Ok(None);
        }
        let headers_at = start.wrapping_add(header.e_phoff(NativeEndian).into());
        let mut bytes = vec![0; count * size_of::<Elf::ProgramHeader>()];
        memory.read(headers_at, &mut bytes)?;
        let Ok((headers, _)) = pod::slice_from_bytes::<Elf::ProgramHeader>(&bytes, count) else {
            return Ok(None);
        };
        let of_type = |kind| {
            headers
                .iter()
                .find(move |header| header.p_type(NativeEndian) == kind)
        };
        let (Some(first), Some(tls), Some(dynamic)) =
            (of_type(PT_LOAD), of_type(PT_TLS), of_type(PT_DYNAMIC))
        else {
            return Ok(None);
        };
        let tls = TlsSegment {
            address: tls.p_vaddr(NativeEndian).into(),
            size: tls.p_memsz(NativeEndian).into(),
            align: tls.p_align(NativeEndian).into().max(1),
        };
        if !tls.align.is_power_of_two() || tls.align > MAX_TLS || tls.size > MAX_TLS {
            return Ok(None);
        }
        let loaded: u64 = first.p_vaddr(NativeEndian).into();
        let offset: u64 = first.p_offset(NativeEndian).into();
        let bias = start.wrapping_sub(loaded.wrapping_sub(offset));
        let at = bias.wrapping_add(dynamic.p_vaddr(NativeEndian).into());
        let size: u64 = dynamic.p_memsz(NativeEndian).into();
        Ok(Some(Self {
            headers_at,
            bias,
            tls,
            dynamic: Dynamic::read::<Elf>(memory, at, size, |value| {
                // glibc has added the bias, musl has not.
                if value >= start {
                    value
                } else {
                    bias.wrapping_add(value)
                }
            })?,
            start,
        }))
    }

    /// The variable, if the image has and exports it.
    pub(super) fn variable<Elf: FileHeader<Endian = NativeEndian>>(
        &self,
        memory: &impl Memory,
    ) -> Result<Option<Variable>, Refused> {
        if self.dynamic.symbols == 0 || self.dynamic.strings == 0 {
            return Ok(None);
        }
        if self.dynamic.gnu_hash != 0 {
            self.find_by_gnu_hash::<Elf>(memory)
        } else if self.dynamic.hash != 0 {
            self.find_by_hash::<Elf>(memory)
        } else {
            Ok(None)
        }
    }

    /// Words of 32 bits: buckets, first symbol, size of the Bloom filter in words
    /// of the machine, shift; the filter, the buckets, and a hash for each symbol.
    fn find_by_gnu_hash<Elf: FileHeader<Endian = NativeEndian>>(
        &self,
        memory: &impl Memory,
    ) -> Result<Option<Variable>, Refused> {
        let table = self.dynamic.gnu_hash;
        let buckets = read_u32(memory, table)?;
        let first = read_u32(memory, table.wrapping_add(4))?;
        let filter = u64::from(read_u32(memory, table.wrapping_add(8))?);
        if buckets == 0 {
            return Ok(None);
        }
        let buckets_at = table
            .wrapping_add(16)
            .wrapping_add(filter * size_of::<Elf::Word>() as u64);
        let wanted = gnu_hash(NAME);
        let bucket = u64::from(wanted % buckets);
        let mut symbol = read_u32(memory, buckets_at.wrapping_add(4 * bucket))?;
        if symbol < first {
            return Ok(None);
        }
        let hashes_at = buckets_at.wrapping_add(4 * u64::from(buckets));
        for _ in 0..MAX_CHAIN {
            let at = hashes_at.wrapping_add(4 * u64::from(symbol - first));
            let hash = read_u32(memory, at)?;
            if hash | 1 == wanted | 1
                && let Some(found) = self.symbol::<Elf>(memory, symbol)?
            {
                return Ok(Some(found));
            }
            // The last of a bucket.
            if hash & 1 != 0 {
                return Ok(None);
            }
            let Some(next) = symbol.checked_add(1) else {
                return Ok(None);
            };
            symbol = next;
        }
        Err(Refused::TooMuch)
    }

    /// Words of 32 bits: buckets, symbols; the buckets, and for each symbol the
    /// next one of its bucket.
    fn find_by_hash<Elf: FileHeader<Endian = NativeEndian>>(
        &self,
        memory: &impl Memory,
    ) -> Result<Option<Variable>, Refused> {
        let table = self.dynamic.hash;
        let buckets = read_u32(memory, table)?;
        if buckets == 0 {
            return Ok(None);
        }
        let bucket = u64::from(hash(NAME) % buckets);
        let chains_at = table.wrapping_add(8 + 4 * u64::from(buckets));
        let mut symbol = read_u32(memory, table.wrapping_add(8 + 4 * bucket))?;
        for _ in 0..MAX_CHAIN {
            if symbol == 0 {
                return Ok(None);
            }
            if let Some(found) = self.symbol::<Elf>(memory, symbol)? {
                return Ok(Some(found));
            }
            symbol = read_u32(memory, chains_at.wrapping_add(4 * u64::from(symbol)))?;
        }
        Err(Refused::TooMuch)
    }

    /// This symbol, if it is the variable.
    fn symbol<Elf: FileHeader<Endian = NativeEndian>>(
        &self,
        memory: &impl Memory,
        number: u32,
    ) -> Result<Option<Variable>, Refused> {
        let mut bytes = vec![0; size_of::<Elf::Sym>()];
        let size = size_of::<Elf::Sym>() as u64;
        let at = self.dynamic.symbols.wrapping_add(size * u64::from(number));
        memory.read(at, &mut bytes)?;
        let Ok((symbol, _)) = pod::from_bytes::<Elf::Sym>(&bytes) else {
            return Ok(None);
        };
        if symbol.st_type() != STT_TLS || symbol.is_undefined(NativeEndian) {
            return Ok(None);
        }
        let mut name = [0; NAME_SIZE];
        let at = self
            .dynamic
            .strings
            .wrapping_add(symbol.st_name(NativeEndian).into());
        memory.read(at, &mut name)?;
        let value: u64 = symbol.st_value(NativeEndian).into();
        let is_inside = value
            .checked_add(size_of::<Elf::Word>() as u64)
            .is_some_and(|end| end <= self.tls.size);
        let is_named = name.strip_suffix(&[0]) == Some(NAME);
        Ok((is_named && is_inside).then_some(Variable {
            symbol: number,
            value,
        }))
    }

    /// Whether `address` is where the kernel says that the executable's program
    /// headers are.
    pub(super) fn has_headers_at(&self, address: u64) -> bool {
        address == self.headers_at && address >= self.start
    }
}

impl Dynamic {
    fn read<Elf: FileHeader<Endian = NativeEndian>>(
        memory: &impl Memory,
        at: u64,
        size: u64,
        address: impl Fn(u64) -> u64,
    ) -> Result<Self, Refused> {
        let count = usize::try_from(size).unwrap_or(usize::MAX) / size_of::<Elf::Dyn>();
        let count = count.min(MAX_DYNAMIC);
        let mut bytes = vec![0; count * size_of::<Elf::Dyn>()];
        memory.read(at, &mut bytes)?;
        let Ok((entries, _)) = pod::slice_from_bytes::<Elf::Dyn>(&bytes, count) else {
            return Ok(Self::default());
        };
        let mut dynamic = Self::default();
        for entry in entries {
            let value: u64 = entry.d_val(NativeEndian).into();
            match entry.d_tag(NativeEndian) {
                DT_NULL => break,
                DT_SYMTAB => dynamic.symbols = address(value),
                DT_STRTAB => dynamic.strings = address(value),
                DT_GNU_HASH => dynamic.gnu_hash = address(value),
                DT_HASH => dynamic.hash = address(value),
                DT_RELA => dynamic.rela = address(value),
                DT_RELASZ => dynamic.rela_size = value,
                DT_RELACOUNT => dynamic.rela_count = value,
                DT_REL => dynamic.rel = address(value),
                DT_RELSZ => dynamic.rel_size = value,
                DT_RELCOUNT => dynamic.rel_count = value,
                DT_JMPREL => dynamic.plt = address(value),
                DT_PLTRELSZ => dynamic.plt_size = value,
                _ => {}
            }
        }
        Ok(dynamic)
    }
}
