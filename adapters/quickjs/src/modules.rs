//! Finds and compiles the modules of a program.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;

use concave_core::engine::Environment;
use concave_javascript::Phase;
use rquickjs_sys as qjs;

use crate::host::{self, Host};
use crate::js;

/// Modules are named by this prefix and their path.
pub(crate) const SCHEME: &str = "convex:/";

/// Resolves a specifier as a URL relative to the importing module.
///
/// `base` and the result are full names such as `convex:/dir/file.js`.
pub(crate) fn resolve(base: &str, specifier: &str) -> Result<String, String> {
    let refuse = |why: &str| {
        Err(format!(
            "Could not resolve the import of \"{specifier}\" in {}: {why}",
            base.strip_prefix(SCHEME).unwrap_or(base)
        ))
    };
    let path = if let Some(path) = specifier.strip_prefix(SCHEME) {
        if path.starts_with('/') {
            return refuse("the URL names a host");
        }
        path.to_owned()
    } else if specifier.starts_with("./") || specifier.starts_with("../") {
        let directory = base.strip_prefix(SCHEME).unwrap_or(base);
        let directory = directory
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        format!("{directory}/{specifier}")
    } else if let Some(path) = specifier.strip_prefix('/') {
        path.to_owned()
    } else if specifier.contains(':') {
        return refuse("only modules of the deployment can be imported");
    } else {
        return refuse("packages must be part of the bundle. Did you mean a relative path?");
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("{SCHEME}{}", parts.join("/")))
}

/// # Safety
/// Called by QuickJS while a call of a world runs; `opaque` is its host.
pub(crate) unsafe extern "C" fn normalize(
    ctx: *mut qjs::JSContext,
    base: *const c_char,
    specifier: *const c_char,
    opaque: *mut c_void,
) -> *mut c_char {
    // SAFETY: names are C strings; the copy is made by the runtime's allocator, as QuickJS wants it.
    unsafe {
        let host = opaque.cast::<Host>();
        (*host).guard.enter_host(true);
        let base = CStr::from_ptr(base).to_string_lossy();
        let specifier = CStr::from_ptr(specifier).to_string_lossy();
        let resolved = match (*host).state.phase() {
            Phase::Query | Phase::Mutation => {
                Err("Dynamic import isn't supported in queries and mutations.".to_owned())
            }
            Phase::Import | Phase::Action => resolve(&base, &specifier),
        };
        let name = match resolved {
            Ok(name) => {
                let copy = qjs::js_malloc(ctx, name.len() as u64 + 1).cast::<u8>();
                if !copy.is_null() {
                    copy.copy_from_nonoverlapping(name.as_ptr(), name.len());
                    copy.add(name.len()).write(0);
                }
                copy.cast()
            }
            Err(message) => {
                js::throw(ctx, "TypeError", &message);
                null_mut()
            }
        };
        drop((base, specifier));
        host::end(host, None);
        name
    }
}

/// # Safety
/// As for [`normalize`].
pub(crate) unsafe extern "C" fn load(
    ctx: *mut qjs::JSContext,
    name: *const c_char,
    opaque: *mut c_void,
) -> *mut qjs::JSModuleDef {
    // SAFETY: as above; compiling runs no user code.
    unsafe {
        let host = opaque.cast::<Host>();
        (*host).guard.enter_host(true);
        let module = compile(ctx, &*host, CStr::from_ptr(name)).unwrap_or(null_mut());
        host::end(host, None);
        module
    }
}

unsafe fn compile(
    ctx: *mut qjs::JSContext,
    host: &Host,
    name: &CStr,
) -> Option<*mut qjs::JSModuleDef> {
    let text = name.to_string_lossy();
    let path = text.strip_prefix(SCHEME).unwrap_or(&text);
    let module = host
        .program
        .as_ref()
        .and_then(|program| program.modules.get(path));
    let refusal = match module {
        None => format!(
            "Couldn't find the module \"{path}\": it was not pushed. Did you forget to push your code? \
             Run `npx convex dev` or `npx convex deploy`."
        ),
        Some(module) if module.environment != Environment::Isolate => format!(
            "\"{path}\" runs in Node.js (\"use node\") and can't be imported in this runtime."
        ),
        Some(module) => {
            let source = CString::new(module.source.as_bytes()).unwrap_or_else(|error| {
                // A null byte is a syntax error, which the compiler reports where it stands.
                let at = error.nul_position();
                let mut bytes = error.into_vec();
                bytes.truncate(at);
                bytes.extend(b"\x01");
                CString::new(bytes).expect("cut before the first null byte")
            });
            let flags = qjs::JS_EVAL_TYPE_MODULE | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
            // SAFETY: the source is followed by a null byte, as the compiler wants it.
            unsafe {
                let value = qjs::JS_Eval(
                    ctx,
                    source.as_ptr(),
                    source.as_bytes().len() as u64,
                    name.as_ptr(),
                    flags as i32,
                );
                if qjs::JS_IsException(value) {
                    return None;
                }
                // The runtime keeps its own reference to the module.
                let module = qjs::JS_VALUE_GET_PTR(value).cast();
                qjs::JS_FreeValue(ctx, value);
                return Some(module);
            }
        }
    };
    // SAFETY: `ctx` is a context.
    unsafe { js::throw(ctx, "Error", &refusal) };
    None
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn specifiers_are_relative_urls() {
        let resolve = |specifier| resolve("convex:/a/b.js", specifier);
        assert_eq!(resolve("./c.js").unwrap(), "convex:/a/c.js");
        assert_eq!(resolve("../_deps/X.js").unwrap(), "convex:/_deps/X.js");
        assert_eq!(resolve("../../../c.js").unwrap(), "convex:/c.js");
        assert_eq!(resolve("/c.js").unwrap(), "convex:/c.js");
        assert_eq!(resolve("convex:/d//./e.js").unwrap(), "convex:/d/e.js");
        for bad in [
            "lodash",
            "node:fs",
            "https://x.y/z.js",
            "convex://host/a.js",
            "",
        ] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }
}
