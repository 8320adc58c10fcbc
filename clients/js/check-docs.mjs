// Whether docs/javascript.md names everything that the types export, and every member of it.

import { readFile } from 'node:fs/promises';

const read = (path) => readFile(new URL(path, import.meta.url), 'utf8');
const docs = await read('../../docs/javascript.md');
const missing = new Set();
for (const file of ['types/index.d.ts', 'types/react.d.ts']) {
  const types = (await read(file)).replace(/\/\*.*?\*\//gs, '');
  const exported = [...types.matchAll(/^export (?:class|interface|type|function) (\w+)/gm)].map(([, name]) => name);
  const members = [...types.matchAll(/^ {2,}(?:\| )?(?:readonly )?(\w+)(?:<[^(]*>)?\??[(:]/gm)].map(([, name]) => name);
  if (!exported.length) throw new Error(`nothing is exported by ${file}`);
  for (const name of [...exported, ...members]) if (!new RegExp(`\`[^\`\n]*\\b${name}\\b[^\`\n]*\``).test(docs)) missing.add(`${file}: ${name}`);
}
for (const name of missing) console.error(`docs/javascript.md does not name ${name}`);
process.exitCode = missing.size ? 1 : 0;
