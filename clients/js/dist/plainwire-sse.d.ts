/** The same, over Server-Sent Events alone, and without binary messages. */
export type * from './plainwire.js';
export { connect, PlainwireError } from './plainwire.js';
