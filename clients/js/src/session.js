// The one loop around every transport: connect, receive, and after a failure wait and go on from where each watch stands.

import { Backoff } from './backoff.js';
import { PlainwireError } from './errors.js';
import { step } from './place.js';

/** Most channels of one connection (`/_/live`). */
const MOST = 64;
/** How often nothing may be heard for as long as a heartbeat takes. */
const SILENCE = 2;
/** How long those that come one by one are waited for, in milliseconds, before there is another connection for all of them. */
const JOIN = 10;
/** How often a token is renewed without anything being received. */
const MOST_RENEWALS = 3;

const ended = (reason, retryAfter) => new PlainwireError(reason, { reason, retryAfter });

export class Session {
  #client;
  #watches = new Map();
  #backoff;
  #isRunning = false;
  /** What ends the connection under way, or the pause between two. */
  #connection;
  /** What the transport in use knows, and what it can do of itself: `changed`, `beat`, `renewed`. None is in use in a pause. */
  #wire;
  #heardAt = 0;
  /** Tokens that were renewed since something was received. */
  #renewals = 0;
  #versions = 0;
  #joining;
  state = 'idle';

  constructor(client) {
    this.#client = client;
    this.#backoff = new Backoff(client.options.backoff);
  }

  /** Whether it has room for a watch of this channel. */
  takes(channel) {
    return this.#watches.size < MOST && !this.#watches.has(channel);
  }

  add(watch) {
    this.#watches.set(watch.channel, watch);
    this.restart(watch);
    // Whatever is watched in the same moment is asked for together.
    if (!this.#isRunning) queueMicrotask(() => this.#isRunning || this.#run());
  }

  remove(watch) {
    if (this.#watches.get(watch.channel) !== watch) return;
    this.#watches.delete(watch.channel);
    this.#changed();
  }

  /** Has a watch begin anew from where it stands. */
  restart(watch) {
    watch.version = ++this.#versions;
    this.#changed();
  }

  close() {
    for (const watch of this.#watches.values()) watch.close();
  }

  /** Gives up a connection that should have been heard of. */
  check() {
    const { heartbeat, patience } = this.#client.options;
    if (this.#wire && Date.now() - this.#heardAt > heartbeat + patience) this.reconnect('silence');
  }

  /** Gives the connection up for another. */
  reconnect(reason = 'changed') {
    this.#connection?.abort(ended(reason));
  }

  /** Watches came, went, or begin anew. A transport that can say so to the server does; for others there is another connection. */
  #changed() {
    if (!this.#watches.size) return this.reconnect();
    // Those that come during a pause are there after it.
    if (!this.#wire) return;
    if (this.#wire.changed) return this.#wire.changed();
    this.#joining ??= setTimeout(() => {
      this.#joining = undefined;
      if (this.#wire) this.reconnect();
    }, JOIN);
  }

  async #run() {
    this.#isRunning = true;
    while (this.#watches.size) {
      const connection = (this.#connection = new AbortController());
      let error = await this.#connect(connection).catch((cause) => cause);
      if (connection.signal.aborted) error = connection.signal.reason;
      connection.abort();
      if (error.reason === 'changed') continue;
      if (!(error instanceof PlainwireError)) {
        error = new PlainwireError(error.message, { reason: 'protocol', cause: error });
      }
      await this.#wait(error);
    }
    this.#isRunning = false;
    this.#tell('idle');
  }

  /** Receives until the connection ends, which it always does with an error. */
  async #connect(connection) {
    const { signal } = connection;
    const { http, options, transports } = this.#client;
    const transport = transports.next();
    this.#tell('connecting', { transport: transport.name });
    let openedAt, timer, beating;
    const heard = () => {
      if (signal.aborted) return;
      this.#heardAt = Date.now();
      clearTimeout(timer);
      clearTimeout(beating);
      timer = setTimeout(() => this.reconnect('silence'), openedAt ? options.heartbeat * SILENCE : options.patience);
      beating = setTimeout(() => wire.beat?.(), options.heartbeat);
    };
    const wire = (this.#wire = {
      http,
      signal,
      heard,
      WebSocket: options.WebSocket,
      places: () => [...this.#watches.values()].map((watch) => [watch.channel, watch.cursor]),
      version: (channel) => this.#watches.get(channel)?.version,
    });
    const frames = transport.open(wire);
    // Whoever is aborted does not wait for what a transport is waiting for.
    const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    aborted.catch(() => {});
    heard();
    try {
      for (;;) {
        const { done, value } = await Promise.race([frames.next(), aborted]);
        if (done) throw ended('ended');
        if (!openedAt) {
          openedAt = performance.now();
          heard();
          transports.worked(transport);
        }
        // Who receives for this tab may have no connection at the moment.
        const state = value.down ? 'waiting' : 'live';
        if (state !== this.state) this.#tell(state, { transport: transport.name, ...value.down });
        this.#take(value);
      }
    } catch (error) {
      // Who refuses in the server's own words was reached.
      if (!openedAt && !error.problem && error.reason !== 'changed') await transports.failed(transport, http);
      throw error;
    } finally {
      clearTimeout(timer);
      clearTimeout(beating);
      this.#wire = undefined;
      // One that ends as soon as it begins is no better than one that fails.
      if (performance.now() - openedAt > this.#backoff.limit) this.#backoff.reset();
      frames.return().catch(() => {});
    }
  }

  /** Takes what a transport says. */
  #take({ channel, cursor, event, data, ...more }) {
    if (event === '@retry') this.#backoff.retry = data;
    if (event === '@drain') throw ended('drain', data.reconnect_in_ms);
    if (event === '@expiring') {
      const wire = this.#wire;
      // If it fails, the connection ends, and tells why.
      this.#client.renew(data.renew).then((token) => token && wire.renewed?.(token), () => {});
    }
    // One without a status is a message, the last of its channel.
    if (event === '@end' && data.status) return this.#end(channel, data);
    if (!channel && this.#watches.size === 1) [channel] = this.#watches.keys();
    const watch = this.#watches.get(channel);
    if (!watch) return;
    if (event === '@refused') return this.#refuse(watch, data);
    if (event === '@begun') return (watch.cursor ??= cursor);
    if (event === '@live') this.#renewals = 0;
    if (!['@state', '@reset', '@live', '@skipped'].includes(event)) {
      if (!cursor) return;
      const ahead = step(watch.cursor, cursor);
      // One that is behind is given all of this again; that it has ended may be said again.
      if (watch.isBehind || (ahead <= 0 && event !== '@end')) return;
      if (!(ahead <= 1)) throw new PlainwireError(`${channel} has a gap`, { reason: 'gap' });
    }
    watch.take({ channel, cursor, event, data, ...more });
  }

  /** The server ends a watch, or all of them. */
  #end(channel, { reason, status }) {
    const error = new PlainwireError(reason, { status, reason });
    const watch = this.#watches.get(channel);
    if (watch && error.remedy === 'stop') return this.#refuse(watch, error);
    throw error;
  }

  #refuse(watch, error) {
    this.#watches.delete(watch.channel);
    watch.fail(error);
  }

  /** Decides what comes after a failure, and waits for it. */
  async #wait(error) {
    if (error.remedy !== 'retry') await this.#mend(error);
    if (!this.#watches.size) return;
    const { page } = this.#client;
    const wait = this.#backoff.next(error.retryAfter);
    this.#connection = new AbortController();
    this.#tell(page.isOffline ? 'offline' : 'waiting', { retryIn: Math.round(wait), error });
    // It is given up when there is nothing left to watch, or another transport to be tried.
    await page.pause(wait, this.#connection.signal, error.retryAfter).catch(() => {});
  }

  /** Gets over a refusal of the whole connection: with another token, or without the watches that it is about. */
  async #mend(error) {
    if (error.remedy === 'renew' && this.#renewals < MOST_RENEWALS) {
      try {
        if (await this.#client.renewed()) {
          this.#renewals += 1;
          return;
        }
      } catch {
        // Whoever gives tokens may do so later.
        return;
      }
    }
    const watches = [...this.#watches.values()];
    const refusals = await Promise.all(watches.map((watch) => this.#client.refusalOf(watch.channel)));
    // If it is about none of them, it is about all.
    const isOfSome = refusals.some(Boolean);
    watches.forEach((watch, index) => {
      const refusal = isOfSome ? refusals[index] : error;
      if (refusal) this.#refuse(watch, refusal);
    });
  }

  #tell(state, more) {
    this.state = state;
    this.#client.tell({ ...more, state });
  }
}
