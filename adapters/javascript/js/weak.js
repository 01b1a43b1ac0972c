// `WeakRef` and `FinalizationRegistry` without a trace of garbage collection, which is not deterministic: a
// reference holds, and a registry never calls back.
(function (web) {
  "use strict";

  const isTarget = (value) =>
    (typeof value === "object" && value !== null) || typeof value === "function" ||
    (typeof value === "symbol" && Symbol.keyFor(value) === undefined);

  class WeakRef {
    #target;
    constructor(target) {
      if (!isTarget(target)) throw new TypeError("WeakRef: the target must be an object");
      this.#target = target;
    }
    deref() {
      return this.#target;
    }
  }

  class FinalizationRegistry {
    #tokens = new WeakSet();
    constructor(cleanup) {
      if (typeof cleanup !== "function") throw new TypeError("FinalizationRegistry: cleanup must be a function");
    }
    register(target, held, token) {
      if (!isTarget(target)) throw new TypeError("FinalizationRegistry: the target must be an object");
      if (target === held) throw new TypeError("FinalizationRegistry: the target and the held value must differ");
      if (token !== undefined) this.#tokens.add(token);
    }
    unregister(token) {
      return this.#tokens.delete(token);
    }
  }

  for (const constructor of [WeakRef, FinalizationRegistry]) {
    web.tag(constructor);
    web.expose(constructor.name, constructor);
  }
})
