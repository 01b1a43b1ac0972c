//! What pushes take from environment variables.

use super::*;

#[test]
fn auth_configuration_follows_the_environment() {
    let world = World::new();
    let config = json!({"needs": "ISSUER", "providers": [{"domain": "d", "applicationID": "a"}]});
    let app = json!({"changedModules": [module("auth.config.js", config)]});
    let error = world.start_error(app.clone());
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    assert!(error.message.contains("Environment variable ISSUER "));
    world.set_env("ISSUER", Some("x")).unwrap();
    let started = world.start(app.clone());
    assert_eq!(
        started["appAuth"],
        json!([{"domain": "d", "applicationID": "a"}])
    );
    world.set_env("OTHER", Some("x")).unwrap();
    assert_eq!(
        world.finish(&started).unwrap_err().code,
        "RaceDetected",
        "evaluated with other variables"
    );
    let finished = world.push(app);
    assert_eq!(finished["authDiff"]["added"].as_array().unwrap().len(), 1);
    assert_eq!(world.deployment().auth.len(), 1);
    assert!(world.deployment().program.modules.is_empty());
    let error = world.set_env("ISSUER", None).unwrap_err();
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    world.set_env("OTHER", None).unwrap();
}

/// What is live follows a variable that is changed after the push.
#[test]
fn auth_configuration_is_evaluated_again_when_a_variable_changes() {
    let world = World::new();
    let config = json!({"domainFrom": "ISSUER"});
    world.set_env("ISSUER", Some("a")).unwrap();
    world.push(json!({"changedModules": [module("auth.config.js", config)]}));
    let domain = || world.deployment().auth[0]["domain"].clone();
    assert_eq!(domain(), "a");
    world.set_env("ISSUER", Some("b")).unwrap();
    assert_eq!(domain(), "b");
    let before = world.deployment().id.clone();
    world.set_env("ISSUER", Some("b")).unwrap();
    world.set_env("OTHER", Some("x")).unwrap();
    assert_eq!((domain(), &world.deployment().id), (json!("b"), &before));
}
