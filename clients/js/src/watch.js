// One channel, watched: by callbacks, by `for await`, or both.

import { refused } from './errors.js';
import { Queue } from './queue.js';
import { named } from './place.js';

export class Watch {
  /** Where it is received, once it is. */
  session;
  #listeners = new Map();
  #queue;
  #isRead = false;
  /** Whether a reader that blocks had no room: what comes is not taken until it has. */
  isBehind = false;
  /** Readers that wait, and what wakes them. */
  #waiting;
  #news;
  #end;
  #signal;
  #close = () => this.close();

  constructor(channel, options) {
    this.channel = named(channel);
    this.cursor = options.since;
    this.last = options.last;
    this.#queue = new Queue(options);
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.#close);
  }

  get isOver() {
    return this.#end !== undefined;
  }

  /**
   * Calls back for every message (`message`), for those of an event's name, and for `@state`, `@reset`, `@live`, `@skipped`; for what a bounded
   * reader lost (`dropped`), and when the watch is over (`end`, with an error if there was one). Gives what ends that.
   */
  on(type, listener) {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set.add(listener));
    return () => set.delete(listener);
  }

  #emit(type, value) {
    for (const listener of this.#listeners.get(type) ?? []) {
      // A listener's own mistake is nobody else's.
      void (async () => listener(value))();
    }
  }

  /** Takes an envelope that follows what it has. */
  take(envelope) {
    if (this.isBehind || this.isOver) return;
    const { event, cursor, data } = envelope;
    const isEnd = event === '@end';
    const isShown = !['@live', '@skipped', '@end'].includes(event);
    if (isShown && this.#isRead && !this.#queue.hasRoom) {
      // Its cursor stays: everything from here on comes again when there is room.
      this.isBehind = true;
      return;
    }
    if (cursor) this.cursor = cursor;
    if (isShown && this.#isRead) {
      for (const lost of this.#queue.push(envelope)) this.#emit('dropped', lost);
      this.#news?.();
    }
    if (event) this.#emit(event, envelope);
    if (!event?.startsWith('@')) this.#emit('message', envelope);
    if (!isEnd) return;
    // What was received is still read.
    this.#over({ error: data.reason === 'failed' ? refused(409, { ...data.problem, reason: 'failed' }) : undefined });
  }

  /** Ends it with an error. */
  fail(error) {
    this.#over({ error });
  }

  /** Ends it. What was received and not read is given up. */
  close() {
    this.#queue.clear();
    this.#over({});
  }

  #over(end) {
    if (this.isOver) return;
    this.#end = end;
    this.#signal?.removeEventListener('abort', this.#close);
    this.session?.remove(this);
    this.#news?.();
    this.#emit('end', end.error);
  }

  [Symbol.asyncIterator]() {
    this.#isRead = true;
    const reader = this.#read();
    const end = reader.return.bind(reader);
    // Whoever gives up while nothing comes does not wait for it.
    reader.return = () => (this.close(), end());
    return reader;
  }

  async *#read() {
    for (;;) {
      const value = this.#queue.shift();
      if (value) {
        if (this.isBehind && !this.#queue.size) {
          this.isBehind = false;
          this.session.restart(this);
        }
        yield value;
      } else if (this.#end) {
        const { error } = this.#end;
        // An error is thrown once.
        this.#end = {};
        if (error) throw error;
        return;
      } else await (this.#waiting ??= new Promise((resolve) => (this.#news = resolve)).then(() => (this.#waiting = undefined)));
    }
  }
}
