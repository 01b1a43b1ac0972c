//! What did not change is not evaluated again.

use super::*;

impl World {
    /// Pushes, and gives the modules whose functions were listed for that.
    fn evaluated_by(&self, modules: &[Json]) -> Vec<String> {
        self.engine.evaluated.lock().unwrap().clear();
        self.push(json!({"changedModules": modules}));
        self.engine.evaluated.lock().unwrap().clone()
    }
}

fn importing(names: &[&str], imports: &[&str]) -> Json {
    let mut module = functions(names);
    module["imports"] = json!(imports);
    module
}

#[test]
fn only_what_changed_is_evaluated_again() {
    let world = World::new();
    let zod = module("_deps/ZOD.js", json!("one"));
    let a = module("a.js", importing(&["f"], &["_deps/ZOD.js"]));
    let b = module("b.js", importing(&["g"], &["_deps/ZOD.js", "c.js"]));
    let c = module("c.js", functions(&["h"]));
    let all = [zod.clone(), a.clone(), b.clone(), c.clone()];
    assert_eq!(world.evaluated_by(&all), ["a.js", "b.js", "c.js"]);
    assert!(world.evaluated_by(&all).is_empty());
    assert_eq!(world.deployment().functions.len(), 3);

    let changed = module("a.js", importing(&["f", "more"], &["_deps/ZOD.js"]));
    let with_change = [zod.clone(), changed.clone(), b.clone(), c];
    assert_eq!(world.evaluated_by(&with_change), ["a.js"]);
    assert!(world.deployment().functions.contains_key("a.js:more"));

    // A module is evaluated again with those that it imports.
    let c = module("c.js", functions(&["h", "i"]));
    let with_import = [zod.clone(), changed.clone(), b.clone(), c.clone()];
    assert_eq!(world.evaluated_by(&with_import), ["b.js", "c.js"]);
    let zod = module("_deps/ZOD.js", json!("two"));
    let all = [zod, changed, b, c];
    assert_eq!(world.evaluated_by(&all), ["a.js", "b.js"]);

    // Importing may look at the environment.
    world.set_env("K", Some("v")).unwrap();
    assert_eq!(world.evaluated_by(&all), ["a.js", "b.js", "c.js"]);
    assert!(world.evaluated_by(&all).is_empty());
    assert!(world.evaluated_by(&all[3..]).is_empty());
    assert_eq!(
        world.evaluated_by(&all),
        ["a.js", "b.js"],
        "what was away is new"
    );
}

#[test]
fn a_module_whose_import_is_gone_is_evaluated_again() {
    let world = World::new();
    let dep = module("_deps/D.js", json!("d"));
    let a = module("a.js", importing(&["f"], &["_deps/D.js"]));
    world.evaluated_by(&[dep, a.clone()]);
    assert_eq!(world.evaluated_by(&[a]), ["a.js"]);
}

#[test]
fn what_is_known_survives_a_restart() {
    let world = World::new();
    let app = [module("a.js", functions(&["f"]))];
    assert_eq!(world.evaluated_by(&app), ["a.js"]);
    let persistence = world.persistence.clone();
    drop(world);
    let world = World::open(persistence);
    assert!(world.evaluated_by(&app).is_empty());
    assert_eq!(world.deployment().functions.len(), 1);
}
