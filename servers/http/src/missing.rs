//! Endpoints of the reference that this server does not have yet.

/// The features, as the beginning of a sentence, and where their endpoints are: paths below `/api/`, all that lies below
/// them included.
const FEATURES: [(&str, &[&str]); 10] = [
    ("Export is", &["export"]),
    ("Import is", &["import", "perform_import", "cancel_import"]),
    ("File storage is", &["storage"]),
    (
        "Streaming export is",
        &[
            "list_snapshot",
            "document_deltas",
            "json_schemas",
            "get_table_column_names",
            "test_streaming_export_connection",
            "data_sync_cursor_from_deltas",
            "v1/data",
        ],
    ),
    ("Streaming import is", &["streaming_import"]),
    ("Metrics are", &["app_metrics"]),
    (
        "Setting canonical URLs is",
        &["update_canonical_url", "v1/update_canonical_url"],
    ),
    ("Node.js actions are", &["actions"]),
    ("Pushing with npm `convex` before 1.17 is", &["get_config"]),
    (
        "This part of the management API is",
        &["v1", "dashboard_openapi.json", "public_openapi.json"],
    ),
];

/// The feature that an endpoint belongs to, if this server does not have it yet, as `Export is` or `Components are`.
pub fn missing_feature(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/api/")?;
    let is_below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    FEATURES
        .iter()
        .find(|(_, roots)| roots.iter().any(|root| is_below(root)))
        .map(|(feature, _)| *feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_belong_to_features() {
        for (path, feature) in [
            ("/api/export/request/zip", Some("Export is")),
            ("/api/import", Some("Import is")),
            ("/api/import/start_upload", Some("Import is")),
            ("/api/importx", None),
            ("/api/v1/data/sync", Some("Streaming export is")),
            (
                "/api/v1/pause_deployment",
                Some("This part of the management API is"),
            ),
            ("/api/nope", None),
            ("/export", None),
        ] {
            assert_eq!(missing_feature(path), feature, "{path}");
        }
    }
}
