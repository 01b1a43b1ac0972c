// `FormData`, and its two encodings.
(function (web) {
  "use strict";

  const { host } = web;
  const string = (value) => `${value}`.toWellFormed();

  class FormData {
    // [[name, string or File]]
    #entries = [];

    constructor(form = undefined) {
      if (form !== undefined) throw new TypeError("FormData: there are no forms here");
    }
    append(name, value, filename = undefined) {
      this.#entries.push([string(name), entry(value, filename)]);
    }
    delete(name) {
      name = string(name);
      this.#entries = this.#entries.filter((e) => e[0] !== name);
    }
    get(name) {
      name = string(name);
      return this.#entries.find((e) => e[0] === name)?.[1] ?? null;
    }
    getAll(name) {
      name = string(name);
      return this.#entries.filter((e) => e[0] === name).map((e) => e[1]);
    }
    has(name) {
      name = string(name);
      return this.#entries.some((e) => e[0] === name);
    }
    set(name, value, filename = undefined) {
      name = string(name);
      value = entry(value, filename);
      const first = this.#entries.findIndex((e) => e[0] === name);
      if (first < 0) {
        this.#entries.push([name, value]);
      } else {
        this.#entries[first] = [name, value];
        this.#entries = this.#entries.filter((e, index) => index <= first || e[0] !== name);
      }
    }
    forEach(callback, thisArg = undefined) {
      for (const [name, value] of this) callback.call(thisArg, value, name, this);
    }
    *entries() {
      for (let i = 0; i < this.#entries.length; i++) yield [...this.#entries[i]];
    }
    *keys() {
      for (const [name] of this.entries()) yield name;
    }
    *values() {
      for (const [, value] of this.entries()) yield value;
    }
  }
  web.enumerable(FormData);
  web.tag(FormData);
  Object.defineProperty(FormData.prototype, Symbol.iterator, {
    value: FormData.prototype.entries, writable: true, configurable: true,
  });

  function entry(value, filename) {
    const { Blob, File } = web.part("blob");
    if (!(value instanceof Blob)) {
      if (filename !== undefined) throw new TypeError("FormData: a file name needs a Blob");
      return string(value);
    }
    if (value instanceof File && filename === undefined) return value;
    const name = filename ?? "blob";
    const { lastModified } = value;
    return new File([value], name, { type: value.type, ...(lastModified === undefined ? {} : { lastModified }) });
  }

  /** Encodes as `multipart/form-data`: a Blob whose type names the boundary. */
  function encode(form) {
    const { Blob } = web.part("blob");
    const random = new Uint8Array(host("random/bytes", 12));
    const boundary = `----formdata-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    const quoted = (name) => name.replace(/\r\n|\r|\n/g, "%0D%0A").replace(/"/g, "%22");
    const parts = [];
    for (const [name, value] of form) {
      parts.push(`--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`);
      if (typeof value === "string") {
        parts.push(`\r\n\r\n${value.replace(/\r\n|\r|\n/g, "\r\n")}\r\n`);
      } else {
        const type = value.type || "application/octet-stream";
        parts.push(`; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`, value, "\r\n");
      }
    }
    parts.push(`--${boundary}--\r\n`);
    return { blob: new Blob(parts), type: `multipart/form-data; boundary=${boundary}` };
  }

  /** Decodes a body of the given content type. */
  function decode(bytes, type) {
    const form = new FormData();
    if (/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(type)) {
      const { TextDecoder } = web.part("text");
      for (const [name, value] of new (web.part("url").URLSearchParams)(`?${new TextDecoder().decode(bytes)}`)) {
        form.append(name, value);
      }
      return form;
    }
    const boundary = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]*)"|([^;\s]*))/i.exec(type);
    if (!boundary) throw new TypeError(`formData: the content type '${type}' is not that of a form`);
    const { File } = web.part("blob");
    for (const part of JSON.parse(host("form/parse", boundary[1] ?? boundary[2], bytes))) {
      const content = bytes.slice(part.start, part.end);
      if (part.filename === null) {
        const { TextDecoder } = web.part("text");
        form.append(part.name, new TextDecoder("utf-8", { ignoreBOM: true }).decode(content));
      } else {
        form.append(part.name, new File([content], part.filename, { type: part.type ?? "text/plain" }));
      }
    }
    return form;
  }

  return { FormData, encode, decode };
})
