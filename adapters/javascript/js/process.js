// `process.env`: a view of the deployment's environment variables. Assignments stay in this world's own layer.
(function (web) {
  "use strict";

  const { host } = web;
  const variable = (name) => (typeof name === "string" ? host("env/get", name) : undefined);

  const env = new Proxy(Object.create(Object.prototype), {
    get: (own, name, receiver) => (Object.hasOwn(own, name) ? own[name] : variable(name) ?? Reflect.get(own, name, receiver)),
    has: (own, name) => Reflect.has(own, name) || names().includes(name),
    ownKeys: (own) => [...new Set([...names(), ...Reflect.ownKeys(own)])],
    getOwnPropertyDescriptor(own, name) {
      const descriptor = Reflect.getOwnPropertyDescriptor(own, name);
      if (descriptor || !names().includes(name)) return descriptor;
      return { value: variable(name), writable: true, enumerable: true, configurable: true };
    },
  });

  function names() {
    return JSON.parse(host("env/names"));
  }

  web.expose("process", { env });
})
