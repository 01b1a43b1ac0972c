// `AsyncLocalStorage` and `AsyncResource`.
//
// A *frame* holds the stores of all storages. Within the synchronous part of `run`, and within callbacks that were
// given to `Promise.prototype.then` there, the frame is known exactly. Engines do not tell when an `await` goes on;
// code after one runs in the innermost `run` whose promise is pending, provided that the pending ones are nested in
// each other; if they are not (several at a time), in the innermost frame around all of them. So awaiting in sequence
// and nesting are exact, and code that runs side by side never sees its neighbour's store, only perhaps none.
(function (web) {
  "use strict";

  class Frame {
    constructor(parent, stores) {
      this.parent = parent;
      this.stores = stores;
    }
    /** From the outermost frame to this one. */
    chain() {
      return this.parent ? [...this.parent.chain(), this] : [this];
    }
  }

  const root = new Frame(null, new Map());
  // Frames of runs whose promise is pending.
  const pending = new Set();
  // The frame of the code that runs, if known.
  let known = null;

  function active() {
    return known ?? ambient();
  }

  function ambient() {
    if (pending.size === 0) return root;
    let common = null;
    for (const frame of pending) {
      const chain = frame.chain();
      if (common === null) {
        common = chain;
        continue;
      }
      const [short, long] = common.length < chain.length ? [common, chain] : [chain, common];
      const split = short.findIndex((each, i) => each !== long[i]);
      common = split < 0 ? long : short.slice(0, split);
      // A branch hides everything below it.
      if (split >= 0) return common.at(-1);
    }
    return common.at(-1);
  }

  function enter(frame, callback, thisArg, args) {
    const previous = known;
    known = frame;
    try {
      return callback.apply(thisArg, args);
    } finally {
      known = previous;
    }
  }

  const bound = (frame, callback) =>
    typeof callback !== "function" ? callback : function (...args) {
      return enter(frame, callback, this, args);
    };

  const nativeThen = Promise.prototype.then;
  Object.defineProperty(Promise.prototype, "then", {
    value: function then(onFulfilled, onRejected) {
      const frame = active();
      if (frame === root) return nativeThen.call(this, onFulfilled, onRejected);
      return nativeThen.call(this, bound(frame, onFulfilled), bound(frame, onRejected));
    },
    writable: true,
    configurable: true,
  });

  /** Runs in a frame that stays until the promise that the callback returns is settled. */
  function run(frame, callback, args) {
    if (known === null) {
      // The rest of the code that calls us is outside of the new frame, pending or not. It ends before the reset,
      // which comes before whatever the callback leaves for later.
      known = frame.parent;
      nativeThen.call(Promise.resolve(), () => {
        known = null;
      });
    }
    const result = enter(frame, callback, undefined, args);
    if (result instanceof Promise) {
      pending.add(frame);
      const close = () => pending.delete(frame);
      nativeThen.call(result, close, close);
    }
    return result;
  }

  class AsyncLocalStorage {
    #defaultValue;
    #name;
    constructor({ defaultValue, name = "" } = {}) {
      this.#defaultValue = defaultValue;
      this.#name = `${name}`;
    }
    static bind(callback) {
      return AsyncResource.bind(callback);
    }
    static snapshot() {
      const frame = active();
      return (callback, ...args) => enter(frame, callback, undefined, args);
    }
    get name() {
      return this.#name;
    }
    getStore() {
      const { stores } = active();
      return stores.has(this) ? stores.get(this) : this.#defaultValue;
    }
    run(store, callback, ...args) {
      const frame = active();
      return run(new Frame(frame, new Map(frame.stores).set(this, store)), callback, args);
    }
    exit(callback, ...args) {
      return this.run(undefined, callback, ...args);
    }
    enterWith(store) {
      const frame = active();
      frame.stores = new Map(frame.stores).set(this, store);
    }
    disable() {
      for (const frame of active().chain()) {
        frame.stores = new Map(frame.stores);
        frame.stores.delete(this);
      }
    }
  }

  let lastId = 0;
  class AsyncResource {
    #frame = active();
    #id = ++lastId;
    constructor(type) {
      if (typeof type !== "string") throw new TypeError("AsyncResource: the type must be a string");
    }
    static bind(callback, type, thisArg) {
      return new AsyncResource(type ?? (callback.name || "bound-anonymous-fn")).bind(callback, thisArg);
    }
    bind(callback, thisArg) {
      const resource = this;
      return function (...args) {
        return resource.runInAsyncScope(callback, thisArg ?? this, ...args);
      };
    }
    runInAsyncScope(callback, thisArg, ...args) {
      return enter(this.#frame, callback, thisArg, args);
    }
    emitDestroy() {
      return this;
    }
    asyncId() {
      return this.#id;
    }
    triggerAsyncId() {
      return 0;
    }
  }

  for (const constructor of [AsyncLocalStorage, AsyncResource]) web.tag(constructor);
  return { AsyncLocalStorage, AsyncResource };
})
