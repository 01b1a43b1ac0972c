//! Finds and compiles the modules of a program.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;

use concave_javascript::modules::resolve;
use rquickjs_sys as qjs;

use crate::host::{self, Host};
use crate::js;

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
        let resolved = resolve((*host).call.state.phase(), &base, &specifier);
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
    let refusal = match host.call.find_module(&text) {
        Err(refusal) => refusal,
        Ok(module) => {
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
