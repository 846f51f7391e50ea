//! Tries the ports, directories and files that `run` would use.

use std::net::SocketAddr;

use super::checks::{Finding, Grade};
use crate::config::Config;
use crate::export;
use crate::server;

pub(super) fn of_places(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut findings = Vec::new();
    let health = config.health.address.0;
    let metrics = config.metrics.prometheus.address.0;
    let metrics = metrics.filter(|same| health != Some(*same));
    for (key, address) in [
        ("health.address", health),
        ("metrics.prometheus.address", metrics),
    ] {
        if let Some(address) = address {
            findings.push(of_port(
                key,
                address,
                runtime.block_on(server::bind(address)).map(drop),
            ));
        }
    }
    let directory = &config.exporters.otlp.sending_queue.storage.directory;
    if !directory.as_os_str().is_empty() {
        let tried = export::check_storage(directory);
        let mend = "let this user write there, or set exporters.otlp.sending_queue.storage.directory to a directory of its own";
        findings.push(of_path(
            "queue's directory",
            directory.display(),
            tried,
            mend,
        ));
    }
    let path = &config.exporters.file.path;
    if !["", "-"].iter().any(|no_file| path.as_os_str() == *no_file) {
        let tried = export::check_file(path);
        let mend = "make the directory and let this user write there, or set exporters.file.path";
        findings.push(of_path("file of spans", path.display(), tried, mend));
    }
    Ok(findings)
}

fn of_port(key: &str, address: SocketAddr, tried: std::io::Result<()>) -> Finding {
    match tried {
        Ok(()) => Finding::new(key, Grade::Ok, format!("{address} is free")),
        Err(error) => Finding::new(key, Grade::Error, format!("{address}: {error}")).mend(
            if error.kind() == std::io::ErrorKind::AddrInUse {
                format!(
                    "set {key} to another port, or end what listens there, perhaps another mqspan: ss -ltnp 'sport = :{}'",
                    address.port()
                )
            } else {
                format!("set {key} to an address of this machine")
            },
        ),
    }
}

fn of_path(
    check: &str,
    path: std::path::Display<'_>,
    tried: anyhow::Result<()>,
    mend: &str,
) -> Finding {
    match tried {
        Ok(()) => Finding::new(check, Grade::Ok, format!("{path} can be written")),
        Err(error) => Finding::new(check, Grade::Error, format!("{error:#}")).mend(mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_would_fail_on_is_an_error_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.health.address.0 = Some(taken.local_addr().unwrap());
        let storage = &mut config.exporters.otlp.sending_queue.storage.directory;
        *storage = file.join("below");
        config.exporters.file.path = directory.path().join("none/spans");
        let findings = of_places(&config).unwrap();
        assert_eq!(findings.len(), 3);
        assert!(
            findings.iter().all(|f| f.stops_run() && f.mend.is_some()),
            "{findings:?}"
        );

        drop(taken);
        let storage = &mut config.exporters.otlp.sending_queue.storage.directory;
        *storage = directory.path().join("new/queue");
        config.exporters.file.path = directory.path().join("spans");
        let findings = of_places(&config).unwrap();
        assert!(!findings.iter().any(Finding::stops_run), "{findings:?}");
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
