// Waiting: for a time, or until it is worth trying again at once.

/** Shortest time between two attempts, in milliseconds, however often the page is shown or the network comes back. */
const LEAST = 1_000;
/** Longest time of a timer, in milliseconds. */
const LONGEST = 2 ** 31 - 1;

/** What a page tells of its connection: where there is no page, nothing. */
export class Page {
  #listeners = new Set();
  #stop = new AbortController();

  constructor() {
    const { document } = globalThis;
    const { signal } = this.#stop;
    const tell = ({ type }) => {
      if (type === 'visibilitychange' && document.hidden) return;
      for (const listener of this.#listeners) listener(type);
    };
    for (const type of ['online', 'offline', 'pageshow']) globalThis.addEventListener?.(type, tell, { signal });
    document?.addEventListener('visibilitychange', tell, { signal });
  }

  /** Calls back at each change that may be worth an attempt. Gives what ends that. */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether the machine says that it has no network. It may be wrong about having one. */
  get isOffline() {
    return globalThis.navigator?.onLine === false;
  }

  /** Resolves after so many milliseconds; or earlier if the page says that now is a good time, but not before `least`. */
  pause(milliseconds, signal, least = 0) {
    return new Promise((resolve, reject) => {
      const began = performance.now();
      let timer;
      const end = () => {
        clearTimeout(timer);
        off();
        signal?.removeEventListener('abort', end);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      const until = (wait) => {
        clearTimeout(timer);
        timer = setTimeout(end, Math.min(wait - (performance.now() - began), LONGEST));
      };
      const off = this.on((type) => type === 'offline' || until(Math.min(milliseconds, Math.max(least, LEAST))));
      signal?.addEventListener('abort', end);
      if (signal?.aborted) end();
      else until(milliseconds);
    });
  }

  close() {
    this.#stop.abort();
    this.#listeners.clear();
  }
}

/** A signal that is aborted with the first of these; some may be missing. */
export const any = (...signals) => AbortSignal.any(signals.filter(Boolean));
