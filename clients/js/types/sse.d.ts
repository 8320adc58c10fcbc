/** The same, over Server-Sent Events alone, and without binary messages. */
export type * from './index.js';
export { connect, PlainwireError } from './index.js';
