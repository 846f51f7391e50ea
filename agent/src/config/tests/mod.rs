//! Tests of the whole configuration: files go in, configurations and messages come out.

mod attribute_types;
mod documents;
mod endpoints;
mod errors;
mod generated;
mod layers;
mod more_errors;
mod round_trip;
mod yaml_files;

use std::fs;
use std::path::Path;

use super::{ConfigError, Env, Globs, Loaded, Overrides, load};

/// Loads a file with this content. Error messages call it `mqspan.yaml`.
pub(super) fn load_text(
    text: &str,
    env: &[(&str, &str)],
    flags: &Overrides,
) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqspan.yaml");
    fs::write(&path, text).unwrap();
    let named = |message: String| message.replace(&format!("{}/", dir.path().display()), "");
    match load(Some(&path), flags, &env.iter().copied().collect()) {
        Ok(loaded) => Ok(Loaded {
            warnings: loaded.warnings.into_iter().map(named).collect(),
            ..loaded
        }),
        Err(error) => Err(named(error.to_string())),
    }
}

/// Loads a file with this content, without variables or flags.
fn file(text: &str) -> Result<Loaded, String> {
    load_text(text, &[], &Overrides::new())
}

/// Loads variables, without a file or flags.
fn variables(env: &[(&str, &str)]) -> Result<Loaded, String> {
    let env: Env = env.iter().copied().collect();
    load(None, &Overrides::new(), &env).map_err(|error| error.to_string())
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns).unwrap()
}

#[test]
fn a_missing_file_is_named() {
    let error = load(
        Some(Path::new("/nonexistent/mqspan.yaml")),
        &Overrides::new(),
        &Env::default(),
    )
    .unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert_eq!(
        error.to_string(),
        "/nonexistent/mqspan.yaml: cannot read the configuration: No such file or directory (os error 2)"
    );
}
