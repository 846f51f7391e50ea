//! Compiles the programs of `bpf/` and generates their skeleton into `OUT_DIR`.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let bpf = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../bpf");
    let skeleton = PathBuf::from(env::var("OUT_DIR")?).join("mqspan.skel.rs");
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("mqspan has no entry functions for {other} yet").into()),
    };
    SkeletonBuilder::new()
        .source(bpf.join("mqspan.bpf.c"))
        .clang_args([
            format!("-D__TARGET_ARCH_{arch}").as_str(),
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Werror",
        ])
        .build_and_generate(&skeleton)?;
    println!("cargo:rerun-if-changed={}", bpf.display());
    Ok(())
}
