// Every transport: the first that works is used.

import { raw } from './bytes.js';
import { Client } from './client.js';
import { merging } from './delta.js';
import { poll } from './poll.js';
import { sharing } from './share.js';
import { ndjson, sse } from './streams.js';
import { Transports } from './transports.js';
import { websocket } from './websocket.js';

export { bytes } from './bytes.js';
export { PlainwireError } from './errors.js';

const ALL = [websocket, sse, ndjson, poll];

class Whole extends Client {
  post(target, body, options) {
    return super.post(target, body, raw(body, options));
  }
}

const transports = (options) => new Transports(options?.delta ? ALL.map(merging(new Map())) : ALL, options);
const own = (url, options) => new Whole(url, options, transports(options));

export const connect = (url, options) =>
  options?.share ? new Whole(url, options, sharing(transports(options), () => own(url, options), options)) : own(url, options);
