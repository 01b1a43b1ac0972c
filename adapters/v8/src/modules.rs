//! Compiles and links the modules of a program.

use concave_javascript::modules::resolve;

use crate::host::Host;
use crate::natives::text;

/// Compiles the module of that full name, unless the context has it already. `None` with an exception pending if it
/// cannot be had.
pub(crate) fn module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
) -> Option<v8::Local<'s, v8::Module>> {
    let host = Host::of(scope);
    if let Some(module) = host.modules.get(name).cloned() {
        return Some(v8::Local::new(scope, module));
    }
    let found = host.call.find_module(name);
    let (source, cache) = match found {
        Ok(module) => (module.source.clone(), host.code.get(name)),
        Err(refusal) => {
            let message = text(scope, &refusal)?;
            let error = v8::Exception::error(scope, message);
            scope.throw_exception(error);
            return None;
        }
    };
    let source = text(scope, &source)?;
    let resource = text(scope, name)?;
    let origin = origin(scope, resource, true);
    let module = match &cache {
        Some(bytes) => {
            let data = v8::script_compiler::CachedData::new(bytes);
            let mut source =
                v8::script_compiler::Source::new_with_cached_data(source, Some(&origin), data);
            v8::script_compiler::compile_module2(
                scope,
                &mut source,
                v8::script_compiler::CompileOptions::ConsumeCodeCache,
                v8::script_compiler::NoCacheReason::NoReason,
            )?
        }
        None => {
            let mut source = v8::script_compiler::Source::new(source, Some(&origin));
            v8::script_compiler::compile_module(scope, &mut source)?
        }
    };
    let global = v8::Global::new(scope, module);
    Host::of(scope).modules.insert(name.to_owned(), global);
    Some(module)
}

/// Where a script or module comes from.
fn origin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: v8::Local<'s, v8::String>,
    is_module: bool,
) -> v8::ScriptOrigin<'s> {
    let name = name.into();
    v8::ScriptOrigin::new(
        scope, name, 0, 0, false, -1, None, false, false, is_module, None,
    )
}

/// Runs a script of ours; gives its value. `None` with an exception pending if it throws.
pub(crate) fn run_script<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    source: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let name = text(scope, name)?;
    let source = text(scope, source)?;
    let origin = origin(scope, name, false);
    v8::Script::compile(scope, source, Some(&origin))?.run(scope)
}

/// Compiles, links and begins to evaluate a module; gives the promise of its evaluation. `None` with an exception
/// pending if that fails.
pub(crate) fn load<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
) -> Option<(v8::Local<'s, v8::Module>, v8::Local<'s, v8::Value>)> {
    let module = module(scope, name)?;
    module.instantiate_module(scope, import)?;
    let promise = module.evaluate(scope)?;
    Some((module, promise))
}

/// Answers an import declaration.
fn import<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    v8::callback_scope!(unsafe scope, context);
    let specifier = specifier.to_rust_string_lossy(scope);
    let host = Host::of(scope);
    let base = host
        .modules
        .iter()
        .find(|(_, module)| **module == referrer)
        .map(|(name, _)| name.clone())
        .unwrap_or_default();
    match resolve(host.call.state.phase(), &base, &specifier) {
        Ok(name) => module(scope, &name),
        Err(refusal) => {
            throw_type_error(scope, &refusal);
            None
        }
    }
}

/// Answers `import()`: a promise of the module's namespace.
pub(crate) fn import_dynamically<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _options: v8::Local<'s, v8::Data>,
    referrer: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let base = referrer.to_rust_string_lossy(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let resolver = v8::PromiseResolver::new(scope)?;
    let promise = resolver.get_promise(scope);
    v8::tc_scope!(let scope, scope);
    restore_modules(scope);
    let phase = Host::of(scope).call.state.phase();
    let loaded = match resolve(phase, &base, &specifier) {
        Ok(name) => load(scope, &name),
        Err(refusal) => {
            throw_type_error(scope, &refusal);
            None
        }
    };
    match loaded {
        Some((module, evaluated)) => {
            let namespace = module.get_module_namespace();
            let done = v8::Function::builder(give_data)
                .data(namespace)
                .build(scope)?;
            let evaluated = v8::Local::<v8::Promise>::try_from(evaluated).ok()?;
            evaluated.then(scope, done)
        }
        None => {
            let reason = scope.exception()?;
            resolver.reject(scope, reason);
            Some(promise)
        }
    }
}

/// A function that returns its data.
fn give_data(
    _scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue,
) {
    result.set(args.data());
}

/// Takes the modules of a context out of the snapshot that the context was made from.
fn restore_modules(scope: &mut v8::PinScope) {
    for (name, index) in std::mem::take(&mut Host::of(scope).kept_modules) {
        if let Ok(module) = scope.get_context_data_from_snapshot_once::<v8::Module>(index) {
            let module = v8::Global::new(scope, module);
            Host::of(scope).modules.insert(name, module);
        }
    }
}

fn throw_type_error(scope: &mut v8::PinScope, message: &str) {
    if let Some(message) = text(scope, message) {
        let error = v8::Exception::type_error(scope, message);
        scope.throw_exception(error);
    }
}
