// Server-Sent Events alone: the smallest client.

import { Client } from './client.js';
import { sse } from './streams.js';

export { PlainwireError } from './errors.js';

const only = { next: () => sse, worked() {}, failed() {}, use() {} };

export const connect = (url, options) => new Client(url, options, only);
