//! Lays the functions of the hot paths side by side, which the compiler leaves in the order in which they stand in the
//! source, among all that is seldom run.

use std::path::Path;
use std::{env, fs};

const HOT: &str = "benches/hot.txt";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={HOT}");
    println!("cargo:rerun-if-env-changed=PHEAN_ANY_LINKER");
    // Scripts like this one are GNU ld's and LLD's language. With others, set PHEAN_ANY_LINKER.
    let optimizes = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let on_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !optimizes || !on_linux || env::var_os("PHEAN_ANY_LINKER").is_some() {
        return;
    }
    let hot = fs::read_to_string(HOT).expect("benches/hot.txt is there");
    let script = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("hot.ld");
    fs::write(&script, linker_script(&hot)).expect("OUT_DIR can be written to");
    // All addresses are looked up when the module is loaded, and read-only from then on: see .cargo/config.toml.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    println!("cargo:rustc-cdylib-link-arg=-T");
    println!("cargo:rustc-cdylib-link-arg={}", script.display());
}

/// Puts these functions in front of all others. Each stands in a section that is called `.text.` and its mangled name,
/// or `.text.unlikely.` and that name, where others pass it by.
fn linker_script(hot: &str) -> String {
    let functions =
        hot.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once("::"));
    let sections = functions.map(|(of, function)| {
        let symbol = format!("_*{of}*{}{function}*", function.len());
        format!("    *(.text.{symbol} .text.unlikely.{symbol})\n")
    });
    format!(
        "SECTIONS {{\n  .text : {{\n{}    *(.text .text.*)\n  }}\n}} INSERT AFTER .init;\n",
        sections.collect::<String>()
    )
}
