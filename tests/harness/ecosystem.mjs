// Programs that follow a channel and print what they see, a line of JSON for each message.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assertDense, post } from './http.mjs';
import { Inbox, lines } from './inbox.mjs';
import { startServer } from './server.mjs';

const FOLDER = fileURLToPath(new URL('../ecosystem', import.meta.url));
/** Until a program prints its first line, in milliseconds: some are compiled first. */
const STARTED_MS = 60_000;
/** Messages before, between and after the restarts. */
const MESSAGES = 3;

export const commandExists = (command) => spawnSync(command, ['version']).error?.code !== 'ENOENT';

/** Starts a program with the URL of a channel, restarts the server twice, and sees that it is told everything, once and in order. */
export async function follows(t, command, args) {
  const server = await startServer(t);
  const url = server.url('/chat/followed');
  let sent = 0;
  const send = async () => {
    for (let n = 0; n < MESSAGES; n++) await post(url, { n: ++sent });
  };
  await send();

  // A group of its own: `go run` starts another process.
  const child = spawn(command, [...args, url], { cwd: FOLDER, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const end = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  process.once('exit', end);
  t.after(() => (end(), process.off('exit', end)));
  const errors = lines(child.stderr, new Inbox('stderr'));
  const printed = lines(child.stdout, new Inbox(args.at(-1), STARTED_MS));
  const until = async (last) => {
    try {
      await printed.find((line) => JSON.parse(line).data.n === last, `message ${last}`);
    } catch (error) {
      throw new Error(`${error.message}\nOn stderr:\n${errors.all.slice(-20).join('\n')}`);
    }
  };
  await until(sent);
  await server.crash();
  await send();
  await until(sent);
  assert.equal(await server.stop(), 0);
  await server.start();
  await send();
  await until(sent);

  const told = printed.all.map((line) => JSON.parse(line));
  assert.deepEqual(told.map(({ data }) => data.n), Array.from({ length: sent }, (_, index) => index + 1));
  assertDense(told.map(({ cursor }) => cursor));
}
