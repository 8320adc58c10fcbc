// The credential: asked for when it is needed, by one at a time.

export class Token {
  #source;
  #known;
  #asking;

  /** @param {string | (() => string | Promise<string>) | undefined} source */
  constructor(source) {
    this.#source = typeof source === 'function' ? source : () => source;
  }

  /** The token to show, if there is one. `last` is one that is not, or soon no longer, good enough. */
  async get(last) {
    if (!this.#known || this.#known === last) {
      this.#asking ??= (async () => this.#source())().finally(() => (this.#asking = undefined));
      this.#known = await this.#asking;
    }
    return this.#known;
  }
}
