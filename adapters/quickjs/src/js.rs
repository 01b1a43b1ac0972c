//! Values of JavaScript and of Rust, one made from the other.
#![allow(unsafe_code)]

use std::ffi::CStr;

use concave_javascript::{HostError, HostValue, from_wtf8};
use rquickjs_sys as qjs;

/// Whether two values are the same object.
pub(crate) fn same_object(a: qjs::JSValue, b: qjs::JSValue) -> bool {
    // SAFETY: tags and pointers are read from the values themselves.
    unsafe {
        qjs::JS_IsObject(a)
            && qjs::JS_IsObject(b)
            && qjs::JS_VALUE_GET_PTR(a) == qjs::JS_VALUE_GET_PTR(b)
    }
}

/// The text of a string (other values give none). Lone surrogates become U+FFFD.
///
/// # Safety
/// `value` is a value of `ctx`.
pub(crate) unsafe fn to_text(ctx: *mut qjs::JSContext, value: qjs::JSValue) -> Option<String> {
    // SAFETY: by the contract; the bytes are copied before they are freed.
    unsafe {
        if !qjs::JS_IsString(value) {
            return None;
        }
        let mut length = 0;
        let bytes = qjs::JS_ToCStringLen(ctx, &raw mut length, value);
        if bytes.is_null() {
            return None;
        }
        let text = from_wtf8(std::slice::from_raw_parts(bytes.cast(), length));
        qjs::JS_FreeCString(ctx, bytes);
        Some(text)
    }
}

/// A new string, or the exception mark if there is no memory.
///
/// # Safety
/// `ctx` is a context.
pub(crate) unsafe fn from_text(ctx: *mut qjs::JSContext, text: &str) -> qjs::JSValue {
    // SAFETY: the bytes are valid for the length given.
    unsafe { qjs::JS_NewStringLen(ctx, text.as_ptr().cast(), text.len() as u64) }
}

/// A host argument.
///
/// # Safety
/// `value` is a value of `ctx`.
pub(crate) unsafe fn to_host(
    ctx: *mut qjs::JSContext,
    value: qjs::JSValue,
) -> Result<HostValue, HostError> {
    // SAFETY: by the contract; tags are looked at before what they promise is used, buffers are copied at once.
    unsafe {
        let tag = qjs::JS_VALUE_GET_TAG(value);
        if qjs::JS_TAG_IS_FLOAT64(tag) {
            return Ok(HostValue::Number(qjs::JS_VALUE_GET_FLOAT64(value)));
        }
        match tag {
            qjs::JS_TAG_UNDEFINED => return Ok(HostValue::Undefined),
            qjs::JS_TAG_NULL => return Ok(HostValue::Null),
            qjs::JS_TAG_BOOL => return Ok(HostValue::Bool(qjs::JS_VALUE_GET_BOOL(value))),
            qjs::JS_TAG_INT => {
                return Ok(HostValue::Number(f64::from(qjs::JS_VALUE_GET_INT(value))));
            }
            _ => {}
        }
        if let Some(text) = to_text(ctx, value) {
            return Ok(HostValue::String(text));
        }
        if qjs::JS_IsArrayBuffer(value) {
            let mut length = 0;
            let bytes = qjs::JS_GetArrayBuffer(ctx, &raw mut length, value);
            if bytes.is_null() {
                return Ok(HostValue::Bytes(Vec::new()));
            }
            let bytes = std::slice::from_raw_parts(bytes, length as usize);
            return Ok(HostValue::Bytes(bytes.to_vec()));
        }
    }
    Err(HostError {
        name: "TypeError",
        message: "Host functions take plain data and ArrayBuffers.".to_owned(),
        fatal: false,
    })
}

/// A host result, or the exception mark if there is no memory.
///
/// # Safety
/// `ctx` is a context.
pub(crate) unsafe fn from_host(ctx: *mut qjs::JSContext, value: HostValue) -> qjs::JSValue {
    match value {
        HostValue::Undefined => qjs::JS_UNDEFINED,
        HostValue::Null => qjs::JS_NULL,
        HostValue::Bool(true) => qjs::JS_TRUE,
        HostValue::Bool(false) => qjs::JS_FALSE,
        HostValue::Number(number) => qjs::JS_NewFloat64(number),
        // SAFETY: the pointers are valid for the lengths given; both functions copy.
        HostValue::String(text) => unsafe { from_text(ctx, &text) },
        // SAFETY: as above.
        HostValue::Bytes(bytes) => unsafe {
            qjs::JS_NewArrayBufferCopy(ctx, bytes.as_ptr(), bytes.len() as u64)
        },
    }
}

/// Throws an error of the class `name` if that is a built-in one, otherwise an `Error` of that name. Gives the
/// exception mark.
///
/// # Safety
/// `ctx` is a context.
pub(crate) unsafe fn throw(ctx: *mut qjs::JSContext, name: &str, message: &str) -> qjs::JSValue {
    const EMPTY: &CStr = c"";
    // SAFETY: the format has no arguments. (It is limited to 256 bytes, so the message is set afterwards.)
    unsafe {
        let error = match name {
            "TypeError" => qjs::JS_NewTypeError(ctx, EMPTY.as_ptr()),
            "RangeError" => qjs::JS_NewRangeError(ctx, EMPTY.as_ptr()),
            "SyntaxError" => qjs::JS_NewSyntaxError(ctx, EMPTY.as_ptr()),
            "ReferenceError" => qjs::JS_NewReferenceError(ctx, EMPTY.as_ptr()),
            _ => qjs::JS_NewPlainError(ctx, EMPTY.as_ptr()),
        };
        if qjs::JS_IsException(error) {
            return error;
        }
        let define = |property: &CStr, text: &str| {
            let text = from_text(ctx, text);
            let flags = (qjs::JS_PROP_CONFIGURABLE | qjs::JS_PROP_WRITABLE) as i32;
            qjs::JS_IsException(text)
                || qjs::JS_DefinePropertyValueStr(ctx, error, property.as_ptr(), text, flags) < 0
        };
        let is_builtin = matches!(
            name,
            "Error" | "TypeError" | "RangeError" | "SyntaxError" | "ReferenceError"
        );
        if define(c"message", message) || (!is_builtin && define(c"name", name)) {
            qjs::JS_FreeValue(ctx, error);
            return qjs::JS_EXCEPTION;
        }
        qjs::JS_Throw(ctx, error)
    }
}
