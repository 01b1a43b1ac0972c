// Events and cancellation. There is no tree of targets: an event has one target and no path.
(function (web) {
  "use strict";

  const { DOMException } = web;
  const internal = Symbol("internal");
  // Give `dispatchEvent` access to an event's private fields.
  let begin, end, isStopped;

  class Event {
    #type;
    #init;
    #target = null;
    #current = null;
    #canceled = false;
    #passive = false;
    #stopped = false;
    #stoppedNow = false;
    #timeStamp = web.host("time/elapsed");

    constructor(type, init = {}) {
      if (arguments.length === 0) throw new TypeError("Event: the type is missing");
      this.#type = `${type}`;
      this.#init = init ?? {};
    }

    static {
      begin = (event, target, passive) => {
        event.#target = target;
        event.#current = target;
        event.#passive = passive;
      };
      end = (event) => {
        event.#current = null;
        event.#passive = event.#stopped = event.#stoppedNow = false;
      };
      isStopped = (event) => event.#stoppedNow;
    }

    get type() {
      return this.#type;
    }
    get bubbles() {
      return Boolean(this.#init.bubbles);
    }
    get cancelable() {
      return Boolean(this.#init.cancelable);
    }
    get composed() {
      return Boolean(this.#init.composed);
    }
    get target() {
      return this.#target;
    }
    get srcElement() {
      return this.#target;
    }
    get currentTarget() {
      return this.#current;
    }
    get eventPhase() {
      return this.#current ? Event.AT_TARGET : Event.NONE;
    }
    get defaultPrevented() {
      return this.#canceled;
    }
    get returnValue() {
      return !this.#canceled;
    }
    get cancelBubble() {
      return this.#stopped;
    }
    get isTrusted() {
      return false;
    }
    get timeStamp() {
      return this.#timeStamp;
    }
    composedPath() {
      return this.#current ? [this.#current] : [];
    }
    preventDefault() {
      if (this.cancelable && !this.#passive) this.#canceled = true;
    }
    stopPropagation() {
      this.#stopped = true;
    }
    stopImmediatePropagation() {
      this.#stopped = this.#stoppedNow = true;
    }
  }
  for (const [value, name] of ["NONE", "CAPTURING_PHASE", "AT_TARGET", "BUBBLING_PHASE"].entries()) {
    for (const target of [Event, Event.prototype]) Object.defineProperty(target, name, { value, enumerable: true });
  }

  class CustomEvent extends Event {
    #detail;
    constructor(type, init = {}) {
      super(type, init);
      this.#detail = init?.detail ?? null;
    }
    get detail() {
      return this.#detail;
    }
  }

  class EventTarget {
    // [{ type, callback, capture, once, passive }], replaced on change, so that a dispatch sees the list as it was.
    #listeners = [];

    addEventListener(type, callback, options = {}) {
      if (callback === null || callback === undefined) return;
      if (typeof callback !== "function" && typeof callback !== "object") {
        throw new TypeError("addEventListener: the listener must be a function or an object");
      }
      const { capture, once = false, passive = false, signal } = flatten(options);
      if (signal?.aborted) return;
      type = `${type}`;
      const same = (l) => l.type === type && l.callback === callback && l.capture === capture;
      if (this.#listeners.some(same)) return;
      this.#listeners = [...this.#listeners, { type, callback, capture, once, passive }];
      signal?.addEventListener("abort", () => this.removeEventListener(type, callback, capture), { once: true });
    }
    removeEventListener(type, callback, options = {}) {
      const { capture } = flatten(options);
      this.#listeners = this.#listeners.filter(
        (l) => l.type !== `${type}` || l.callback !== callback || l.capture !== capture,
      );
    }
    dispatchEvent(event) {
      if (!(event instanceof Event)) throw new TypeError("dispatchEvent: the argument must be an Event");
      if (event.currentTarget) throw new DOMException("The event is being dispatched already", "InvalidStateError");
      for (const listener of this.#listeners) {
        if (listener.type !== event.type || !this.#listeners.includes(listener)) continue;
        begin(event, this, listener.passive);
        if (listener.once) this.removeEventListener(listener.type, listener.callback, listener.capture);
        try {
          const { callback } = listener;
          if (typeof callback === "function") callback.call(this, event);
          else callback.handleEvent(event);
        } catch (error) {
          // Nobody can catch it: it fails the call, as an unhandled rejection does.
          Promise.reject(error);
        }
        if (isStopped(event)) break;
      }
      end(event);
      return !event.defaultPrevented;
    }
  }

  function flatten(options) {
    if (typeof options === "boolean") return { capture: options };
    return { ...options, capture: Boolean(options?.capture) };
  }

  /** Defines an `on…` attribute. */
  function handler(constructor, type) {
    const handlers = new WeakMap();
    Object.defineProperty(constructor.prototype, `on${type}`, {
      get() {
        return handlers.get(this)?.callback ?? null;
      },
      set(callback) {
        const known = handlers.get(this);
        if (known) {
          known.callback = callback;
          return;
        }
        const state = { callback };
        handlers.set(this, state);
        this.addEventListener(type, (event) => {
          if (typeof state.callback === "function") state.callback.call(this, event);
        });
      },
      enumerable: true,
      configurable: true,
    });
  }

  // Aborts a signal with a reason.
  let abort;

  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason = undefined;
    // Signals made by `AbortSignal.any` that follow this one.
    #dependents = [];

    constructor(key) {
      if (key !== internal) throw new TypeError("Illegal constructor");
      super();
    }

    static {
      abort = (signal, reason) => {
        if (signal.#aborted) return;
        if (reason === undefined) reason = new DOMException("This operation was aborted", "AbortError");
        const all = [signal, ...signal.#dependents.filter((dependent) => !dependent.#aborted)];
        for (const each of all) {
          each.#aborted = true;
          each.#reason = reason;
        }
        for (const each of all) each.dispatchEvent(new Event("abort"));
      };
    }

    static abort(reason = undefined) {
      const signal = new AbortSignal(internal);
      abort(signal, reason);
      return signal;
    }
    static timeout(ms) {
      ms = Number(ms);
      if (!(ms >= 0)) throw new TypeError("AbortSignal.timeout: the delay must be a number that is not negative");
      const signal = new AbortSignal(internal);
      const time = web.part("time");
      if (time.mayWait("setTimeout")) time.sleep(Math.trunc(ms)).then(() => {
        abort(signal, new DOMException("The operation was aborted due to timeout", "TimeoutError"));
      });
      return signal;
    }
    static any(signals) {
      const result = new AbortSignal(internal);
      const sources = [...signals];
      for (const source of sources) {
        if (!(source instanceof AbortSignal)) throw new TypeError("AbortSignal.any takes AbortSignals");
      }
      const aborted = sources.find((source) => source.#aborted);
      if (aborted) abort(result, aborted.#reason);
      else for (const source of sources) source.#follow(result);
      return result;
    }
    #follow(dependent) {
      this.#dependents.push(dependent);
      if (this.#sources) for (const source of this.#sources) source.#dependents.push(dependent);
      (dependent.#sources ??= []).push(this, ...(this.#sources ?? []));
    }
    // For signals made by `any`: the signals they follow.
    #sources;

    get aborted() {
      return this.#aborted;
    }
    get reason() {
      return this.#reason;
    }
    throwIfAborted() {
      if (this.#aborted) throw this.#reason;
    }
  }
  handler(AbortSignal, "abort");

  class AbortController {
    #signal = new AbortSignal(internal);
    get signal() {
      return this.#signal;
    }
    abort(reason = undefined) {
      abort(this.#signal, reason);
    }
  }

  for (const constructor of [Event, CustomEvent, EventTarget, AbortSignal, AbortController]) {
    web.tag(constructor);
    web.enumerable(constructor);
  }
  return { Event, CustomEvent, EventTarget, AbortSignal, AbortController };
})
