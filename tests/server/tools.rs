//! The tools for files that come with the server: `redis-check-aof`, `redis-check-rdb`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool that comes with the server: `check-aof`, `check-rdb`, `cli`.
pub fn tool(name: &str) -> Command {
    let server = env::var_os("PHEAN_TEST_SERVER").unwrap_or_else(|| "redis-server".into());
    let server = PathBuf::from(server);
    let file = server.file_name().and_then(|file| file.to_str()).unwrap_or("redis-server");
    Command::new(server.with_file_name(file.replace("server", name)))
}

/// What the tool has against the file.
pub fn checked_by(name: &str, file: &Path) -> Result<(), String> {
    let output = tool(name).arg(file).output().expect("the tool that checks files is there");
    let said = String::from_utf8_lossy(&output.stdout);
    output.status.success().then_some(()).ok_or(format!("{name} refuses {}:\n{said}", file.display()))
}

/// Panics if the tool refuses the file.
#[track_caller]
pub fn accepted_by(name: &str, file: &Path) {
    checked_by(name, file).unwrap_or_else(|said| panic!("{said}"));
}
