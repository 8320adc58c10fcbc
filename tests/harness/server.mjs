// The release binary as a child: started on a free port with a data directory of its own, and never left behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { deadline, Inbox, lines } from './inbox.mjs';

const BINARY = path.resolve(process.env.PLAINWIRE ?? fileURLToPath(new URL('../../target/release/plainwire', import.meta.url)));
/** Has the kernel kill a child when its parent dies, however that happens. Part of util-linux. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));
/** How long a server may take to end when it is asked to, in milliseconds. */
const STOP_MS = 10_000;

const running = new Set();
const folders = new Set();
process.on('exit', () => {
  running.forEach((child) => child.kill('SIGKILL'));
  folders.forEach(remove);
});
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) process.on(signal, () => process.exit(code));

/** Runs `plainwire ARGS…` to its end, or starts it: `{ended, out, kill}`, where `ended` gives `{code, stdout, stderr}`. */
export function plainwire(t, args) {
  const child = launch(args);
  const [out, err] = [lines(child.stdout, new Inbox(`plainwire ${args[0]}`)), lines(child.stderr, new Inbox('stderr'))];
  const closed = once(child, 'close');
  t.after(() => (child.kill('SIGKILL'), closed));
  const ended = async () => {
    const [code] = await deadline(closed, `plainwire ${args.join(' ')} did not end`);
    return { code, stdout: out.all.join('\n'), stderr: err.all.join('\n') };
  };
  return { out, kill: (signal) => child.kill(signal), ended: ended() };
}

/** A directory that is removed with the test. */
export function temporaryFolder(t) {
  const folder = makeFolder();
  t.after(() => remove(folder));
  return folder;
}

function makeFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'plainwire-test-'));
  folders.add(folder);
  return folder;
}

function remove(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

function launch(args, env = {}) {
  const command = SETPRIV ? [SETPRIV, '--pdeathsig', 'KILL', '--', BINARY, ...args] : [BINARY, ...args];
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  running.add(child);
  child.on('exit', () => running.delete(child));
  return child;
}

/** Starts a server that ends with the test `t`. `args` come after `plainwire`, `env` beside its environment. */
export async function startServer(t, { args = ['dev'], env = {} } = {}) {
  const server = new Server(args, env);
  t.after(() => server.dispose());
  await server.start();
  return server;
}

class Server {
  port = 0;
  #args;
  #env;
  /** Its data directory. */
  data = makeFolder();
  #child = null;

  constructor(args, env) {
    this.#args = args;
    this.#env = env;
  }

  /** `http://127.0.0.1:PORT` */
  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** `ws://127.0.0.1:PORT` */
  get wsOrigin() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** The URL of a path. */
  url(target) {
    return `${this.origin}${target}`;
  }

  /** Its process id. */
  get pid() {
    return this.#child.pid;
  }

  /** Starts it, again on the same port if it ran before. */
  async start() {
    const child = launch([...this.#args, '--listen', `127.0.0.1:${this.port}`, '--data', this.data], this.#env);
    this.#child = child;
    const errors = lines(child.stderr, new Inbox('stderr'));
    const banner = lines(child.stdout, new Inbox('the start of the server'));
    child.on('error', banner.close);
    try {
      const line = await banner.find((text) => /http:\/\/127\.0\.0\.1:\d+/.test(text), 'its URL on stdout');
      this.port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(line)[1]);
    } catch (error) {
      child.kill('SIGKILL');
      await errors.closed();
      throw new Error(`${error.message}\nIt said on stderr:\n${errors.all.join('\n')}`);
    }
  }

  /** kill -9. */
  async kill() {
    await this.#end('SIGKILL', STOP_MS);
  }

  /** Asks it to stop. Returns its exit code. */
  async stop() {
    return this.#end('SIGTERM', STOP_MS);
  }

  /** kill -9, and once more on the same port with the same data. */
  async crash() {
    await this.kill();
    await this.start();
  }

  /** Ends it whatever happened, and removes its data. */
  async dispose() {
    await this.kill();
    remove(this.data);
  }

  async #end(signal, ms) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode;
    const gone = once(child, 'exit');
    child.kill(signal);
    const [code] = await deadline(gone, `the server did not end on ${signal}`, ms);
    return code;
  }
}
