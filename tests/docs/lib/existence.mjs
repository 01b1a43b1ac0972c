// Whether what a command names exists, for commands that are not run here.

import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** Fails if a command names a package, target, feature, stage, file or option that is not there. */
export class Existence {
  constructor(clone) {
    this.clone = clone;
    const metadata = this.#output("cargo", ["metadata", "--no-deps", "--format-version", "1"]);
    this.packages = new Map(JSON.parse(metadata).packages.map((package_) => [package_.name, package_]));
  }

  check(command) {
    const words = command
      .replace(/\s#.*$/, "")
      .trim()
      .split(/\s+/);
    while (/^[A-Z_]+=/.test(words[0])) words.shift();
    const [program, ...args] = words;
    if (program === "cargo") this.#cargo(args);
    else if (program === "concave") this.#concave(args);
    else if (program === "node") this.#files(args.filter((word) => !word.startsWith("-")));
    else if (program.startsWith("scripts/")) this.#script(program, args);
    else throw new Error(`it is not known how to check ${command}`);
  }

  #cargo(args) {
    const end = args.indexOf("--");
    const own = end < 0 ? args : args.slice(0, end);
    const values = (...names) => own.filter((_, at) => names.includes(own[at - 1]));
    const named = values("-p", "--package");
    for (const name of named) if (!this.packages.has(name)) throw new Error(`there is no package ${name}`);
    const packages = named.length > 0 ? named.map((name) => this.packages.get(name)) : [...this.packages.values()];
    for (const kind of ["bench", "bin", "test"]) {
      for (const name of values(`--${kind}`)) {
        const isThere = ({ targets }) => targets.some((target) => target.name === name && target.kind.includes(kind));
        if (!packages.some(isThere)) throw new Error(`there is no ${kind} ${name}`);
      }
    }
    for (const name of values("--features").flatMap((list) => list.split(","))) {
      if (!packages.some(({ features }) => name in features)) throw new Error(`there is no feature ${name}`);
    }
  }

  #concave(args) {
    const command = args.slice(0, 1).filter((word) => !word.startsWith("-"));
    const help = this.#output("concave", [...command, "--help"]);
    for (const option of args.filter((word) => word.startsWith("--"))) {
      const name = option.split("=")[0];
      if (!help.includes(name)) throw new Error(`concave ${command} has no option ${name}`);
    }
  }

  #script(program, args) {
    accessSync(path.join(this.clone.root, program), constants.X_OK);
    if (program !== "scripts/test") return;
    const text = readFileSync(path.join(this.clone.root, program), "utf8");
    for (const stage of args) {
      if (!new RegExp(`^${stage}\\(\\) \\{$`, "m").test(text)) throw new Error(`there is no stage ${stage}`);
    }
  }

  #files(names) {
    for (const name of names) {
      if (!existsSync(path.join(this.clone.root, name))) throw new Error(`there is no file ${name}`);
    }
  }

  #output(program, args) {
    const { root: cwd, environment: env } = this.clone;
    return execFileSync(program, args, { cwd, env, encoding: "utf8", maxBuffer: 1 << 26 });
  }
}
