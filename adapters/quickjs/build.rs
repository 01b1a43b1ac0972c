//! Compiles the few lines of C that Rust has no words for; see `src/guard.c`.

fn main() {
    println!("cargo:rerun-if-changed=src/guard.c");
    cc::Build::new()
        .file("src/guard.c")
        .warnings(true)
        .compile("concave_guard");
}
