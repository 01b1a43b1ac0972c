// What V8 adds to each context only once it exists, so that it is missing where modules are imported for a snapshot.
//
// A module that looks for such a thing there would find that the engine lacks it, and would go on believing so. So there
// are guards in its place, which notice that somebody looked; such a module is left out of the snapshot.
(() => {
  "use strict";

  const { getOwnPropertyDescriptor, getPrototypeOf, ownKeys, defineProperty, deleteProperty } = Reflect;
  const { parse, stringify } = JSON;
  const own = Object.prototype.hasOwnProperty;

  /** The path of a property: keys from the global object on. */
  const PROTOTYPE = "^";
  const symbolOf = (name) => (name.startsWith("@") ? Symbol[name.slice(1)] : name);
  const nameOf = (key) => (typeof key === "string" ? key : key.description.replace("Symbol.", "@"));

  /** Paths of all properties of built-in objects, as JSON. */
  const list = () => {
    const paths = [];
    const seen = new Set();
    const visit = (value, path) => {
      if (value === null || (typeof value !== "object" && typeof value !== "function") || seen.has(value)) return;
      seen.add(value);
      for (const key of ownKeys(value)) {
        const below = [...path, nameOf(key)];
        paths.push(stringify(below));
        visit(getOwnPropertyDescriptor(value, key).value, below);
      }
      visit(getPrototypeOf(value), [...path, PROTOTYPE]);
    };
    visit(globalThis, []);
    return stringify(paths);
  };

  const guards = [];
  let isTouched = false;

  /** Puts a guard at each of these paths, as far as there is something to put it on. */
  const guard = (paths) => {
    for (const path of parse(paths)) {
      const steps = parse(path);
      const key = symbolOf(steps.pop());
      let holder = globalThis;
      for (const step of steps) {
        holder = step === PROTOTYPE ? getPrototypeOf(holder) : getOwnPropertyDescriptor(holder, symbolOf(step))?.value;
        if (holder === undefined || holder === null) break;
      }
      if (holder === undefined || holder === null || key === undefined || own.call(holder, key)) continue;
      const touch = () => {
        isTouched = true;
      };
      defineProperty(holder, key, { get: touch, set: touch, enumerable: false, configurable: true });
      guards.push({ holder, key, touch });
    }
    return "";
  };

  /** Takes the guards away. Gives text if one of them has noticed something. */
  const check = () => {
    for (let index = guards.length - 1; index >= 0; index--) {
      const { holder, key, touch } = guards[index];
      if (getOwnPropertyDescriptor(holder, key)?.get !== touch || !deleteProperty(holder, key)) isTouched = true;
    }
    return isTouched ? "touched" : "";
  };

  return { list, guard, check };
})();
