//! Loads the layers. Precedence, lowest first: defaults, file, `OTEL_*`,
//! `MQSPAN__*`, flags.

use std::fs;
use std::path::Path;

use super::env::Env;
use super::error::{ConfigError, Problem, key_path};
use super::node::{Content as NodeContent, KeyPath, Layers, Node};
use super::otel_env::{TRACES_ENDPOINT, otel_layer};
use super::own_env::own_layer;
use super::proxy_env::Proxy;
use super::read::read;
use super::yaml::{Content, Position, Scalar, parse, resolve};
use super::{Config, Endpoint, Otlp};

/// Values set by flags, the layer with the highest precedence.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Clone, Debug)]
struct Override {
    key: KeyPath,
    text: String,
    flag: String,
}

impl Overrides {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key such as `logs.level` to the text given to a flag. The text
    /// takes the type of the key, as in an `MQSPAN__` variable. Messages name
    /// `flag`, for example `--log-level`.
    #[must_use]
    pub fn set(mut self, flag: &str, key: &str, text: impl Into<String>) -> Self {
        self.0.push(Override {
            key: key.split('.').map(str::to_owned).collect(),
            text: text.into(),
            flag: flag.to_owned(),
        });
        self
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Warnings to log. They contain no secrets.
    pub warnings: Vec<String>,
}

/// Loads the configuration from all layers. Without a path there is no file layer.
///
/// # Errors
/// When the file cannot be read or is not a YAML mapping, or when keys or
/// values are wrong. Reports all wrong ones that can be found at once.
pub fn load(path: Option<&Path>, overrides: &Overrides, env: &Env) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::new();
    if let Some(path) = path {
        file_layer(path, env, &mut layers)?;
    }
    otel_layer(env, &mut layers);
    own_layer(env, &mut layers);
    for set in &overrides.0 {
        layers.text(&set.key, &set.text, &set.flag);
    }
    let mut loaded = finish(layers)?;
    let otlp = &mut loaded.config.exporters.otlp;
    if otlp.enabled {
        match Proxy::to(&otlp.endpoint, env) {
            Ok(proxy) => otlp.proxy = proxy,
            Err(unusable) => loaded.warnings.push(unusable),
        }
    }
    Ok(loaded)
}

/// Loads one file on top of the defaults and nothing else, to check it.
/// References in the file still take their values from `env`.
///
/// # Errors
/// As for [`load`].
pub fn check(path: &Path, env: &Env) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::new();
    file_layer(path, env, &mut layers)?;
    finish(layers)
}

fn file_layer(path: &Path, env: &Env, layers: &mut Layers) -> Result<(), ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let syntax = |position: Position, message| ConfigError::Syntax {
        path: path.to_owned(),
        line: position.line,
        column: position.column,
        message,
    };
    let root = parse(&text).map_err(|error| syntax(error.position, error.message))?;
    let Some(root) = root else {
        return Ok(());
    };
    let found = match &root.content {
        Content::Map(_) => {
            layers.file(path, root, env);
            return Ok(());
        }
        Content::Scalar { text, plain: true } if resolve(text) == Scalar::Null => return Ok(()),
        Content::Scalar { .. } => "a scalar",
        Content::List(_) => "a list",
    };
    let message =
        format!("found {found} at the root, expected a mapping of sections such as `exporters:`");
    Err(syntax(root.position, message))
}

/// Deserializes the layers strictly and checks the result.
fn finish(layers: Layers) -> Result<Loaded, ConfigError> {
    let Layers {
        root,
        mut problems,
        mut warnings,
    } = layers;
    let problem = |(path, message): (KeyPath, String)| Problem {
        place: root.find(&path).map(|node| node.place.to_string()),
        key: key_path(&path),
        message,
    };
    let mut config = read(root.clone()).unwrap_or_else(|found| {
        problems.extend(found.into_iter().map(problem));
        Config::default()
    });
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    place_endpoint(&root, &mut config.exporters.otlp);
    let found = super::check::check(&mut config, rustix::param::page_size() as u64);
    if !found.problems.is_empty() {
        return Err(invalid(found.problems.into_iter().map(problem).collect()));
    }
    let odd = found.warnings.into_iter().map(problem);
    warnings.extend(odd.map(|odd| odd.to_string()));
    Ok(Loaded { config, warnings })
}

/// Applies what an endpoint means by where it comes from: from nowhere it
/// depends on the protocol, and from the variable of spans it is their own.
fn place_endpoint(root: &Node, otlp: &mut Otlp) {
    let at = ["exporters", "otlp", "endpoint"].map(str::to_owned);
    let is_null = |node: &Node| matches!(node.content, NodeContent::Scalar(Scalar::Null));
    match root.find(&at).filter(|node| !is_null(node)) {
        None => otlp.endpoint = Endpoint::local(otlp.protocol),
        Some(node) if *node.place == *TRACES_ENDPOINT => otlp.endpoint.is_for_spans(),
        Some(_) => {}
    }
}

fn invalid(mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by(|a, b| a.key.cmp(&b.key));
    ConfigError::Invalid(problems)
}
