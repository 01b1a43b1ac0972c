// The commands that the guides tell people to type.

/** Languages of fenced blocks that hold commands. */
const SHELLS = ["bash", "console", "sh", "shell"];
/** What begins with one of these, perhaps after settings, is a command, in running text too. */
const INLINE = /^(?:[A-Z_]+=\S* )*(?:cargo|concave|node|scripts\/[\w-]+)(?: |$)/;

/** The command blocks of a guide, in order, and the commands within its text: `{ blocks, inline }` of `{ where, text }`. */
export function commands(file, text) {
  const lines = text.split("\n");
  const blocks = [];
  let prose = "";
  for (let at = 0; at < lines.length; at++) {
    const where = `${file}:${at + 1}`;
    const fence = /^(```+|~~~+)\s*(\S*)/.exec(lines[at]);
    if (fence !== null) {
      const [, mark, language] = fence;
      if (language === "") throw new Error(`${where}: say what language this block is in, \`text\` if none`);
      const end = lines.indexOf(mark, at + 1);
      if (end < 0) throw new Error(`${where}: this block has no end`);
      if (SHELLS.includes(language)) blocks.push({ where, text: lines.slice(at + 1, end).join("\n") });
      at = end;
    } else if (/^ {4}\S/.test(lines[at]) && (lines[at - 1] ?? "").trim() === "") {
      const begin = at;
      while (/^( {4}|\s*$)/.test(lines[at + 1] ?? "x")) at += 1;
      const block = lines.slice(begin, at + 1).map((line) => line.slice(4));
      blocks.push({ where, text: block.join("\n").trimEnd() });
    } else {
      prose += `${lines[at]}\n`;
    }
  }
  const spans = [...prose.matchAll(/`([^`]+)`/g)].map(([, span]) => span.replace(/\s+/g, " "));
  const inline = spans.filter((span) => INLINE.test(span)).map((text) => ({ where: file, text }));
  return { blocks, inline };
}
