//! The table of rooms of `docs/ARCHITECTURE.md`, as data.

/// Each room (a file or folder of `src/`) and the rooms that it may use.
pub(super) const ROOMS: &[(&str, &[&str])] = &[
    ("main", &["cli", "config", "app", "fair_semaphore", "lifecycle", "telemetry"]),
    ("cli", &["config", "app", "fair_semaphore", "lifecycle", "telemetry"]),
    (
        "app",
        &[
            "config",
            "fair_semaphore",
            "lifecycle",
            "telemetry",
            "domain",
            "formats",
            "store",
            "writer",
            "model",
            "outbound",
            "tools",
            "service",
            "worker",
            "http",
        ],
    ),
    ("http", &["domain", "formats", "config", "service", "fair_semaphore", "lifecycle", "telemetry"]),
    (
        "worker",
        &["domain", "config", "store", "writer", "service", "fair_semaphore", "lifecycle", "telemetry"],
    ),
    (
        "service",
        &[
            "domain",
            "formats",
            "config",
            "store",
            "writer",
            "model",
            "tools",
            "outbound",
            "fair_semaphore",
            "lifecycle",
            "telemetry",
        ],
    ),
    (
        "tools",
        &[
            "domain",
            "formats",
            "config",
            "store",
            "model",
            "outbound",
            "fair_semaphore",
            "lifecycle",
            "telemetry",
        ],
    ),
    ("model", &["domain", "config", "fair_semaphore", "lifecycle", "telemetry"]),
    ("outbound", &["domain", "config", "fair_semaphore", "lifecycle", "telemetry"]),
    ("writer", &["domain", "config", "store", "fair_semaphore", "lifecycle", "telemetry"]),
    ("store", &["domain", "config", "fair_semaphore", "lifecycle", "telemetry"]),
    ("config", &["domain"]),
    ("formats", &["domain"]),
    ("domain", &[]),
    ("fair_semaphore", &[]),
    ("lifecycle", &[]),
    ("telemetry", &[]),
];

/// An external crate or module, and the only rooms that use it.
pub(super) struct Home {
    path: &'static [&'static str],
    /// Items below `path` that every room may use.
    free: &'static [&'static str],
    pub(super) rooms: &'static [&'static str],
}

impl Home {
    pub(super) fn covers(&self, path: &[String]) -> bool {
        let below =
            path.len() >= self.path.len() && self.path.iter().zip(path).all(|(own, used)| own == used);
        let item = path.get(self.path.len());
        below && !item.is_some_and(|item| self.free.contains(&item.as_str()))
    }
}

pub(super) const HOMES: &[Home] = &[
    Home { path: &["sqlx"], free: &[], rooms: &["store"] },
    Home { path: &["axum"], free: &[], rooms: &["http", "app"] },
    Home { path: &["tower_http"], free: &[], rooms: &["http", "app"] },
    // async-openai takes its transport as a tower service.
    Home { path: &["tower"], free: &[], rooms: &["http", "app", "model"] },
    Home { path: &["async_openai"], free: &[], rooms: &["model"] },
    Home { path: &["reqwest"], free: &[], rooms: &["outbound", "model", "telemetry"] },
    Home { path: &["rmcp"], free: &[], rooms: &["tools"] },
    Home { path: &["icalendar"], free: &[], rooms: &["formats"] },
    Home { path: &["rrule"], free: &[], rooms: &["formats"] },
    Home { path: &["hayro_cmap"], free: &[], rooms: &["formats"] },
    Home { path: &["hayro_font"], free: &[], rooms: &["formats"] },
    Home { path: &["htmd"], free: &[], rooms: &["formats"] },
    Home { path: &["html5ever"], free: &[], rooms: &["formats"] },
    Home { path: &["sse_stream"], free: &[], rooms: &["tools", "model"] },
    Home { path: &["std", "env"], free: &["args", "args_os"], rooms: &["config"] },
    Home { path: &["std", "env", "args"], free: &[], rooms: &["config", "main", "cli"] },
    Home { path: &["std", "env", "args_os"], free: &[], rooms: &["config", "main", "cli"] },
];

/// Without tests.
pub(super) const MAX_LINES: usize = 500;
