// A server, as an application uses it.

import { Backoff } from './backoff.js';
import { drop, PlainwireError } from './errors.js';
import { Http } from './http.js';
import { Outbox, result } from './outbox.js';
import { path } from './place.js';
import { newest } from './poll.js';
import { Session } from './session.js';
import { Token } from './token.js';
import { any, Page } from './wait.js';
import { Watch } from './watch.js';

const DEFAULTS = {
  /** How often the server is heard of at least, in milliseconds. */
  heartbeat: 25_000,
  /** How long a connection may take to say the first thing, in milliseconds. */
  patience: 10_000,
};

/** What several connections together are: the first of these that one of them is. */
const STATES = ['closed', 'offline', 'waiting', 'connecting', 'live', 'idle'];

export class Client {
  #sessions = [];
  #listeners = new Set();
  #outbox;
  #state = { state: 'idle' };

  constructor(url, options, transports) {
    this.options = { ...DEFAULTS, ...options };
    this.http = new Http(url, new Token(this.options.token), this.options);
    this.transports = transports;
    this.page = new Page();
    this.#outbox = new Outbox(this.http, this.page, { ...this.options.outbox, backoff: this.options.backoff });
    // A machine that slept has connections that do not know it.
    this.page.on(() => this.#sessions.forEach((session) => session.check()));
  }

  /** `idle`, `connecting`, `live`, `waiting`, `offline` or `closed`. */
  get state() {
    return this.#state.state;
  }

  /** The transport in use, or to be used next. Setting it moves what is watched there, from where it stands. */
  get transport() {
    return this.transports.next().name;
  }

  set transport(name) {
    this.transports.use(name);
    for (const session of this.#sessions) session.reconnect();
  }

  /** Calls back at each change of the state, with `state`, and where there is one `transport`, `error` and `retryIn`. Gives what ends that. */
  onState(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  watch(channel, options = {}) {
    if (this.state === 'closed') throw new PlainwireError('closed', { reason: 'closed', remedy: 'stop' });
    const watch = new Watch(channel, { ...this.options.buffer, ...options });
    const begin = () => {
      if (watch.isOver) return;
      let session = this.#sessions.find((one) => one.takes(watch.channel));
      if (!session) this.#sessions.push((session = new Session(this)));
      watch.session = session;
      session.add(watch);
    };
    if (options.signal?.aborted) watch.close();
    else if (options.last && !options.since) void this.#begin(watch, options.last).then(begin);
    else begin();
    return watch;
  }

  /** Sends a write, again if need be, once in effect. See `Outbox`. */
  post(target, body, options) {
    return this.#outbox.send(target, body, options);
  }

  /** How many writes wait for their answers. */
  get pending() {
    return this.#outbox.size;
  }

  /** Reads a channel once: its state, or a page of its messages. */
  async get(channel, { since, limit, signal } = {}) {
    const query = new URLSearchParams({ ...(since && { since }), ...(limit && { limit }) });
    const response = await this.http.send(`${path(channel)}?${query}`, { signal, headers: { accept: 'application/json' } });
    return result(response);
  }

  close() {
    this.#sessions.forEach((session) => session.close());
    this.page.close();
    this.transports.close?.();
    this.tell({ state: 'closed' });
  }

  // What follows is for the parts of the client.

  /** Gives messages from before now to a watch that wants so many, whatever the transport. */
  async #begin(watch, last) {
    const backoff = new Backoff(this.options.backoff);
    const over = new AbortController();
    watch.on('end', () => over.abort());
    while (!watch.isOver) {
      try {
        const signal = any(over.signal, AbortSignal.timeout(this.options.patience));
        const page = await newest({ http: this.http, signal, heard() {} }, watch.channel, last);
        // A state has no messages from before now, but itself, which the connection begins with.
        if (page.messages) watch.cursor = page.cursor;
        for (const message of page.messages ?? []) watch.take(message);
        return;
      } catch (error) {
        // Of one that is over, nobody hears.
        if (error.remedy !== 'retry') return watch.fail(error);
        this.tell({ state: 'waiting', error });
        await this.page.pause(backoff.next(error.retryAfter), over.signal, error.retryAfter).catch(() => {});
      }
    }
  }

  /** A session's state has changed. */
  tell(change) {
    if (this.state === 'closed') return;
    const states = [change.state, ...this.#sessions.map((session) => session.state)];
    const state = STATES.find((one) => states.includes(one));
    this.#state = { ...change, state };
    for (const listener of this.#listeners) listener(this.#state);
  }

  /** Asks for a token to follow the one that is over, or soon will be. Nothing if there is none. */
  async renewed() {
    const { token } = this.http;
    const last = await token.get();
    const newer = await token.get(last);
    return newer === last ? undefined : newer;
  }

  /** Shows the server a newer token for a stream that will end with the one before. */
  async renew(where) {
    const newer = await this.renewed();
    if (newer && where) drop(await this.http.send(where, { method: 'POST' }));
    return newer;
  }

  /** Why one channel alone cannot be read, if it cannot. */
  async refusalOf(channel) {
    try {
      drop(await this.http.open(`${path(channel)}?limit=1`, 'application/json', {}));
    } catch (error) {
      if (error.remedy !== 'retry') return error;
    }
  }
}
