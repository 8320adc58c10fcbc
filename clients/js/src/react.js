// A channel in a React component.

import { useEffect, useState } from 'react';

const NOTHING = { messages: [] };

/**
 * Watches a channel while the component is there: `{ data, messages, error, reset }`, the newest data, the newest `keep` messages, why
 * it ended if it did, and why continuity was lost if it was. Without a channel it watches nothing.
 */
export function useWatch(client, channel, { since, last, keep = 100 } = {}) {
  const [seen, see] = useState(NOTHING);
  useEffect(() => {
    see(NOTHING);
    if (!channel) return undefined;
    const watch = client.watch(channel, { since, last });
    const add = (more) => see((old) => ({ ...old, ...more(old) }));
    watch.on('message', (message) => add(({ messages }) => ({ data: message.data, messages: [...messages, message].slice(-keep) })));
    watch.on('@state', ({ data }) => add(() => ({ data })));
    watch.on('@reset', ({ data }) => see({ ...NOTHING, reset: data.reason }));
    const off = watch.on('end', (error) => add(() => ({ error })));
    return () => {
      off();
      watch.close();
    };
  }, [client, channel, since, last, keep]);
  return seen;
}
