// `Request` and `Response`, and the bodies they share.
//
// A body is kept as bytes wherever possible; streams come into play only when someone gives or asks for one.
(function (web) {
  "use strict";

  const { host } = web;
  const { Headers } = web.part("headers");

  /** A body: bytes or a stream, read at most once. */
  class Body {
    /** @param bytes ArrayBuffer; or stream: ReadableStream; type: the content type it implies, or null */
    constructor({ bytes = null, stream = null, type = null }) {
      Object.assign(this, { bytes, stream, type, used: false });
    }

    get isUnusable() {
      return this.used || Boolean(this.stream?.locked);
    }

    /** The stream of the body; reading it uses the body up. */
    asStream() {
      this.stream ??= new (web.part("streams").ReadableStream)({
        type: "bytes",
        pull: (controller) => {
          this.used = true;
          if (this.bytes.byteLength > 0) controller.enqueue(new Uint8Array(this.bytes.slice(0)));
          controller.close();
          controller.byobRequest?.respond(0);
        },
        cancel: () => {
          this.used = true;
        },
      }, { highWaterMark: 0 });
      return this.stream;
    }

    /** All bytes, as an ArrayBuffer. */
    async read() {
      if (this.isUnusable) throw new TypeError("body stream already read");
      this.used = true;
      if (this.bytes) return this.bytes.slice(0);
      const chunks = [];
      const reader = this.stream.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (!(value instanceof Uint8Array)) throw new TypeError("Chunks of a body must be Uint8Arrays");
        chunks.push(value);
      }
      return web.bytes(await new (web.part("blob").Blob)(chunks).bytes());
    }

    /** A second body with the same content. */
    tee() {
      if (this.isUnusable) throw new TypeError("body stream already read");
      if (this.bytes) return new Body({ bytes: this.bytes, type: this.type });
      const [mine, other] = this.stream.tee();
      this.stream = mine;
      return new Body({ stream: other, type: this.type });
    }
  }

  /** Makes a body of what a `Request` or `Response` was given. */
  function extract(content, className) {
    if (content === null || content === undefined) return null;
    if (typeof content === "object") {
      if (web.isBufferSource(content)) return new Body({ bytes: web.bytes(content) });
      const tag = Object.prototype.toString.call(content).slice(8, -1);
      if (tag === "Blob" || tag === "File") {
        const { bytesOf } = web.part("blob");
        return new Body({ bytes: web.bytes(bytesOf(content)), type: content.type || null });
      }
      if (tag === "URLSearchParams") {
        const type = "application/x-www-form-urlencoded;charset=UTF-8";
        return new Body({ bytes: host("text/encode", content.toString()), type });
      }
      if (tag === "FormData") {
        const { blob, type } = web.part("form_data").encode(content);
        return new Body({ bytes: web.bytes(web.part("blob").bytesOf(blob)), type });
      }
      if (tag === "ReadableStream") {
        if (content.locked) throw new TypeError("The stream of a body must not be locked");
        return new Body({ stream: content });
      }
      if (!(content instanceof String)) web.unsupported(`a body of type ${tag}`, className);
    }
    return new Body({ bytes: host("text/encode", `${content}`), type: "text/plain;charset=UTF-8" });
  }

  // Access to the private fields of both classes.
  let bodyOf, adopt, responseFrom;

  class Message {
    #body;
    #headers;
    constructor(body, headers) {
      this.#body = body;
      this.#headers = headers;
      if (body?.type && !headers.has("content-type")) headers.set("content-type", body.type);
    }
    static {
      bodyOf = (message) => message.#body;
      adopt = (message, body = null) => {
        message.#body = body;
      };
    }

    get headers() {
      return this.#headers;
    }
    get body() {
      return this.#body ? this.#body.asStream() : null;
    }
    get bodyUsed() {
      return Boolean(this.#body?.used);
    }
    async arrayBuffer() {
      return this.#body ? this.#body.read() : new ArrayBuffer(0);
    }
    async bytes() {
      return new Uint8Array(await this.arrayBuffer());
    }
    async text() {
      return host("text/decode", "utf-8", await this.arrayBuffer(), false).replace(/^\ufeff/, "");
    }
    async json() {
      return JSON.parse(await this.text());
    }
    async blob() {
      const type = this.#headers.get("content-type") ?? "";
      return new (web.part("blob").Blob)([await this.arrayBuffer()], { type });
    }
    async formData() {
      const type = this.#headers.get("content-type") ?? "";
      if (/^multipart\//i.test(type)) web.permit("formData()");
      return web.part("form_data").decode(await this.arrayBuffer(), type);
    }
  }

  function normalizedMethod(method) {
    method = `${method}`;
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method)) throw new TypeError(`'${method}' is not a valid HTTP method.`);
    const upper = method.toUpperCase();
    if (["CONNECT", "TRACE", "TRACK"].includes(upper)) throw new TypeError(`'${method}' HTTP method is unsupported.`);
    return ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"].includes(upper) ? upper : method;
  }

  class Request extends Message {
    #url;
    #method;
    #redirect;
    #signal;

    constructor(input, init = undefined) {
      init ??= {};
      const other = input instanceof Request ? input : null;
      let url;
      if (other) {
        url = other.#url;
      } else {
        url = new (web.part("url").URL)(input);
        if (url.username || url.password) throw new TypeError("The URL of a request must not include credentials");
        url = url.href;
      }
      const method = init.method === undefined ? (other?.#method ?? "GET") : normalizedMethod(init.method);
      const headers = new Headers(init.headers ?? other?.headers);
      const given = init.body !== undefined && init.body !== null;
      if ((given || (other && bodyOf(other))) && (method === "GET" || method === "HEAD")) {
        throw new TypeError("Request with GET/HEAD method cannot have body.");
      }
      let body = extract(init.body, "Request");
      if (!given && other && bodyOf(other)) {
        // The other request's body moves over.
        const source = bodyOf(other);
        if (source.isUnusable) throw new TypeError("body stream already read");
        body = source.tee();
        source.used = true;
      }
      super(body, headers);
      this.#url = url;
      this.#method = method;
      this.#redirect = `${init.redirect ?? other?.#redirect ?? "follow"}`;
      if (!["follow", "error", "manual"].includes(this.#redirect)) {
        throw new TypeError(`'${this.#redirect}' is not a redirect mode`);
      }
      this.#signal = init.signal === undefined ? other?.#signal : init.signal ?? undefined;
    }

    get url() {
      return this.#url;
    }
    get method() {
      return this.#method;
    }
    get redirect() {
      return this.#redirect;
    }
    get signal() {
      this.#signal ??= new (web.part("events").AbortController)().signal;
      return this.#signal;
    }
    clone() {
      const body = bodyOf(this)?.tee();
      const copy = new Request(this.#url, {
        method: this.#method, headers: this.headers, redirect: this.#redirect, signal: this.#signal,
      });
      adopt(copy, body);
      return copy;
    }
  }

  const nullBodyStatuses = [101, 103, 204, 205, 304];
  const redirectStatuses = [301, 302, 303, 307, 308];

  class Response extends Message {
    #status;
    #statusText;
    #url = "";
    #redirected = false;
    #type = "default";

    constructor(body = null, init = undefined) {
      init ??= {};
      const status = init.status === undefined ? 200 : Math.trunc(Number(init.status));
      if (!(status >= 200 && status <= 599)) {
        throw new RangeError(`The status provided (${init.status}) is outside the range [200, 599].`);
      }
      const statusText = `${init.statusText ?? ""}`;
      if (/[\0\r\n\u0100-\uffff]/.test(statusText)) throw new TypeError("Invalid statusText");
      const extracted = extract(body, "Response");
      if (extracted && nullBodyStatuses.includes(status)) {
        throw new TypeError(`Response with null body status (${status}) cannot have body.`);
      }
      super(extracted, new Headers(init.headers));
      this.#status = status;
      this.#statusText = statusText;
    }

    static {
      responseFrom = ({ status, statusText, headers, bytes, url, redirected }) => {
        const hasBody = !nullBodyStatuses.includes(status);
        const response = new Response(hasBody ? bytes : null, { status: 200, statusText, headers });
        response.#status = status;
        response.#url = url;
        response.#redirected = redirected;
        response.#type = "basic";
        return response;
      };
    }

    static error() {
      const response = new Response(null);
      response.#type = "error";
      response.#status = 0;
      return response;
    }
    static json(data, init = undefined) {
      const text = JSON.stringify(data);
      if (text === undefined) throw new TypeError("Response.json: the data is not serializable");
      const headers = new Headers(init?.headers);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
      return new Response(text, { ...init, headers });
    }
    static redirect(url, status = 302) {
      if (!redirectStatuses.includes(status)) throw new RangeError(`Invalid status code ${status}`);
      return new Response(null, { status, headers: { location: new (web.part("url").URL)(url).href } });
    }

    get status() {
      return this.#status;
    }
    get statusText() {
      return this.#statusText;
    }
    get ok() {
      return this.#status >= 200 && this.#status <= 299;
    }
    get url() {
      return this.#url;
    }
    get redirected() {
      return this.#redirected;
    }
    get type() {
      return this.#type;
    }
    clone() {
      const body = bodyOf(this)?.tee();
      const copy = new Response(null, { statusText: this.#statusText, headers: this.headers });
      copy.#status = this.#status;
      copy.#url = this.#url;
      copy.#redirected = this.#redirected;
      copy.#type = this.#type;
      adopt(copy, body);
      return copy;
    }
  }

  for (const name of [
    "cache", "credentials", "destination", "duplex", "integrity", "keepalive", "mode", "referrer", "referrerPolicy",
  ]) {
    Object.defineProperty(Request.prototype, name, {
      get: () => web.unsupported(name, "Request"),
      configurable: true,
    });
  }

  for (const constructor of [Request, Response]) {
    for (const name of ["arrayBuffer", "blob", "body", "bodyUsed", "bytes", "formData", "headers", "json", "text"]) {
      const member = Object.getOwnPropertyDescriptor(Message.prototype, name);
      Object.defineProperty(constructor.prototype, name, { ...member, enumerable: true });
    }
    web.enumerable(constructor);
    web.tag(constructor);
  }

  return {
    Request, Response,
    // For fetch and for the engine's HTTP glue.
    responseFrom, redirectStatuses,
    /** Whether a request or response has a body. */
    hasBody: (message) => bodyOf(message) !== null,
    /** Whether the body was given as a stream. */
    isStreamed: (message) => bodyOf(message) !== null && bodyOf(message).bytes === null,
  };
})
