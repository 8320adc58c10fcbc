/** A shared document, for applications that have a bundler: `yjs` and `y-protocols` are theirs. */

import type { ProviderClass } from './editing.js';

export type { Provider, ProviderOptions } from './editing.js';

export const YjsProvider: ProviderClass;
