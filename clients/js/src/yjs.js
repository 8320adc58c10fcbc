// Yjs over a channel, for applications that have a bundler: `yjs` and `y-protocols` are the application's own.

import * as Y from 'yjs';
import * as awareness from 'y-protocols/awareness';

import { providers } from './editing.js';

export const YjsProvider = providers(Y, awareness);
