// `Headers`.
(function (web) {
  "use strict";

  const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

  function checkedName(name) {
    name = `${name}`;
    if (!NAME.test(name)) throw new TypeError(`Invalid header name: '${name}'`);
    return name.toLowerCase();
  }
  function checkedValue(value) {
    value = `${value}`.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
    if (/[\0\n\r\u0100-\uffff]/.test(value)) throw new TypeError("Invalid header value");
    return value;
  }

  class Headers {
    // [[lower-case name, value]], in the order of arrival.
    #pairs = [];

    constructor(init = undefined) {
      if (init === undefined) return;
      if (init === null || (typeof init !== "object" && typeof init !== "function")) {
        throw new TypeError("Headers: the argument must be an object or a sequence of pairs");
      }
      if (typeof init[Symbol.iterator] === "function") {
        for (const pair of init) {
          const items = [...pair];
          if (items.length !== 2) throw new TypeError("Headers: each item must be a [name, value] pair");
          this.append(items[0], items[1]);
        }
      } else {
        for (const name of Reflect.ownKeys(init)) {
          if (Object.getOwnPropertyDescriptor(init, name)?.enumerable) this.append(name, init[name]);
        }
      }
    }

    append(name, value) {
      this.#pairs.push([checkedName(name), checkedValue(value)]);
    }
    delete(name) {
      name = checkedName(name);
      this.#pairs = this.#pairs.filter((pair) => pair[0] !== name);
    }
    get(name) {
      name = checkedName(name);
      const values = this.#pairs.filter((pair) => pair[0] === name).map((pair) => pair[1]);
      return values.length === 0 ? null : values.join(", ");
    }
    getSetCookie() {
      return this.#pairs.filter((pair) => pair[0] === "set-cookie").map((pair) => pair[1]);
    }
    has(name) {
      name = checkedName(name);
      return this.#pairs.some((pair) => pair[0] === name);
    }
    set(name, value) {
      name = checkedName(name);
      value = checkedValue(value);
      const first = this.#pairs.findIndex((pair) => pair[0] === name);
      if (first < 0) {
        this.#pairs.push([name, value]);
      } else {
        this.#pairs[first] = [name, value];
        this.#pairs = this.#pairs.filter((pair, index) => index <= first || pair[0] !== name);
      }
    }
    forEach(callback, thisArg = undefined) {
      for (const [name, value] of this) callback.call(thisArg, value, name, this);
    }
    // Sorted by name; values of one name joined, but for cookies.
    *entries() {
      const names = [...new Set(this.#pairs.map((pair) => pair[0]))].sort();
      for (const name of names) {
        if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
        else yield [name, this.get(name)];
      }
    }
    *keys() {
      for (const [name] of this.entries()) yield name;
    }
    *values() {
      for (const [, value] of this.entries()) yield value;
    }
  }
  web.enumerable(Headers);
  web.tag(Headers);
  Object.defineProperty(Headers.prototype, Symbol.iterator, {
    value: Headers.prototype.entries, writable: true, configurable: true,
  });
  return { Headers };
})
