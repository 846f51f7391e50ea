//! The ELF formats of the programs that this machine runs.

use object::NativeEndian;
use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_X86_64, FileHeader32, FileHeader64, Machine, R_386_TLS_DESC,
    R_386_TLS_DTPMOD32, R_386_TLS_TPOFF, R_AARCH64_TLS_DTPMOD, R_AARCH64_TLS_TPREL,
    R_AARCH64_TLSDESC, R_ARM_TLS_DESC, R_ARM_TLS_DTPMOD32, R_ARM_TLS_TPOFF32, R_X86_64_DTPMOD64,
    R_X86_64_TLSDESC, R_X86_64_TPOFF64, RelocationType,
};

pub(super) type Elf64 = FileHeader64<NativeEndian>;
pub(super) type Elf32 = FileHeader32<NativeEndian>;

/// How programs for a machine reach thread-local variables, by its psABI and the
/// "ELF Handling For Thread-Local Storage".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) machine: Machine,
    /// Bytes of a pointer.
    pub(super) word: u8,
    /// Where the executable's variables are.
    pub(super) layout: Layout,
    /// Of the pointer to the vector of modules, from the thread pointer.
    pub(super) vector_at_glibc: i8,
    pub(super) vector_at_musl: i8,
    /// Relocations of a variable's offset from the thread pointer, of a module's
    /// number, and of a descriptor.
    pub(super) offset: RelocationType,
    pub(super) module: RelocationType,
    pub(super) descriptor: RelocationType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// They end at the thread pointer.
    Below,
    /// They start behind so many bytes that the thread pointer leads to.
    Above(u64),
}

impl Abi {
    /// Of 64-bit or of 32-bit programs. x32 is not among them.
    pub(super) fn of(is_64_bit: bool) -> Self {
        match (cfg!(target_arch = "aarch64"), is_64_bit) {
            (false, true) => Self {
                machine: EM_X86_64,
                word: 8,
                layout: Layout::Below,
                vector_at_glibc: 8,
                vector_at_musl: 8,
                offset: R_X86_64_TPOFF64,
                module: R_X86_64_DTPMOD64,
                descriptor: R_X86_64_TLSDESC,
            },
            (false, false) => Self {
                machine: EM_386,
                word: 4,
                layout: Layout::Below,
                vector_at_glibc: 4,
                vector_at_musl: 4,
                offset: R_386_TLS_TPOFF,
                module: R_386_TLS_DTPMOD32,
                descriptor: R_386_TLS_DESC,
            },
            (true, true) => Self {
                machine: EM_AARCH64,
                word: 8,
                layout: Layout::Above(16),
                vector_at_glibc: 0,
                vector_at_musl: -8,
                offset: R_AARCH64_TLS_TPREL,
                module: R_AARCH64_TLS_DTPMOD,
                descriptor: R_AARCH64_TLSDESC,
            },
            (true, false) => Self {
                machine: EM_ARM,
                word: 4,
                layout: Layout::Above(8),
                vector_at_glibc: 0,
                vector_at_musl: -4,
                offset: R_ARM_TLS_TPOFF32,
                module: R_ARM_TLS_DTPMOD32,
                descriptor: R_ARM_TLS_DESC,
            },
        }
    }
}
