// Stands for your backend and its model. It counts what it posts, so that it can die at any moment, and go on where it was.

import { alone } from '../shared/producer.js';

const ANSWER = `A live answer is a log that ends. Each token is one entry, numbered by whoever produces it. So when the connection is lost, or the server, or the page that you are reading this in, nobody has to guess what was received: the last token is sent again, and applied once.

Reload this page now. The words so far are read from the log, and the rest follows as if nothing had happened. Press stop, and the wish travels the other way, over the same channel.`;
const TOKENS = ANSWER.match(/\s*\S{1,7}/g);
const EVERY = 30;

/** Answers a question at a channel; without one, goes on with what is there. Of all windows one does. */
export const generate = (pw, channel, question) => alone(channel, undefined, () => produce(pw, channel, question));

async function produce(pw, channel, question) {
  let isOver = false;
  let isCancelled = false;
  const watch = pw.watch(channel, { since: '0' });
  watch.on('@cancel', () => (isCancelled = true));
  watch.on('@end', () => (isOver = true));
  const entries = await soFar(pw, channel);
  isOver ||= entries.some(({ event }) => event === '@end');
  question ??= entries[0]?.data.question;
  if (!question) isOver = true;
  const messages = [{ question }, ...TOKENS.map((token) => ({ token }))];
  let number = entries.filter(({ event }) => !event).length;
  while (number < messages.length && !isOver && !isCancelled) {
    const { ok } = await count(pw, channel, messages[number], number + 1);
    if (ok) number += 1;
    else isOver = true; // somebody else ended it
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  if (!isOver) await count(pw, `${channel}:complete`, { stopped: isCancelled }, number + 1);
  watch.close();
}

/** Tried until it is answered: under its number it is applied once. */
const count = (pw, target, body, sequence) => pw.post(target, body, { sequence, deadline: 600_000 });

async function soFar(pw, channel) {
  for (;;) {
    try {
      const { ok, body } = await pw.get(channel, { since: '0', limit: 1000 });
      return ok ? body.messages : [];
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
