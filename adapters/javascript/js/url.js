// `URL` and `URLSearchParams` over the host's parser.
(function (web) {
  "use strict";

  const { host } = web;
  const string = (value) => `${value}`.toWellFormed();
  // Connects a URL with its `searchParams`: tells the URL that the list has changed.
  const onChange = new WeakMap();

  // Replaces a list by a parsed query.
  let parseInto;

  class URLSearchParams {
    #pairs = [];

    constructor(init = "") {
      if (init !== null && (typeof init === "object" || typeof init === "function")) {
        const iterate = init[Symbol.iterator];
        if (iterate !== undefined && iterate !== null) {
          for (const pair of init) {
            const items = [...pair];
            if (items.length !== 2) throw new TypeError("URLSearchParams: each item must be a [name, value] pair");
            this.#pairs.push([string(items[0]), string(items[1])]);
          }
        } else {
          const record = new Map();
          for (const name of Reflect.ownKeys(init)) {
            if (Object.getOwnPropertyDescriptor(init, name)?.enumerable) record.set(string(name), string(init[name]));
          }
          this.#pairs = [...record];
        }
      } else {
        parseInto(this, string(init).replace(/^\?/, ""));
      }
    }

    static {
      parseInto = (params, query) => {
        params.#pairs = query === "" ? [] : JSON.parse(host("url/parseForm", query));
      };
    }

    #changed() {
      onChange.get(this)?.();
    }

    get size() {
      return this.#pairs.length;
    }
    append(name, value) {
      this.#pairs.push([string(name), string(value)]);
      this.#changed();
    }
    delete(name, value) {
      name = string(name);
      if (value !== undefined) value = string(value);
      this.#pairs = this.#pairs.filter((pair) => pair[0] !== name || (value !== undefined && pair[1] !== value));
      this.#changed();
    }
    get(name) {
      name = string(name);
      return this.#pairs.find((pair) => pair[0] === name)?.[1] ?? null;
    }
    getAll(name) {
      name = string(name);
      return this.#pairs.filter((pair) => pair[0] === name).map((pair) => pair[1]);
    }
    has(name, value) {
      name = string(name);
      if (value !== undefined) value = string(value);
      return this.#pairs.some((pair) => pair[0] === name && (value === undefined || pair[1] === value));
    }
    set(name, value) {
      name = string(name);
      value = string(value);
      const first = this.#pairs.findIndex((pair) => pair[0] === name);
      if (first < 0) {
        this.#pairs.push([name, value]);
      } else {
        this.#pairs[first] = [name, value];
        this.#pairs = this.#pairs.filter((pair, index) => index <= first || pair[0] !== name);
      }
      this.#changed();
    }
    sort() {
      this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      this.#changed();
    }
    forEach(callback, thisArg = undefined) {
      for (const [name, value] of this) callback.call(thisArg, value, name, this);
    }
    *entries() {
      for (let i = 0; i < this.#pairs.length; i++) yield [...this.#pairs[i]];
    }
    *keys() {
      for (let i = 0; i < this.#pairs.length; i++) yield this.#pairs[i][0];
    }
    *values() {
      for (let i = 0; i < this.#pairs.length; i++) yield this.#pairs[i][1];
    }
    toString() {
      return this.#pairs.length === 0 ? "" : host("url/encodeForm", JSON.stringify(this.#pairs));
    }
  }

  // Give access to private fields.
  let part, set, refresh;
  class URL {
    // [href, origin, protocol, username, password, host, hostname, port, pathname, search, hash]
    #parts;
    #searchParams;

    constructor(url, base = undefined) {
      const parts = host("url/parse", string(url), base === undefined ? undefined : string(base));
      if (parts === null) {
        const error = new TypeError("Invalid URL");
        error.code = "ERR_INVALID_URL";
        error.input = `${url}`;
        throw error;
      }
      this.#parts = JSON.parse(parts);
    }
    static canParse(url, base = undefined) {
      return host("url/parse", string(url), base === undefined ? undefined : string(base)) !== null;
    }
    static parse(url, base = undefined) {
      return URL.canParse(url, base) ? new URL(url, base) : null;
    }

    static {
      part = (url, index) => url.#parts[index];
      set = (url, name, value) => {
        url.#parts = JSON.parse(host("url/set", url.#parts[0], name, string(value)));
      };
      refresh = (url) => {
        if (url.#searchParams) parseInto(url.#searchParams, url.search.slice(1));
      };
    }

    get href() {
      return this.#parts[0];
    }
    set href(value) {
      this.#parts = new URL(value).#parts;
      refresh(this);
    }
    get searchParams() {
      if (!this.#searchParams) {
        this.#searchParams = new URLSearchParams();
        refresh(this);
        onChange.set(this.#searchParams, () => set(this, "search", this.#searchParams.toString()));
      }
      return this.#searchParams;
    }
    toString() {
      return this.#parts[0];
    }
    toJSON() {
      return this.#parts[0];
    }
  }
  ["origin", "protocol", "username", "password", "host", "hostname", "port", "pathname", "search", "hash"].forEach(
    (name, index) => {
      Object.defineProperty(URL.prototype, name, {
        get() {
          return part(this, index + 1);
        },
        set: name === "origin" ? undefined : function (value) {
          set(this, name, value);
          if (name === "search") refresh(this);
        },
        configurable: true,
      });
    },
  );

  for (const constructor of [URL, URLSearchParams]) {
    web.enumerable(constructor);
    web.tag(constructor);
  }
  Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, {
    value: URLSearchParams.prototype.entries, writable: true, configurable: true,
  });
  return { URL, URLSearchParams };
})
