// The page: five panes that watch one counter, and the buttons that change it.
//
// For tests, and for the curious in the browser's console:
//   [data-pane=ws|sse|ndjson|longpoll|poll]  a pane, with
//     data-state       live | connecting | cut | error | reset   (a pane without its tab's turn is `cut`)
//     data-transport   ws | sse | ndjson | longpoll | poll       (what it reads over now)
//     data-cursor, data-count, data-received                     (messages received; snapshots if it polls)
//   [data-action]  increment, decrement, reject, burst; in each pane cut, switch, code, and clear in a red one
//   #answer        the last answer, with data-status; #count, #cursor: the newest state of all panes
//   window.plainwireDemo
//     .panes.KEY.receive({cursor, data, event})   takes an event as if the transport had brought it: with
//                                                 a cursor that is not due, the pane turns red
//     .panes.KEY.cut(), .use(TRANSPORT), .startOver(), .cursor, .state, .received, .faults
//     .command(NAME, ARGS), .burst(N)

import { codePanel } from './code.js';
import { burst, command } from './commands.js';
import { parseCursor } from './feed.js';
import { Pane } from './panes.js';
import { shareConnections } from './tabs.js';
import { ORDER } from './transports.js';
import { format } from './view.js';

/** Increments in a burst: enough to see, few enough for any machine. */
const BURST = 100;
/** More than there will ever be, so that taking it is refused. */
const TOO_MUCH = 1_000_000_000;
/** How long the panes are watched after a refusal, in milliseconds: longer than the slowest of them polls. */
const SILENCE_MS = 1300;
/** A count of more characters is set smaller, so that nothing beside it moves. */
const LONG_COUNT_CHARS = 8;
/** How often the rate is computed, and over how long, in milliseconds. */
const RATE_EVERY_MS = 500;
const RATE_OVER_MS = 2000;

// Relative to the page, so that it works below a prefix; `./` because `counter:increment` alone would be a scheme.
const url = new URL('./counter', document.baseURI).href;
const path = new URL(url).pathname;
const element = (id) => document.getElementById(id);

const panes = {};
let newest = { cursor: null, state: null };
const showCode = codePanel(url);

for (const key of ORDER) {
  const pane = (panes[key] = new Pane(key, url, moved));
  pane.element.querySelector('[data-action=code]').addEventListener('click', () => {
    showCode(pane.transport);
    element('code-section').scrollIntoView({ block: 'start' });
    element(`tab-${pane.transport}`).focus({ preventScroll: true });
  });
  element('panes').append(pane.element);
}
shareConnections((isPaused) => Object.values(panes).forEach((pane) => pane.pauseWhile(isPaused)));
Object.values(panes).forEach((pane) => pane.run());

const actions = {
  increment: () => change('increment', { value: amount() }),
  decrement: () => change('decrement', { value: amount() }),
  reject: () => change('decrement', { value: TOO_MUCH }),
  burst: sendBurst,
};
for (const name of ['decrement', 'reject', 'burst']) {
  document.querySelector(`[data-action=${name}]`).addEventListener('click', actions[name]);
}
element('change').addEventListener('submit', (submit) => {
  submit.preventDefault(); // the button, or Enter in the amount
  actions.increment();
});
document.querySelector('[data-path]').textContent = `${path}:increment`;
window.plainwireDemo = { panes, command: (name, args) => command(url, name, args), burst: (n) => burst(url, n) };

async function change(name, args) {
  if (!args.value) return;
  const request = `POST ${path}:${name} ${JSON.stringify(args)}`;
  try {
    const { status, body, cursor } = await command(url, name, args);
    if (status === 200) {
      answer(request, status, `${status} ${JSON.stringify(body)} at ${cursor}`);
    } else {
      answer(request, status, `${status} ${body.detail ?? body.title}`);
      await watchSilence(request, status, body);
    }
  } catch {
    answer(request, 0, 'No answer: the server cannot be reached. The panes go on trying.');
  }
}

// After a refusal no pane may go beyond where the furthest one was. (One that polls may still be on its way there.)
async function watchSilence(request, status, body) {
  const head = parseCursor(newest.cursor);
  await new Promise((resolve) => setTimeout(resolve, SILENCE_MS));
  if (element('answer').dataset.request !== request || !head) return;
  const all = Object.values(panes);
  const wentOn = all.filter((pane) => {
    const at = parseCursor(pane.cursor);
    return at && (at.epoch !== head.epoch || at.offset > head.offset);
  });
  const said = `${status} ${body.detail ?? body.title}`;
  if (wentOn.length) return answer(request, status, `${said} (other changes were accepted meanwhile)`);
  answer(request, status, `${said}. No pane moved: all are still at .${head.offset}`);
  all.forEach((pane) => pane.hush());
}

async function sendBurst() {
  const request = `${BURST} × POST ${path}:increment {"value":1}, pipelined over one WebSocket`;
  answer(request, '', 'Sending');
  try {
    const { accepted, ms } = await burst(url, BURST);
    answer(request, 200, `${accepted} of ${BURST} accepted in ${ms.toFixed(0)} ms`);
  } catch (error) {
    answer(request, 0, `No answer: ${error.message}.`);
  }
}

function answer(request, status, reply) {
  const box = element('answer');
  box.dataset.status = status;
  box.dataset.request = request;
  box.querySelector('.request').textContent = request;
  box.querySelector('.reply').textContent = reply;
}

function amount() {
  const input = element('amount');
  return input.reportValidity() ? input.valueAsNumber : 0;
}

// The headline is the furthest state that any pane has. After a new epoch it is that one's.
function moved(pane) {
  const [at, head] = [parseCursor(pane.cursor), parseCursor(newest.cursor)];
  const isNewer = !head || at.epoch !== head.epoch || at.offset >= head.offset;
  if (isNewer && pane.state) newest = { cursor: pane.cursor, state: pane.state };
  scheduleHeadline();
}

let frame = 0;
function scheduleHeadline() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const text = format(newest.state?.count);
    element('count').textContent = text;
    element('count').classList.toggle('long', text.length > LONG_COUNT_CHARS);
    element('cursor').textContent = newest.cursor ?? '–';
    const inStep = Object.values(panes).filter((pane) => pane.cursor && pane.cursor === newest.cursor).length;
    element('instep').textContent = `${inStep} of ${ORDER.length}`;
  });
}

// The rate, and the count in words for those who listen: once it stands still, not at every step.
let ticks = [];
setInterval(() => {
  const now = performance.now();
  const at = parseCursor(newest.cursor);
  if (!at) return;
  ticks = [...ticks.filter((tick) => now - tick.now < RATE_OVER_MS && tick.epoch === at.epoch), { now, ...at }];
  const isStill = ticks.at(-2)?.offset === at.offset;
  const { now: since, offset } = ticks[0];
  element('rate').textContent = format(now > since ? Math.round(((at.offset - offset) * 1000) / (now - since)) : 0);
  const words = `The count is ${newest.state.count}`;
  if (isStill && element('announce').textContent !== words) element('announce').textContent = words;
}, RATE_EVERY_MS);
