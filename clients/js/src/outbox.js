// Posts: each applied once, in order for each channel, and kept while there is no server.

import { Backoff } from './backoff.js';
import { foreign, isPassing, isProblem, PlainwireError, refusal } from './errors.js';
import { named, path } from './place.js';
import { any } from './wait.js';

/** How long one attempt may take, in milliseconds. */
const ATTEMPT = 30_000;

export class Outbox {
  #http;
  #page;
  #options;
  /** What waits, by channel. */
  #lanes = new Map();
  size = 0;

  constructor(http, page, { limit = 256, deadline = 60_000, backoff } = {}) {
    this.#http = http;
    this.#page = page;
    this.#options = { limit, deadline, backoff };
  }

  /**
   * Sends a write until it is answered, or until its deadline.
   *
   * @throws {PlainwireError} if there was no answer: `full`, `deadline`. Its `wasSent` says whether it may have been applied.
   */
  async send(target, body, { signal, deadline = this.#options.deadline, ...options } = {}) {
    signal?.throwIfAborted();
    if (this.size >= this.#options.limit) throw new PlainwireError('the outbox is full', { reason: 'full' });
    // A write without a key could be applied twice: once more when its answer was lost.
    const post = { target, body, ...options, key: options.key ?? random(), wasSent: false };
    const channel = named(target).replace(/:[^/]*$/, '');
    const ends = any(signal, AbortSignal.timeout(deadline));
    const before = this.#lanes.get(channel);
    const mine = (before ?? Promise.resolve()).then(() => this.#deliver(post, ends));
    const settled = mine.catch(() => {});
    this.#lanes.set(channel, settled);
    this.size += 1;
    try {
      // Whoever gives up while others are in front does not wait for them.
      return await Promise.race([mine, gone(ends)]);
    } catch (error) {
      const why = ends.aborted && !signal?.aborted ? new PlainwireError('no answer in time', { reason: 'deadline', cause: post.last }) : error;
      throw Object.assign(why, { wasSent: post.wasSent });
    } finally {
      this.size -= 1;
      if (this.#lanes.get(channel) === settled) this.#lanes.delete(channel);
    }
  }

  async #deliver(post, signal) {
    const backoff = new Backoff(this.#options.backoff);
    for (;;) {
      signal.throwIfAborted();
      try {
        return await this.#attempt(post, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof PlainwireError) || error.remedy !== 'retry') throw error;
        post.last = error;
        await this.#page.pause(backoff.next(error.retryAfter), signal, error.retryAfter);
      }
    }
  }

  async #attempt(post, signal) {
    const { method = 'POST', key, event, ifMatch, sequence, type = 'application/json' } = post;
    const headers = { 'content-type': type, 'idempotency-key': key };
    if (ifMatch) headers['if-match'] = `"${ifMatch}"`;
    if (event) headers['plainwire-event'] = event;
    if (sequence) headers['plainwire-sequence'] = sequence;
    const body = post.raw ?? JSON.stringify(post.body);
    post.wasSent = true;
    const response = await this.#http.send(path(post.target), { method, headers, body, signal: any(signal, AbortSignal.timeout(ATTEMPT)) });
    return result(response, key);
  }
}

/** 128 random bits. `crypto.randomUUID` is for pages of HTTPS alone. */
const random = () => crypto.getRandomValues(new Uint32Array(4)).join('-');

const gone = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

/** What an answer says. One that is to be sent again is thrown. */
export async function result(response, key) {
  const { status, headers } = response;
  const isJson = /^application\/(.*\+)?json/.test(headers.get('content-type') ?? '');
  if (status >= 400) {
    let problem;
    if (isProblem(response) || isPassing(status)) {
      const error = await refusal(response);
      if (error.remedy === 'retry') throw error;
      problem = error.problem;
    } else {
      // An app that decides commands refuses in its own words.
      problem = { status, detail: isJson ? await response.json() : await response.text() };
    }
    return { ok: false, status, key, problem };
  }
  const cursor = headers.get('plainwire-cursor');
  if (!cursor) throw foreign(response);
  const body = isJson ? await response.json() : undefined;
  return { ok: true, status, key, cursor, body, replayed: headers.get('idempotency-replayed') === 'true' };
}
