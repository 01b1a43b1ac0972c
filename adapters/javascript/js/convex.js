// The `Convex` object that npm `convex` talks to, and what an engine needs to load, call and examine a program.
//
// The engine takes the entry points from the global `__concave` after the prelude and deletes it. Everything that goes
// through them is text or plain data.
(function (web) {
  "use strict";

  const { asyncHost, syncHost, global } = web;
  const { parse, stringify } = JSON;
  const { getPrototypeOf, hasOwn, keys, prototype: objectPrototype } = Object;
  const objectToString = objectPrototype.toString;
  const NativeError = Error;
  const { rawStack } = web.part("errors");

  // --- The `Convex` object ---------------------------------------------------------------------------------------

  // Bodies do not fit into the JSON that npm `convex` hands over: it sees ids of streams. They stay here, by id.
  const bodies = new Map();
  let lastStream = 0;

  function bytesOf(base64) {
    return Uint8Array.from(global.atob(base64), (char) => char.charCodeAt(0));
  }

  async function base64Of(body) {
    const bytes = new Uint8Array(await body.arrayBuffer());
    const parts = [];
    for (let at = 0; at < bytes.length; at += 8192) {
      parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
    }
    return global.btoa(parts.join(""));
  }

  const storage = async (op, { requestId, version, ...args }) =>
    parse(await asyncHost(op, stringify({ requestId, version, ...args })));

  const jsSyscalls = {
    requestFromConvexJson({ convexJson: { url, method, headerPairs, streamId } }) {
      return new global.Request(url, { method, headers: headerPairs, body: bodies.get(streamId) });
    },
    convexJsonFromResponse({ response }) {
      if (!(response instanceof global.Response)) throw new NativeError("HTTP actions must return a Response");
      const streamId = ++lastStream;
      bodies.set(streamId, response);
      return { headerPairs: [...response.headers], status: response.status, streamId };
    },
    async "storage/storeBlob"({ requestId, version, blob, options }) {
      if (!(blob instanceof global.Blob)) {
        throw new NativeError(
          "store() takes a Blob. To store the body of a Request or a Response, pass `await request.blob()`.",
        );
      }
      return storage("1.0/storageStore", {
        requestId, version, blob: await base64Of(blob), contentType: blob.type, sha256: options?.sha256,
      });
    },
    async "storage/getBlob"({ requestId, version, storageId }) {
      if (typeof storageId !== "string") throw new NativeError("get() takes the id of a stored file, a string.");
      const file = await storage("1.0/storageGet", { requestId, version, storageId });
      return file && new global.Blob([bytesOf(file.blob)], { type: file.contentType ?? "" });
    },
  };

  web.expose("Convex", {
    syscall: (op, args) => syncHost(`${op}`, `${args}`),
    asyncSyscall: (op, args) => asyncHost(`${op}`, `${args}`),
    jsSyscall(op, args) {
      if (!hasOwn(jsSyscalls, op)) throw new NativeError(`Unknown JS operation ${op}`);
      return jsSyscalls[op](args);
    },
  });

  // --- Calls -----------------------------------------------------------------------------------------------------

  const markers = { Query: "isQuery", Mutation: "isMutation", Action: "isAction" };

  /**
   * Calls the function that a module exports. `args` is a JSON array with the arguments object. Gives a promise of the
   * result's JSON text.
   *
   * An HTTP router takes `[request]` or `[request, routedPath]` with `request` being
   * `{url, method, headerPairs, body: base64|null}` and gives `{status, headerPairs, body: base64}`.
   */
  async function invoke(module, name, kind, args) {
    const target = hasOwn(module, name) ? module[name] : undefined;
    if (target === undefined || target === null) throw new NativeError(`The module has no export \`${name}\`.`);
    if (kind === "Action" && target.isRouter === true) return route(target, ...parse(args));
    if (target[markers[kind]] !== true) throw new NativeError(`The export \`${name}\` is not a Convex ${kind.toLowerCase()}.`);
    if (kind === "Query") return await target.invokeQuery(args);
    if (kind === "Mutation") return await target.invokeMutation(args);
    // The package wants an id that is not empty; it means nothing here.
    return await target.invokeAction("isolate", args);
  }

  async function route(router, request, path = new global.URL(request.url).pathname) {
    const { url, method, headerPairs, body = null } = request;
    const streamId = body === null ? null : ++lastStream;
    if (streamId !== null) bodies.set(streamId, bytesOf(body));
    const signal = ++lastStream;
    const response = parse(await router.runRequest(stringify({ url, method, headerPairs, streamId, signal }), path));
    return stringify({
      status: response.status,
      headerPairs: response.headerPairs,
      body: await base64Of(bodies.get(response.streamId)),
    });
  }

  const CLASSES_MAX = 16;

  // The classes of errors that engines throw by themselves.
  const prototypes = [TypeError, ReferenceError, RangeError, URIError].map(({ prototype }) => prototype);
  const isEngines = (error) => prototypes.includes(getPrototypeOf(error)) && typeof error.message === "string";

  /**
   * What was thrown: `{message, stack, constructors, data, class, own}` as JSON: names of the classes of an error, whose
   * constructors may be on its stack, `data` being JSON text if it was a `ConvexError`, and name and message of an error
   * that the engine may have thrown by itself.
   */
  function describe(thrown) {
    let message;
    let stack = "";
    let data;
    let engine;
    const constructors = [];
    try {
      if (thrown instanceof NativeError || objectToString.call(thrown) === "[object Error]") {
        message = [thrown.name, thrown.message].map((part) => `${part ?? ""}`).filter((part) => part !== "").join(": ");
        stack = rawStack(thrown);
        if (isEngines(thrown)) engine = { class: thrown.name, own: thrown.message };
        let prototype = getPrototypeOf(thrown);
        while (prototype !== null && prototype !== NativeError.prototype && constructors.length < CLASSES_MAX) {
          constructors.push(`${prototype.constructor?.name}`);
          prototype = getPrototypeOf(prototype);
        }
        const symbol = thrown.ConvexErrorSymbol;
        if (typeof symbol === "symbol" && thrown[symbol] === true) data = `${thrown.data}`;
      } else if (typeof thrown === "function" || (typeof thrown === "object" && thrown !== null)) {
        message = `#<${thrown.constructor?.name ?? "Object"}>`;
      } else {
        message = String(thrown);
      }
    } catch {
      message ??= "#<Object>";
    }
    return stringify({ message: message === "" ? "Uncaught Error" : `Uncaught ${message}`, stack, constructors, data, ...engine });
  }

  /** The exception for a failed system call; `data` is JSON text. */
  function systemError(message, data) {
    const error = new NativeError(message);
    if (data !== undefined) error.data = parse(data);
    return error;
  }

  // --- Push time -------------------------------------------------------------------------------------------------

  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  /** Where a function's code begins: `[file, line, column]` from 1, or null. */
  function position(handler) {
    if (web.position !== undefined) return web.position(handler);
    const { fileName, lineNumber, columnNumber } = isObject(handler) ? handler : {};
    return typeof fileName === "string" && lineNumber > 0 ? [fileName, lineNumber, columnNumber] : null;
  }

  /** The registered functions of a module: `[{name, udfType, visibility, args, returns, position}]` as JSON. */
  function functions(module) {
    const found = [];
    for (const name of keys(module)) {
      const value = module[name];
      if (!isObject(value)) continue;
      const types = keys(markers).filter((type) => markers[type] in value);
      if (types.length !== 1) continue;
      const isPublic = "isPublic" in value;
      const isInternal = "isInternal" in value;
      if (isPublic && isInternal) {
        global.console.warn(`Skipping the function ${name}: it is marked both public and internal.`);
        continue;
      }
      found.push({
        name,
        udfType: types[0],
        visibility: isPublic ? { kind: "public" } : isInternal ? { kind: "internal" } : null,
        args: value.exportArgs ? `${value.exportArgs()}` : null,
        returns: value.exportReturns ? `${value.exportReturns()}` : null,
        position: position(value._handler ?? value),
      });
    }
    return stringify(found);
  }

  /** The routes of `http.js`: `[{route: {path, method}, position}]` as JSON. */
  function routes(module) {
    const router = module.default;
    if (!router?.isRouter) {
      throw new NativeError("The default export of `http.js` is not a Router. Did you forget to `export default http`?");
    }
    return stringify([...router.getRoutes()].map(([path, method, handler]) =>
      ({ route: { path, method }, position: position(handler?._handler ?? handler) })));
  }

  /** The jobs of `crons.js`: `[{identifier, spec}]` as JSON. */
  function crons(module) {
    const jobs = module.default;
    if (!jobs?.isCrons) {
      throw new NativeError("The default export of `crons.js` is not a Crons object. Did you forget to `export default crons`?");
    }
    const specs = parse(jobs.export());
    return stringify(keys(specs).map((identifier) => ({ identifier, spec: specs[identifier] })));
  }

  /** The exported schema, JSON text. */
  function schema(module) {
    const definition = module.default;
    if (!definition) throw new NativeError("The schema file has no default export. Did you forget to `export default defineSchema(…)`?");
    if (typeof definition.export !== "function") {
      throw new NativeError("The default export of the schema file is not a schema made by `defineSchema`.");
    }
    return definition.export();
  }

  /** The auth configuration, JSON text. */
  function authConfig(module) {
    const config = module.default;
    if (!config) throw new NativeError("auth.config has no default export listing the auth providers.");
    return stringify(config);
  }

  /** The definition of an app or a component, JSON text. */
  function definition(module) {
    const exported = module.default?.export?.();
    if (!exported) throw new NativeError("The default export of convex.config is not made by `defineApp` or `defineComponent`.");
    return stringify(exported);
  }

  global.__concave = { invoke, describe, systemError, functions, routes, crons, schema, authConfig, definition };
})
