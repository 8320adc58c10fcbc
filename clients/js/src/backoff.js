// Exponential backoff with full jitter: any wait from none to a limit that doubles.

export class Backoff {
  #failures = 0;
  /** What the last wait was not longer than, in milliseconds, beside what was asked for. */
  limit = 0;
  /** The first limit in milliseconds, if the application says nothing else: the server may (`retry:`). */
  retry = 500;

  /** @param {{ base?: number, cap?: number }} [options] milliseconds */
  constructor({ base, cap = 30_000 } = {}) {
    this.base = base;
    this.cap = cap;
  }

  /** The next wait in milliseconds, at least `asked`. */
  next(asked = 0) {
    this.limit = Math.min(this.cap, (this.base ?? this.retry) * 2 ** Math.min(this.#failures++, 20));
    // Whoever was asked to wait is one of many: none comes at once when the time is over.
    return asked + Math.random() * this.limit;
  }

  reset() {
    this.#failures = this.limit = 0;
  }
}
