//! Memory: gives back what only the start needed and what the heap keeps.

use std::io;

use rustix::mm::{Advice, madvise};

/// Allocations of at least this many bytes go back to the kernel when they are
/// freed.
///
/// By default glibc starts at 128 KiB and raises the threshold to the largest
/// buffer that was freed, up to 32 MiB (mallopt(3)). Smaller buffers stay in
/// the heap of the thread that had them.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 256 << 10;

/// Stops the heap from keeping large buffers.
pub(crate) fn return_large_buffers() {
    // SAFETY: mallopt(3) may be called at any time; it says itself whether it did.
    #[cfg(target_env = "gnu")]
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) } == 0 {
        tracing::debug!("large buffers stay with the heap");
    }
}

/// Returns the unused part of the heap to the kernel. The start leaves
/// megabytes in small pieces (malloc_trim(3)).
pub(crate) fn release_heap() {
    // SAFETY: malloc_trim(3) may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Releases the pages of this program's own file. Most hold what only the start
/// needs, such as the BPF object and the parsers. Pages still in use come back
/// one by one (`MADV_PAGEOUT` in madvise(2), Linux 5.4).
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn release_program_pages() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let Some((start, size)) = read_only_mapping(line, &program) else {
            continue;
        };
        // SAFETY: PAGEOUT changes no page's content, whatever is there.
        let advised = unsafe { madvise(start as *mut _, size, Advice::LinuxPageOut) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the kernel does not take pages back");
        }
    }
    Ok(())
}

/// Start and size in bytes of a mapping, from a line of `/proc/PID/maps`
/// (proc(5)). `None` if it does not map this program or is writable.
fn read_only_mapping(line: &str, program: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (permissions, _) = rest.split_once(' ')?;
    if !line.ends_with(program) || permissions.contains('w') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::{read_only_mapping, release_program_pages};

    #[test]
    fn mappings_of_the_program_that_are_read_only() {
        let line = |permissions: &str, path: &str| {
            format!("55dd00000000-55dd00004000 {permissions} 0027b000 fe:00 99   {path}")
        };
        let code = Some((0x55dd_0000_0000, 0x4000));
        for (line, want) in [
            (line("r-xp", "/usr/bin/mqspan"), code),
            (line("r--p", "/usr/bin/mqspan"), code),
            (line("rw-p", "/usr/bin/mqspan"), None),
            (line("r-xp", "/usr/lib/libc.so.6"), None),
            (line("rw-p", ""), None),
            (String::new(), None),
            ("zz-1 r-xp 0 0 0 /usr/bin/mqspan".into(), None),
        ] {
            assert_eq!(read_only_mapping(&line, "/usr/bin/mqspan"), want, "{line}");
        }
    }

    #[test]
    fn a_program_goes_on_without_its_pages() {
        release_program_pages().unwrap();
        assert_eq!("12".parse::<u8>(), Ok(12));
    }
}
