// Requests to the server, with whatever credential there is.

import { drop, foreign, isOf, PlainwireError, refusal } from './errors.js';

export class Http {
  #fetch;
  #options;

  constructor(url, token, { fetch = globalThis.fetch, credentials } = {}) {
    const base = new URL(url, globalThis.location?.href);
    this.base = base.href.replace(/\/?([?#].*)?$/, '');
    this.token = token;
    // Unbound, a browser's own refuses to be called.
    this.#fetch = (...all) => fetch(...all);
    this.#options = credentials && { credentials };
  }

  /**
   * One request; another one if the server says that the credential is over and there is a newer one.
   *
   * @throws {PlainwireError} if no answer came. An answer of whatever status is given.
   */
  async send(path, init = {}, last) {
    const token = await this.#show(last);
    if (last && token === last) return undefined;
    const shown = token && { authorization: `Bearer ${token}` };
    const response = await this.#once(path, { ...init, headers: { ...init.headers, ...shown } });
    // Once: what is refused then is not over but wrong.
    if (response.status !== 401 || !token || last) return response;
    const again = await this.send(path, init, token);
    if (again) drop(response);
    return again ?? response;
  }

  /** A stream or a page: an answer of the media type that was asked for. */
  async open(path, type, { signal, headers }) {
    const response = await this.send(path, { signal, headers: { accept: type, ...headers }, cache: 'no-store' });
    if (response.status >= 400) throw await refusal(response);
    if (response.status !== 204 && !isOf(response, type)) throw foreign(response);
    return response;
  }

  async #show(last) {
    try {
      return await this.token.get(last);
    } catch (cause) {
      throw new PlainwireError('no token', { reason: 'token_source', remedy: 'retry', cause });
    }
  }

  async #once(path, init) {
    try {
      return await this.#fetch(this.base + path, { ...this.#options, ...init });
    } catch (cause) {
      // Whoever gave up knows why; a time that is over is a failure like others.
      const isGivenUp = init.signal?.aborted && init.signal.reason.name !== 'TimeoutError';
      throw isGivenUp ? init.signal.reason : new PlainwireError(`no answer from ${this.base}`, { cause });
    }
  }
}
