//! What a build says of itself later: the target and the compiler, which only Cargo knows.

use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=VGCORE_TARGET={}", var("TARGET").unwrap_or_default());
    let asked = Command::new(var("RUSTC").unwrap_or_default()).arg("--version").output();
    let compiler = asked.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    println!("cargo::rustc-env=VGCORE_COMPILER={compiler}");
}
