//! The process that makes snapshots, for tests of the engine alone.

fn main() -> std::io::Result<()> {
    concave_v8::make_snapshot()
}
