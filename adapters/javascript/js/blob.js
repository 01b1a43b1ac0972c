// `Blob` and `File`: immutable bytes with a type.
(function (web) {
  "use strict";

  const { host } = web;
  // The bytes of a blob, not to be changed.
  let bytesOf;

  class Blob {
    #bytes;
    #type;

    constructor(parts = [], options = {}) {
      if (parts === null || typeof parts !== "object" || typeof parts[Symbol.iterator] !== "function") {
        throw new TypeError("Blob: the parts must be a sequence");
      }
      const pieces = [];
      let size = 0;
      for (const part of parts) {
        const piece = part instanceof Blob ? part.#bytes
          : new Uint8Array(web.isBufferSource(part) ? web.bytes(part) : host("text/encode", `${part}`));
        pieces.push(piece);
        size += piece.length;
      }
      this.#bytes = new Uint8Array(size);
      let at = 0;
      for (const piece of pieces) {
        this.#bytes.set(piece, at);
        at += piece.length;
      }
      const type = `${options?.type ?? ""}`;
      this.#type = /^[\x20-\x7e]*$/.test(type) ? type.toLowerCase() : "";
    }

    static {
      bytesOf = (blob) => blob.#bytes;
    }

    get size() {
      return this.#bytes.length;
    }
    get type() {
      return this.#type;
    }
    slice(start = 0, end = this.size, type = "") {
      return new Blob([this.#bytes.slice(start, end)], { type });
    }
    async arrayBuffer() {
      return web.bytes(this.#bytes);
    }
    async bytes() {
      return this.#bytes.slice();
    }
    async text() {
      const { TextDecoder } = web.part("text");
      return new TextDecoder().decode(this.#bytes);
    }
    stream() {
      const bytes = this.#bytes;
      return new (web.part("streams").ReadableStream)({
        type: "bytes",
        pull(controller) {
          if (bytes.length > 0) controller.enqueue(bytes.slice());
          controller.close();
          controller.byobRequest?.respond(0);
        },
      }, { highWaterMark: 0 });
    }
  }

  class File extends Blob {
    #name;
    #lastModified;
    constructor(parts, name, options = {}) {
      if (arguments.length < 2) throw new TypeError("File: parts and name are required");
      super(parts, options);
      this.#name = `${name}`.toWellFormed();
      this.#lastModified = options?.lastModified === undefined ? host("time/now") : Math.trunc(Number(options.lastModified)) || 0;
    }
    get name() {
      return this.#name;
    }
    get lastModified() {
      return this.#lastModified;
    }
    get webkitRelativePath() {
      return "";
    }
  }

  for (const constructor of [Blob, File]) {
    web.tag(constructor);
    web.enumerable(constructor);
  }
  return { Blob, File, bytesOf };
})
