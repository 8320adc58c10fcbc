// The code panel: the source of each transport's function, as it runs here, and the curl lines, each with a copy button.

import { ORDER, TRANSPORTS } from './transports.js';

/** How long a copy button says that it did, in milliseconds. */
const COPIED_SHOWN_MS = 1500;

/** Sets up the tabs and the curl lines for the channel at `url`. Returns `show(transport)`. */
export function codePanel(url) {
  const tabs = document.getElementById('tabs');
  const show = (transport) => showSource(transport, url);
  for (const transport of ORDER) tabs.append(tab(transport, show));
  tabs.addEventListener('keydown', (press) => moveFocus(press, show));
  document.querySelector('[data-copy=source]').addEventListener('click', ({ currentTarget }) =>
    copy(document.getElementById('source').textContent, currentTarget));
  document.getElementById('curls').append(...curlLines(url));
  show(ORDER[0]);
  return show;
}

/** What is shown and copied: the function that runs the pane, and a loop around it that reconnects like the pane's. */
export function sourceOf(transport, url) {
  const { watch } = TRANSPORTS[transport];
  return `${watch}

const url = '${url}';
const { signal } = new AbortController();
let since = null;
const event = ({ cursor, data }) => { since = cursor || since; console.log(cursor, data); };
for (;;) {
  await ${watch.name}(url, since, { open() {}, retry() {}, event }, signal).catch(console.warn);
  await new Promise((again) => setTimeout(again, 1000 + 1000 * Math.random()));
}`;
}

function curlLines(url) {
  const lines = [
    ['Watch it', `curl -N '${url}?live=sse'`],
    ['Change it', `curl '${url}:increment' -d '{"value":5}'`],
    ['Be refused', `curl -i '${url}:decrement' -d '{"value":1000000000}'`],
  ];
  return lines.map(([title, line]) => {
    const p = document.createElement('p');
    const label = Object.assign(document.createElement('span'), { textContent: title, className: 'label' });
    const code = Object.assign(document.createElement('code'), { textContent: line, tabIndex: 0 });
    const button = Object.assign(document.createElement('button'), { textContent: 'Copy', className: 'small', type: 'button' });
    button.setAttribute('aria-label', `Copy: ${title}`);
    button.addEventListener('click', () => copy(line, button));
    p.append(label, code, button);
    return p;
  });
}

function tab(transport, show) {
  const button = Object.assign(document.createElement('button'), { type: 'button', id: `tab-${transport}` });
  button.setAttribute('role', 'tab');
  button.setAttribute('aria-controls', 'code');
  button.dataset.tab = transport;
  button.textContent = TRANSPORTS[transport].name;
  button.addEventListener('click', () => show(transport));
  return button;
}

function moveFocus(press, show) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[press.key];
  if (!step) return;
  const at = ORDER.indexOf(document.activeElement.dataset.tab);
  const to = ORDER[(at + step + ORDER.length) % ORDER.length];
  show(to);
  document.getElementById(`tab-${to}`).focus();
}

function showSource(transport, url) {
  for (const button of document.querySelectorAll('[role=tab]')) {
    const isShown = button.dataset.tab === transport;
    button.setAttribute('aria-selected', isShown);
    button.tabIndex = isShown ? 0 : -1;
  }
  document.getElementById('code').setAttribute('aria-labelledby', `tab-${transport}`);
  document.getElementById('source').replaceChildren(...highlight(sourceOf(transport, url)));
  for (const fact of ['asks', 'resume', 'note', 'brief']) {
    document.getElementById(`about-${fact}`).textContent = TRANSPORTS[transport][fact].replace('URL', url);
  }
}

// Comments, strings and keywords are enough colour for twenty lines. A string that holds `//` must be tried first.
const TOKENS = /('[^'\n]*'|`[^`]*`)|(\/\/[^\n]*)|\b(async|await|break|const|else|for|function|if|let|new|of|return|throw|while)\b/g;

function highlight(source) {
  const parts = [];
  let end = 0;
  for (const found of source.matchAll(TOKENS)) {
    const [text, string, comment] = found;
    const className = string ? 'string' : comment ? 'comment' : 'keyword';
    parts.push(source.slice(end, found.index), Object.assign(document.createElement('span'), { className, textContent: text }));
    end = found.index + text.length;
  }
  return [...parts, source.slice(end)];
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed'; // the browser's decision; the text can still be selected
  }
  setTimeout(() => (button.textContent = 'Copy'), COPIED_SHOWN_MS);
}
