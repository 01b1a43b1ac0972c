//! The app in `tests/app`, bundled with npm `convex` as the official CLI does it.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

use concave_core::engine::{Environment, Module};

/// The modules of the app, with their source maps. `scripts/setup` bundles it.
///
/// # Panics
/// If that has not been done.
pub fn bundled_app() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle");
    let mut modules = Vec::new();
    for folder in ["", "_deps"] {
        let entries = read_dir(root.join(folder)).unwrap_or_else(|error| {
            panic!(
                "the bundled app of the tests is not at {}: {error}. Run scripts/setup, which makes it",
                root.display()
            )
        });
        for entry in entries {
            let file = entry.expect("a readable folder").path();
            if file.extension().is_some_and(|extension| extension == "js") {
                let path = file.strip_prefix(&root).expect("it lies in there");
                modules.push(Module {
                    path: path.to_str().expect("an ASCII name").to_owned(),
                    source: read_to_string(&file).expect("a text file").into(),
                    source_map: read_to_string(file.with_extension("js.map"))
                        .ok()
                        .map(Into::into),
                    environment: Environment::Isolate,
                });
            }
        }
    }
    modules
}
