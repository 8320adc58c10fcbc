// Lines of a stream of bytes that may be split anywhere.

/** Longest line, in UTF-16 units: more than any message of a server with its default limits. */
const LONGEST = 16 << 20;

export class Lines {
  // Keeps the beginning of a character whose end has not come.
  #decoder = new TextDecoder();
  #rest = '';
  #afterReturn = false;

  /** The lines that end in these bytes, without their ends: LF, CR LF or CR. */
  *push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.#afterReturn && text[0] === '\n') text = text.slice(1);
    this.#afterReturn = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    if (this.#rest.length > LONGEST) throw new RangeError('a line is too long');
    yield* lines;
  }
}
