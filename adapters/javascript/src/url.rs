//! URL parsing behind `URL` and `URLSearchParams`: the WHATWG algorithms of the `url` crate.
//!
//! A URL crosses to JavaScript as a JSON array of its parts in the order of [`parts`].

use url::{Url, form_urlencoded, quirks};

use crate::host::{Args, HostError, HostResult, HostValue, json, unknown};

pub(crate) fn call(name: &str, args: Args<'_>) -> HostResult {
    match name {
        // (url, base or undefined) -> parts, or null if either does not parse
        "parse" => {
            let base = match args.get(1) {
                HostValue::Undefined => None,
                _ => match Url::parse(args.string(1)?) {
                    Ok(base) => Some(base),
                    Err(_) => return Ok(HostValue::Null),
                },
            };
            Ok(Url::options()
                .base_url(base.as_ref())
                .parse(args.string(0)?)
                .map_or(HostValue::Null, |url| HostValue::String(parts(&url))))
        }
        // (href, attribute, value) -> parts
        "set" => {
            let mut url =
                Url::parse(args.string(0)?).map_err(|_| HostError::type_error("Invalid URL"))?;
            set(&mut url, args.string(1)?, args.string(2)?)?;
            Ok(HostValue::String(parts(&url)))
        }
        // (query string) -> JSON array of pairs
        "parseForm" => {
            let pairs: Vec<_> = form_urlencoded::parse(args.string(0)?.as_bytes()).collect();
            Ok(HostValue::String(json(&pairs)))
        }
        // (JSON array of pairs) -> query string
        "encodeForm" => {
            let pairs: Vec<(String, String)> = serde_json::from_str(args.string(0)?)
                .map_err(|error| HostError::type_error(error.to_string()))?;
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(pairs);
            Ok(HostValue::String(form.finish()))
        }
        _ => Err(unknown(name)),
    }
}

fn parts(url: &Url) -> String {
    json(&[
        quirks::href(url),
        &quirks::origin(url),
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
    ])
}

/// Sets one part. As the standard has it, a value that does not fit is ignored.
fn set(url: &mut Url, attribute: &str, value: &str) -> Result<(), HostError> {
    let _ignored: Result<(), ()> = match attribute {
        "protocol" => quirks::set_protocol(url, value),
        "username" => quirks::set_username(url, value),
        "password" => quirks::set_password(url, value),
        "host" => quirks::set_host(url, value),
        "hostname" => quirks::set_hostname(url, value),
        "port" => quirks::set_port(url, value),
        "pathname" => {
            quirks::set_pathname(url, value);
            Ok(())
        }
        "search" => {
            quirks::set_search(url, value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(url, value);
            Ok(())
        }
        _ => return Err(unknown(attribute)),
    };
    Ok(())
}
