//! Compiles the programs of `bpf/` and generates their skeleton into `OUT_DIR`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;
use object::build::elf::{Builder, SectionData};
use object::elf::STT_NOTYPE;

fn main() -> Result<(), Box<dyn Error>> {
    let bpf = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../bpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let object = out.join("mqspan.bpf.o");
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("mqspan has no entry functions for {other} yet").into()),
    };
    let mut skeleton = SkeletonBuilder::new();
    skeleton
        .source(bpf.join("mqspan.bpf.c"))
        .obj(&object)
        .reference_obj(true)
        .clang_args([
            format!("-D__TARGET_ARCH_{arch}").as_str(),
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Werror",
        ]);
    skeleton.build()?;
    if env::var("PROFILE")? == "release" {
        let slim = without_source_lines(&fs::read(&object)?)?;
        fs::write(&object, slim)?;
    }
    skeleton.generate(out.join("mqspan.skel.rs"))?;
    println!("cargo:rerun-if-changed={}", bpf.display());
    Ok(())
}

/// A third of the object and of what libbpf keeps of it in memory says which line
/// of the source an instruction is of, for the verifier's log, and where branches
/// go to, for nobody.
fn without_source_lines(object: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut elf = Builder::read(object)?;
    for symbol in &mut elf.symbols {
        symbol.delete = symbol.st_type() == STT_NOTYPE && symbol.name.starts_with(b"LBB");
    }
    for section in &mut elf.sections {
        if section.name.as_slice() == b".BTF.ext"
            && let SectionData::Data(data) = &mut section.data
        {
            *data = without_line_info(data)
                .ok_or("clang has written a .BTF.ext that is cut short")?
                .into();
        }
    }
    // libbpf's linker keeps names of sections and symbols in one table, which
    // this writer does not.
    let names = elf.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.data = SectionData::SectionString;
    let mut slim = Vec::new();
    elf.write(&mut slim)?;
    Ok(slim)
}

/// The header is that of `struct btf_ext_header` in libbpf's `libbpf_internal.h`:
/// its length at 4, then offset and length of the parts for functions, lines, and
/// relocations, each relative to the end of the header.
fn without_line_info(btf_ext: &[u8]) -> Option<Vec<u8>> {
    let field = |at: usize| -> Option<usize> {
        let bytes = btf_ext.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let header_len = field(4)?;
    let part = |at: usize| -> Option<&[u8]> {
        let start = header_len + field(at)?;
        btf_ext.get(start..start + field(at + 4)?)
    };
    let (functions, relocations) = (part(8)?, part(24)?);
    let mut slim = btf_ext.get(..header_len)?.to_vec();
    let functions_len = u32::try_from(functions.len()).ok()?;
    let relocations_len = u32::try_from(relocations.len()).ok()?;
    let parts = [
        0,
        functions_len,
        functions_len,
        0,
        functions_len,
        relocations_len,
    ];
    for (field, value) in slim.get_mut(8..32)?.chunks_exact_mut(4).zip(parts) {
        field.copy_from_slice(&value.to_le_bytes());
    }
    slim.extend_from_slice(functions);
    slim.extend_from_slice(relocations);
    Some(slim)
}
