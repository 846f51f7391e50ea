//! What `/proc/<pid>/maps` says about a process: where its context is, and its
//! executable and libraries.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};

use super::memory::Refused;

/// `vm.max_map_count` is 65,530 by default, with about 100 bytes each.
const MAX_BYTES: u64 = 8 << 20;
/// A path of `PATH_MAX` in which each byte is escaped, and what is before it.
const MAX_LINE: usize = 17 << 10;
/// Mappings with the name of a context. There should be one.
const MAX_CONTEXTS: usize = 8;
const MAX_IMAGES: usize = 2048;
const AUXILIARY_MAX_BYTES: u64 = 4 << 10;

/// With `memfd_create()` and a name, with a name alone, with `memfd_create()`
/// alone: OTEP 4719, "Reading Protocol".
const CONTEXT_NAMES: [&[u8]; 3] = [
    b"[anon_shmem:OTEL_CTX]",
    b"[anon:OTEL_CTX]",
    b"/memfd:OTEL_CTX",
];

/// Whose dynamic linker has made the thread's vector of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CLibrary {
    Glibc,
    Musl,
}

impl CLibrary {
    /// From the name of its file, or of its dynamic linker's.
    fn of_file(name: &[u8]) -> Option<Self> {
        const GLIBC: [&[u8]; 4] = [b"ld-linux", b"libc.so.6", b"ld-2.", b"libc-2."];
        const MUSL: [&[u8]; 2] = [b"ld-musl-", b"libc.musl-"];
        if GLIBC.iter().any(|of| name.starts_with(of)) {
            Some(Self::Glibc)
        } else if name == b"libc.so" || MUSL.iter().any(|of| name.starts_with(of)) {
            Some(Self::Musl)
        } else {
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Maps {
    /// Addresses of mappings that are named like a context.
    pub(super) contexts: Vec<u64>,
    /// Addresses where the beginning of a file is mapped.
    pub(super) images: Vec<u64>,
    /// `None` if it is another one, or none.
    pub(super) c_library: Option<CLibrary>,
    /// It has addresses of more than 32 bits, as every 64-bit process has.
    pub(super) is_64_bit: bool,
}

impl Maps {
    pub(super) fn read(pid: u32) -> Result<Self, Refused> {
        let file = File::open(format!("/proc/{pid}/maps"))?;
        Self::parse(BufReader::with_capacity(32 << 10, file))
    }

    fn parse(text: impl BufRead) -> Result<Self, Refused> {
        let mut text = text.take(MAX_BYTES);
        let mut maps = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut one = (&mut text).take(MAX_LINE as u64);
            if one.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.pop() != Some(b'\n') {
                return Err(Refused::TooMuch);
            }
            maps.add(&line)?;
        }
        if text.limit() == 0 {
            return Err(Refused::TooMuch);
        }
        Ok(maps)
    }

    /// Takes one line: addresses, permissions, offset, device, inode, name.
    fn add(&mut self, line: &[u8]) -> Result<(), Refused> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let (Some(addresses), Some(permissions), Some(offset)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Ok(());
        };
        let name = fields.nth(2).unwrap_or_default().trim_ascii_start();
        let Some(start) = hexadecimal(addresses.split(|&byte| byte == b'-').next()) else {
            return Ok(());
        };
        self.is_64_bit |= start >> 32 != 0;
        if CONTEXT_NAMES.iter().any(|of| name.starts_with(of)) {
            if self.contexts.len() < MAX_CONTEXTS {
                self.contexts.push(start);
            }
        } else if name.first() == Some(&b'/')
            && permissions.first() == Some(&b'r')
            && hexadecimal(Some(offset)) == Some(0)
        {
            let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            self.c_library = self.c_library.or(CLibrary::of_file(file));
            if self.images.len() == MAX_IMAGES {
                return Err(Refused::TooMuch);
            }
            self.images.push(start);
        }
        Ok(())
    }
}

fn hexadecimal(text: Option<&[u8]>) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text?).ok()?, 16).ok()
}

/// What the kernel told the program at its start, getauxval(3).
pub(super) fn auxiliary_vector(pid: u32) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/auxv"))?
        .take(AUXILIARY_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_images_are_found_among_others() {
        let text = b"\
555550000000-555550001000 r--p 00000000 fe:00 123                        /bin/a b
555550001000-555550002000 r-xp 00001000 fe:00 123                        /bin/a b
555550003000-555550004000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rw-s 00000000 00:01 9                          /memfd:OTEL_CTX (deleted)
7f0000002000-7f0000003000 rw-p 00000000 00:00 0                          [anon:OTEL_CTX]
7f0000004000-7f0000005000 rw-s 00000000 00:01 9                          [anon_shmem:OTEL_CTX]
7f0000006000-7f0000007000 r--p 00000000 fe:00 7                          /lib/ld-musl-x86_64.so.1
7f0000008000-7f0000009000 ---p 00000000 fe:00 8                          /lib/unreadable
7f000000a000-7f000000b000 rw-p 00000000 00:00 0 
nonsense
";
        let maps = Maps::parse(&text[..]).unwrap();
        assert_eq!(
            maps,
            Maps {
                contexts: vec![0x7f00_0000_0000, 0x7f00_0000_2000, 0x7f00_0000_4000],
                images: vec![0x5555_5000_0000, 0x7f00_0000_6000],
                c_library: Some(CLibrary::Musl),
                is_64_bit: true,
            }
        );
    }

    #[test]
    fn endless_maps_end() {
        let endless = |text: &'static [u8]| {
            let bytes = std::iter::repeat_with(move || text).flatten().copied();
            Maps::parse(BufReader::new(Bytes(bytes)))
        };
        assert_eq!(endless(b"1-2 r--p 0 0 0 x\n"), Err(Refused::TooMuch));
        assert_eq!(endless(b"1-2 r--p 0 0 0 /x\n"), Err(Refused::TooMuch));
        assert_eq!(endless(b"x"), Err(Refused::TooMuch));
        assert_eq!(Maps::parse(&b""[..]), Ok(Maps::default()));
    }

    struct Bytes<I>(I);

    impl<I: Iterator<Item = u8>> std::io::Read for Bytes<I> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let mut read = 0;
            for (to, byte) in buffer.iter_mut().zip(&mut self.0) {
                *to = byte;
                read += 1;
            }
            Ok(read)
        }
    }
}
