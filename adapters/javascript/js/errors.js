// Errors and the code that they come from: stacks that name the developer's own files, and no code out of strings.
(function (web) {
  "use strict";

  const { global, host } = web;
  const { apply, getPrototypeOf } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor } = Object;
  const NativeError = Error;

  // Where stacks are kept beside the error, code sees them mapped. Elsewhere they are properties of each error, and
  // mapped by the engine.
  const kept = getOwnPropertyDescriptor(NativeError.prototype, "stack");
  if (kept?.get !== undefined) {
    defineProperty(NativeError.prototype, "stack", {
      ...kept,
      get() {
        const stack = apply(kept.get, this, []);
        return typeof stack === "string" ? host("stack/map", stack) : stack;
      },
    });
  }

  /** The stack of an error as the engine has it; an empty string if there is none. */
  function rawStack(error) {
    const stack = kept?.get === undefined ? error.stack : apply(kept.get, error, []) ?? error.stack;
    return typeof stack === "string" ? stack : "";
  }

  // Code from strings would come from none of the files that were pushed.
  const refuse = () => {
    throw new EvalError("Code generation from strings disallowed for this context");
  };
  web.expose("eval", { eval: (source) => (typeof source === "string" ? refuse() : source) }.eval);
  defineProperty(global, "eval", { enumerable: false });
  for (const example of [function () {}, async function () {}, function* () {}, async function* () {}]) {
    const prototype = getPrototypeOf(example);
    const native = prototype.constructor;
    const constructor = { [native.name]: function () { refuse(); } }[native.name];
    defineProperty(constructor, "length", { value: 1 });
    defineProperty(constructor, "prototype", { ...getOwnPropertyDescriptor(native, "prototype"), value: prototype });
    // The kinds inherit from `Function`, which comes first.
    if (native !== global.Function) Object.setPrototypeOf(constructor, global.Function);
    defineProperty(prototype, "constructor", { value: constructor });
    if (native === global.Function) defineProperty(global, "Function", { value: constructor });
  }

  return { rawStack };
})
