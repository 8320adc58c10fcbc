// Waiting for what should happen: with a deadline, and with a message that says what came instead.

/** How long anything may take before a test gives up, in milliseconds: generous, as only a failing test waits so long. */
export const DEADLINE_MS = 15_000;

/** What arrives, in order, for a test to take. */
export class Inbox {
  /** Everything that ever arrived. */
  all = [];
  #taken = 0;
  #waiting = [];
  #closed = null;

  /** `name` is for messages: "the SSE stream". `ms` is how long to wait for anything. */
  constructor(name, ms = DEADLINE_MS) {
    this.name = name;
    this.ms = ms;
  }

  /** Takes one more in. */
  push = (item) => {
    this.all.push(item);
    this.#wake();
  };

  /** Nothing more will come, for that reason: those who wait fail at once. */
  close = (reason = 'it ended') => {
    this.#closed ??= String(reason?.message ?? reason);
    this.#wake();
  };

  /** Those that have arrived and were not taken. */
  get pending() {
    return this.all.slice(this.#taken);
  }

  /** Takes the next one. */
  async next(what = 'one more') {
    const [item] = await this.take(1, what);
    return item;
  }

  /** Takes the next `count`. */
  async take(count, what = `${count} more`) {
    await this.#until(() => this.all.length - this.#taken >= count, what);
    return this.all.slice(this.#taken, (this.#taken += count));
  }

  /** Takes all up to the first that `matches`, and returns that one. */
  async find(matches, what = String(matches)) {
    let at = this.#taken;
    const found = () => {
      while (at < this.all.length && !matches(this.all[at])) at++;
      return at < this.all.length;
    };
    await this.#until(found, what);
    this.#taken = at + 1;
    return this.all[at];
  }

  /** Waits until it is closed. Returns the reason. */
  async closed() {
    await this.#until(() => this.#closed !== null, 'its end', true);
    return this.#closed;
  }

  async #until(isSo, what, mayClose = false) {
    await deadline(
      new Promise((resolve, reject) => {
        const look = () => {
          if (isSo()) return resolve(), true;
          if (this.#closed === null || mayClose) return false;
          return reject(new Error(`${this.name}: ${this.#closed}, while waiting for ${what}; ${this.#describe()}`)), true;
        };
        if (!look()) this.#waiting.push(look);
      }),
      () => `${this.name}: waited in vain for ${what}; ${this.#describe()}`,
      this.ms,
    );
  }

  #describe() {
    return `${this.all.length} came, not yet taken: ${JSON.stringify(this.pending.slice(0, 10)).slice(0, 2000)}`;
  }

  #wake() {
    this.#waiting = this.#waiting.filter((look) => !look());
  }
}

/** The value of `promise`, or after the deadline an error with `message()`. */
export async function deadline(promise, message, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${typeof message === 'function' ? message() : message} (${ms} ms)`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Feeds `inbox` with the lines of a readable stream, and closes it with the stream. */
export function lines(stream, inbox) {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop();
    parts.forEach(inbox.push);
  });
  stream.on('end', () => {
    if (rest) inbox.push(rest);
    inbox.close();
  });
  stream.on('error', inbox.close);
  stream.on('close', () => inbox.close());
  return inbox;
}
