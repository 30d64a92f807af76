//! The log of client operations as lines of JSON: `invoke`, then `ok`, `fail` or `info` (the outcome is unknown).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

pub struct History {
    file: Mutex<BufWriter<File>>,
    began: Instant,
}

impl History {
    pub fn new(test: &str, seed: u64) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{test}-{seed}.jsonl"));
        let file = Mutex::new(BufWriter::new(File::create(&path).expect("a file")));
        println!("{test}: the history is {}", path.display());
        Self { file, began: Instant::now() }
    }

    /// `kind` is `invoke`, `ok`, `fail`, `info`, or an action of the test (`kill`, `start`).
    pub fn record(&self, kind: &str, details: &Value) {
        let mut line = json!({ "at_ms": self.began.elapsed().as_millis(), "type": kind });
        for (name, value) in details.as_object().expect("an object") {
            line[name] = value.clone();
        }
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{line}").expect("a line is written");
        file.flush().expect("a line is written");
    }
}
