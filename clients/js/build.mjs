// Makes the one-file clients in dist/, which the server embeds and serves at /_/client/, and Yjs as one file for an example. With --check: says
// whether they are what the sources give.

import { readFile, writeFile, mkdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const here = (path) => new URL(path, import.meta.url);

/** What each bundle may weigh, minified and gzipped, in bytes. */
const MOST = {
  'dist/plainwire.js': 10_240,
  'dist/plainwire-sse.js': 6_144,
  'dist/plainwire-call.js': 4_096,
  'dist/plainwire-editing.js': 3_072,
  'src/react.js': 1_024,
};

/** Properties that only the client's own parts use, of its own objects: they get short names. */
const INTERNAL = /^(beat|check|fail|failed|hasRoom|heard|isBehind|isOffline|places|reconnect|refusalOf|renew|renewed|restart|take|takes|tell|version|worked)$/;

/** What the example of a text editor takes of Yjs, for a page without a bundler. */
const YJS = `
  export {
    Doc, applyUpdate, createAbsolutePositionFromRelativePosition, createRelativePositionFromJSON, createRelativePositionFromTypeIndex,
    encodeStateAsUpdate, encodeStateVector, equalSnapshots, mergeUpdates, relativePositionToJSON, snapshot,
  } from 'yjs';
  export * as awareness from 'y-protocols/awareness';
`;

const OPTIONS = {
  bundle: true,
  minify: true,
  format: 'esm',
  // The first that have `AbortSignal.any`.
  target: ['chrome116', 'firefox124', 'safari17.4', 'node20.3'],
  legalComments: 'none',
  charset: 'utf8',
  write: false,
};

const text = async (options) => (await build({ ...OPTIONS, ...options })).outputFiles[0].text;

const bundle = (entry) =>
  text({ entryPoints: [here(entry).pathname], mangleProps: INTERNAL, external: ['react'], banner: { js: '/*! Plainwire | MIT OR Apache-2.0 */' } });

const yjs = () =>
  text({
    stdin: { contents: YJS, resolveDir: here('.').pathname },
    banner: { js: '/*! Yjs, y-protocols and lib0, by Kevin Jahns and contributors | MIT, see LICENSE-yjs.txt */' },
  });

const made = {
  'dist/plainwire.js': await bundle('src/index.js'),
  'dist/plainwire-sse.js': await bundle('src/sse.js'),
  'dist/plainwire-call.js': await bundle('src/call.js'),
  'dist/plainwire-editing.js': await bundle('src/editing.js'),
  'dist/plainwire.d.ts': await readFile(here('types/index.d.ts'), 'utf8'),
  'dist/plainwire-sse.d.ts': (await readFile(here('types/sse.d.ts'), 'utf8')).replaceAll('./index.js', './plainwire.js'),
  'dist/plainwire-editing.d.ts': (await readFile(here('types/editing.d.ts'), 'utf8')).replaceAll('./index.js', './plainwire.js'),
  'dist/plainwire-call.d.ts': (await readFile(here('types/call.d.ts'), 'utf8')).replaceAll('./index.js', './plainwire.js'),
  '../../examples/editor/yjs.js': await yjs(),
};

const isCheck = process.argv.includes('--check');
const wrong = [];
const weigh = (name, text) => {
  const [bytes, most] = [gzipSync(text, { level: 9 }).length, MOST[name]];
  console.log(`${name}: ${bytes} bytes gzipped, of ${most}`);
  if (bytes > most) wrong.push(`${name} has ${bytes} bytes gzipped, and ${most} are the most`);
};
await mkdir(here('dist'), { recursive: true });
for (const [name, text] of Object.entries(made)) {
  const file = here(name);
  if (!isCheck) await writeFile(file, text);
  else if ((await readFile(file, 'utf8').catch(() => '')) !== text) wrong.push(`${name} is not what the sources give: npm run build`);
  if (name in MOST) weigh(name, text);
}
// Not served: it needs what an application bundles.
weigh('src/react.js', await bundle('src/react.js'));
for (const line of wrong) console.error(line);
process.exitCode = wrong.length ? 1 : 0;
