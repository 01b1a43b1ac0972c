//! What pushes take from environment variables.

use super::*;

#[test]
fn auth_configuration_follows_the_environment() {
    let world = World::new();
    let config = json!({"needs": "ISSUER", "providers": []});
    let app = json!({"changedModules": [module("auth.config.js", config)]});
    let error = world.start_error(app.clone());
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    assert!(error.message.contains("Environment variable ISSUER "));
    world.set_env("ISSUER", Some("x")).unwrap();
    let started = world.start(app.clone());
    assert_eq!(started["appAuth"], json!([]));
    world.set_env("OTHER", Some("x")).unwrap();
    assert_eq!(
        world.finish(&started).unwrap_err().code,
        "RaceDetected",
        "evaluated with other variables"
    );
    world.push(app);
    assert!(world.deployment().program.modules.is_empty());
    let error = world.set_env("ISSUER", None).unwrap_err();
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    world.set_env("OTHER", None).unwrap();
}

/// A variable that is set later cannot bring in what a push could not.
#[test]
fn auth_configuration_is_evaluated_again_when_a_variable_changes() {
    let world = World::new();
    let config = json!({"domainFrom": "ISSUER"});
    world.push(json!({"changedModules": [module("auth.config.js", config)]}));
    let error = world.set_env("ISSUER", Some("a")).unwrap_err();
    assert_eq!(error.code, "InvalidAuthConfig");
    assert!(
        !world
            .deployment()
            .program
            .environment_variables
            .contains_key("ISSUER")
    );
    world.set_env("OTHER", Some("x")).unwrap();
}
