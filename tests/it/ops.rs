//! The files for operators name metrics and settings that exist. `scripts/ops` checks them with their own programs.

use std::path::Path;

/// Each name that users depend on, one a line: `metric rejoinder_…`, `setting …`.
const NAMES: &str = include_str!("public_names/public_names.txt");

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The words of `text` that begin with `prefix`, of letters, digits and `_`.
fn words<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(move |word| word.starts_with(prefix))
}

fn is_public(line: &str) -> bool {
    NAMES.lines().any(|name| name == line)
}

#[test]
fn the_dashboard_and_the_alerts_use_metrics_that_exist() {
    for file in ["ops/grafana/rejoinder.json", "ops/prometheus/alerts.yml", "ops/prometheus/alerts.test.yml"]
    {
        let text = read(file);
        let unknown: Vec<&str> = words(&text, "rejoinder_")
            .filter(|word| {
                let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
                !is_public(&format!("metric {word}"))
                    && !base.is_some_and(|base| is_public(&format!("metric {base}")))
            })
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_files_for_operators_use_settings_that_exist() {
    let files = [
        "Dockerfile",
        "compose.yaml",
        "ops/kubernetes/rejoinder.yaml",
        "ops/proxy/Caddyfile",
        "ops/proxy/nginx.conf",
        "ops/systemd/rejoinder.service",
        "scripts/image",
    ];
    for file in files {
        let text = read(file);
        let unknown: Vec<&str> = words(&text, "REJOINDER_")
            .filter(|word| {
                let setting = word["REJOINDER_".len()..].to_lowercase().replace("__", ".");
                !is_public(&format!("setting {setting}"))
            })
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}
