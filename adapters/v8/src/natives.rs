//! The functions that the prelude calls: `__host`, `__asyncHost`, `__syncHost` and `__position`.

use std::borrow::Cow;
use std::sync::OnceLock;

use concave_javascript::{HostError, HostValue};
use v8::MapFnTo;

use crate::host::Host;

/// Addresses that snapshots refer to by their place in this list.
pub(crate) fn external_references() -> Cow<'static, [v8::ExternalReference]> {
    static REFERENCES: OnceLock<References> = OnceLock::new();
    let references = REFERENCES.get_or_init(|| {
        References(vec![
            v8::ExternalReference {
                function: host_call.map_fn_to(),
            },
            v8::ExternalReference {
                function: async_call.map_fn_to(),
            },
            v8::ExternalReference {
                function: sync_call.map_fn_to(),
            },
            v8::ExternalReference {
                function: position.map_fn_to(),
            },
            v8::ExternalReference {
                pointer: std::ptr::null_mut(),
            },
        ])
    });
    Cow::Borrowed(&references.0)
}

struct References(Vec<v8::ExternalReference>);

// SAFETY: these are addresses of functions, which do not change.
#[allow(unsafe_code)]
unsafe impl Send for References {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for References {}

/// Puts the functions on the global object of the scope's context.
pub(crate) fn install(scope: &mut v8::PinScope) {
    let functions = [
        ("__host", v8::FunctionTemplate::new(scope, host_call)),
        ("__asyncHost", v8::FunctionTemplate::new(scope, async_call)),
        ("__syncHost", v8::FunctionTemplate::new(scope, sync_call)),
        ("__position", v8::FunctionTemplate::new(scope, position)),
    ];
    let global = scope.get_current_context().global(scope);
    for (name, template) in functions {
        let function = template
            .get_function(scope)
            .expect("a fresh context has room");
        let name = text(scope, name).expect("names are short");
        global.set(scope, name.into(), function.into());
    }
}

fn host_call(
    scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue,
) {
    let op = args.get(0).to_rust_string_lossy(scope);
    let mut values = Vec::with_capacity(usize::try_from(args.length()).unwrap_or(0));
    for index in 1..args.length() {
        match to_host(scope, args.get(index)) {
            Ok(value) => values.push(value),
            Err(error) => return throw(scope, &error),
        }
    }
    match Host::of(scope).call.host_call(&op, &values) {
        Ok(value) => {
            if let Some(value) = from_host(scope, value) {
                result.set(value);
            }
        }
        Err(error) => throw(scope, &error),
    }
}

fn sync_call(
    scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue,
) {
    let answer =
        texts(scope, &args).and_then(|(op, args)| Host::of(scope).call.sync_call(&op, &args));
    match answer {
        Ok(answer) => {
            if let Some(answer) = text(scope, &answer) {
                result.set(answer.into());
            }
        }
        Err(error) => throw(scope, &error),
    }
}

fn async_call(
    scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue,
) {
    let (op, args) = match texts(scope, &args) {
        Ok(texts) => texts,
        Err(error) => return throw(scope, &error),
    };
    // None while the call is being ended.
    let Some(resolver) = v8::PromiseResolver::new(scope) else {
        return;
    };
    let pending = v8::Global::new(scope, resolver);
    match Host::of(scope).call.async_call(op, args, pending) {
        Ok(Some(())) => result.set(resolver.get_promise(scope).into()),
        Ok(None) => {
            scope.terminate_execution();
        }
        Err(error) => throw(scope, &error),
    }
}

/// `(function)` → `[file, line, column]`, counted from 1, or null.
fn position(
    scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue,
) {
    result.set_null();
    let Ok(function) = v8::Local::<v8::Function>::try_from(args.get(0)) else {
        return;
    };
    let (Some(line), Some(column)) = (
        function.get_script_line_number(),
        function.get_script_column_number(),
    ) else {
        return;
    };
    let origin = function.get_script_origin(scope);
    let Some(file) = origin.resource_name() else {
        return;
    };
    let line = v8::Number::new(scope, f64::from(line) + 1.0).into();
    let column = v8::Number::new(scope, f64::from(column) + 1.0).into();
    result.set(v8::Array::new_with_elements(scope, &[file, line, column]).into());
}

/// Called by V8 for the stack of an error when code first looks at it: what `Error.prepareStackTrace` makes of it, if code
/// has set that, and otherwise the text of the frames in the program's own files.
pub(crate) fn stack<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    sites: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    // It may look at stacks itself, which are then of the plain kind.
    if !std::mem::replace(&mut Host::of(scope).is_preparing_stack, true) {
        let prepared = prepared_stack(scope, error, sites);
        Host::of(scope).is_preparing_stack = false;
        if let Some(prepared) = prepared {
            return prepared;
        }
    }
    // Whatever goes wrong here is nobody's business.
    v8::tc_scope!(let scope, scope);
    let mut raw = String::new();
    for index in 0..sites.length() {
        let Some(site) = sites.get_index(scope, index) else {
            continue;
        };
        raw.push_str("    at ");
        raw.push_str(&site.to_rust_string_lossy(scope));
        raw.push('\n');
    }
    let mapped = Host::of(scope).call.map_stack(&raw);
    match text(scope, &mapped) {
        Some(mapped) => mapped.into(),
        None => v8::undefined(scope).into(),
    }
}

/// What `Error.prepareStackTrace` gives, if it is there and gives something.
fn prepared_stack<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    sites: v8::Local<'s, v8::Array>,
) -> Option<v8::Local<'s, v8::Value>> {
    let global = scope.get_current_context().global(scope);
    let keys = [text(scope, "Error")?, text(scope, "prepareStackTrace")?];
    v8::tc_scope!(let scope, scope);
    let constructor = global.get(scope, keys[0].into())?;
    let constructor = v8::Local::<v8::Object>::try_from(constructor).ok()?;
    let prepare = constructor.get(scope, keys[1].into())?;
    let prepare = v8::Local::<v8::Function>::try_from(prepare).ok()?;
    prepare.call(scope, constructor.into(), &[error, sites.into()])
}

/// The two texts that the functions for system calls take.
fn texts(
    scope: &mut v8::PinScope,
    args: &v8::FunctionCallbackArguments,
) -> Result<(String, String), HostError> {
    let text = |index| {
        let value = args.get(index);
        if value.is_string() {
            return Ok(value.to_rust_string_lossy(scope));
        }
        Err(HostError {
            name: "TypeError",
            message: "A system call takes two strings.".to_owned(),
            fatal: false,
        })
    };
    Ok((text(0)?, text(1)?))
}

/// A host argument.
fn to_host(scope: &mut v8::PinScope, value: v8::Local<v8::Value>) -> Result<HostValue, HostError> {
    if value.is_string() {
        return Ok(HostValue::String(value.to_rust_string_lossy(scope)));
    }
    if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
        return Ok(HostValue::Number(number.value()));
    }
    if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(value) {
        let store = buffer.get_backing_store();
        return Ok(HostValue::Bytes(
            store.iter().map(|byte| byte.get()).collect(),
        ));
    }
    if value.is_undefined() {
        Ok(HostValue::Undefined)
    } else if value.is_null() {
        Ok(HostValue::Null)
    } else if value.is_boolean() {
        Ok(HostValue::Bool(value.is_true()))
    } else {
        Err(HostError {
            name: "TypeError",
            message: "Host functions take plain data and ArrayBuffers.".to_owned(),
            fatal: false,
        })
    }
}

/// A host result; `None` with an exception pending if it is too large.
fn from_host<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: HostValue,
) -> Option<v8::Local<'s, v8::Value>> {
    Some(match value {
        HostValue::Undefined => v8::undefined(scope).into(),
        HostValue::Null => v8::null(scope).into(),
        HostValue::Bool(value) => v8::Boolean::new(scope, value).into(),
        HostValue::Number(number) => v8::Number::new(scope, number).into(),
        HostValue::String(value) => text(scope, &value)?.into(),
        HostValue::Bytes(bytes) => {
            // In memory of the isolate's own, so that it is counted.
            let buffer = v8::ArrayBuffer::new(scope, bytes.len());
            let store = buffer.get_backing_store();
            for (cell, byte) in store.iter().zip(bytes) {
                cell.set(byte);
            }
            buffer.into()
        }
    })
}

/// A new string; `None` with an exception pending if it is too long.
pub(crate) fn text<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    text: &str,
) -> Option<v8::Local<'s, v8::String>> {
    let string = v8::String::new(scope, text);
    if string.is_none() {
        let message =
            v8::String::new_from_utf8(scope, b"Invalid string length", v8::NewStringType::Normal)?;
        let error = v8::Exception::range_error(scope, message);
        scope.throw_exception(error);
    }
    string
}

/// Throws an error of the class `name` if that is a built-in one, otherwise an `Error` of that name. A fatal one cannot
/// be caught.
pub(crate) fn throw(scope: &mut v8::PinScope, error: &HostError) {
    if error.fatal {
        scope.terminate_execution();
        return;
    }
    let Some(message) = text(scope, &error.message) else {
        return;
    };
    let thrown = match error.name {
        "TypeError" => v8::Exception::type_error(scope, message),
        "RangeError" => v8::Exception::range_error(scope, message),
        "SyntaxError" => v8::Exception::syntax_error(scope, message),
        "ReferenceError" => v8::Exception::reference_error(scope, message),
        _ => v8::Exception::error(scope, message),
    };
    let is_builtin = matches!(
        error.name,
        "Error" | "TypeError" | "RangeError" | "SyntaxError" | "ReferenceError"
    );
    if !is_builtin
        && let Ok(object) = v8::Local::<v8::Object>::try_from(thrown)
        && let (Some(key), Some(name)) = (text(scope, "name"), text(scope, error.name))
    {
        object.define_own_property(
            scope,
            key.into(),
            name.into(),
            v8::PropertyAttribute::DONT_ENUM,
        );
    }
    scope.throw_exception(thrown);
}
