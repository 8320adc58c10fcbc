// The programs of tests/ecosystem: clients that others have made follow a channel through a crash and a stop of the server.

import { test } from 'node:test';

import { commandExists, follows } from '../harness/ecosystem.mjs';

for (const program of ['fetch-event-source.mjs', 'reconnecting-websocket.mjs', 'partysocket.mjs', 'rxjs.mjs']) {
  test(`${program} follows a channel through restarts`, (t) => follows(t, process.execPath, [program]));
}

for (const [command, args, program, compiler] of [
  ['go', ['run'], 'follow.go', 'go'],
  ['java', [], 'Follow.java', 'javac'],
]) {
  test(`${program} follows a channel through restarts`, async (t) => {
    // `cargo xtask` installs them where it can.
    if (!commandExists(compiler)) return t.diagnostic(`there is no ${compiler} here`);
    await follows(t, command, [...args, program]);
  });
}
