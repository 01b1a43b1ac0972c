//! Parsing of `multipart/form-data` (RFC 7578) behind `formData()`.

use serde::Serialize;

use crate::host::{Args, HostError, HostResult, HostValue, json, unknown};

/// A field: its header and where its content lies in the input.
#[derive(Debug, PartialEq, Serialize)]
struct Part {
    name: String,
    filename: Option<String>,
    #[serde(rename = "type")]
    content_type: Option<String>,
    start: usize,
    end: usize,
}

pub(crate) fn call(name: &str, args: Args<'_>) -> HostResult {
    match name {
        // (boundary, bytes) -> JSON array of parts
        "parse" => parse(args.string(0)?, args.bytes(1)?)
            .map(|parts| HostValue::String(json(&parts)))
            .ok_or_else(|| HostError::type_error("The body is not valid multipart/form-data.")),
        _ => Err(unknown(name)),
    }
}

fn parse(boundary: &str, bytes: &[u8]) -> Option<Vec<Part>> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut parts = Vec::new();
    // The first delimiter may stand at the very beginning, without its line break.
    let mut at = if bytes.starts_with(&delimiter[2..]) {
        delimiter.len() - 2
    } else {
        find(bytes, 0, delimiter)? + delimiter.len()
    };
    loop {
        if bytes[at..].starts_with(b"--") {
            return Some(parts);
        }
        // Blanks may follow the delimiter on its line.
        let line_end = find(bytes, at, b"\r\n")?;
        if !bytes[at..line_end]
            .iter()
            .all(|byte| matches!(byte, b' ' | b'\t'))
        {
            return None;
        }
        // A part without headers has its empty line right here.
        let header_end = find(bytes, line_end, b"\r\n\r\n")?;
        let header = bytes.get(line_end + 2..header_end).unwrap_or_default();
        let start = header_end + 4;
        // The line break of the delimiter may be that of the empty line, if the content is empty.
        let end = find(bytes, start - 2, delimiter)?;
        parts.push(part(header, start, end.max(start))?);
        at = end + delimiter.len();
    }
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    while at + needle.len() <= bytes.len() {
        // Skips to the next candidate: content is mostly not line breaks.
        at += bytes[at..].iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn part(header: &[u8], start: usize, end: usize) -> Option<Part> {
    let header = String::from_utf8_lossy(header);
    let mut name = None;
    let mut filename = None;
    let mut content_type = None;
    for line in header.split("\r\n") {
        let (key, value) = line.split_once(':')?;
        match key.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let (kind, parameters) = value.split_once(';')?;
                if !kind.trim().eq_ignore_ascii_case("form-data") {
                    return None;
                }
                name = parameter(parameters, "name");
                filename = parameter(parameters, "filename");
            }
            "content-type" => content_type = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(Part {
        name: name?,
        filename,
        content_type,
        start,
        end,
    })
}

/// The value of `key="value"` or `key=value` among parameters; browsers escape quotes and line breaks in percent form.
fn parameter(mut text: &str, key: &str) -> Option<String> {
    loop {
        let (name, rest) = text.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim_end();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(';').unwrap_or((rest, "")),
        };
        if name.eq_ignore_ascii_case(key) {
            let value = value
                .replace("%22", "\"")
                .replace("%0D", "\r")
                .replace("%0A", "\n");
            return Some(value);
        }
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_and_files() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n\
            --X \r\ncontent-disposition: form-data; name=b; filename=\"x;%22y.txt\"\r\nContent-Type: text/csv\r\n\r\n\r\n--X--\r\n";
        let parts = parse("X", body).unwrap();
        assert_eq!(parts[0].name, "a");
        assert_eq!(&body[parts[0].start..parts[0].end], b"one");
        assert_eq!(parts[1].filename.as_deref(), Some("x;\"y.txt"));
        assert_eq!(parts[1].content_type.as_deref(), Some("text/csv"));
        assert_eq!(&body[parts[1].start..parts[1].end], b"");
        assert_eq!(parse("X", b"--X--"), Some(vec![]));
        assert_eq!(parse("X", b"--Y--"), None);
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4)) {
            let mut body = Vec::new();
            for content in &contents {
                body.extend(b"--bound\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n");
                body.extend(content);
                body.extend(b"\r\n");
            }
            body.extend(b"--bound--\r\n");
            let parts = parse("bound", &body).unwrap();
            let found: Vec<_> = parts.iter().map(|part| body[part.start..part.end].to_vec()).collect();
            prop_assert_eq!(found, contents);
        }

        #[test]
        fn no_input_is_a_surprise(pieces in proptest::collection::vec(proptest::sample::select(vec![
            "--B", "\r\n", "--", "Content-Disposition: form-data", "; name=\"", "\"", "x", "=", ":", " ", ";",
        ]), 0..20)) {
            let body = pieces.concat();
            for part in parse("B", body.as_bytes()).unwrap_or_default() {
                prop_assert!(part.start <= part.end && part.end <= body.len());
            }
        }
    }
}
