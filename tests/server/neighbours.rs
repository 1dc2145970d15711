//! Other modules beside this one.

use crate::harness::{Server, has_module};
use crate::reply::{ok_int, run, text};
use crate::waiting::eventually;
use redis::Connection;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a module that counts what it is told of keys.
fn compiled(dir: &Path) -> PathBuf {
    let module = dir.join("neighbour.so");
    let status = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=neighbour", "-Cpanic=abort", "-o"])
        .arg(&module)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/neighbour/module.rs"))
        .status()
        .expect("rustc starts");
    assert!(status.success(), "the neighbour does not compile");
    module
}

/// How often the server has been asked which modules are loaded.
fn times_asked(con: &mut Connection) -> u64 {
    let stats = text(&run(con, "INFO commandstats"));
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_module|list:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn another_module_hears_of_every_change_from_the_moment_at_which_it_is_loaded() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let module = compiled(server.dir());
    for load in 1..=2 {
        // Now nobody is told any more.
        eventually(|| times_asked(&mut con) == 2 * load - 1);
        run(&mut con, "PHEAN.PUT emails unheard");
        run(&mut con, &format!("MODULE LOAD {}", module.display()));
        for told in 1..=3 {
            run(&mut con, "PHEAN.PUT emails body");
            assert_eq!(ok_int(&mut con, &["NEIGHBOUR.COUNT"]), told, "after load {load}");
        }
        eventually(|| times_asked(&mut con) == 2 * load);
        run(&mut con, "PHEAN.RESERVE emails");
        assert_eq!(ok_int(&mut con, &["NEIGHBOUR.COUNT"]), 4, "after load {load}");
        run(&mut con, "MODULE UNLOAD neighbour");
    }
}
