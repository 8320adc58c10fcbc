// A ticker that conflates: whoever keeps up sees every price, whoever does not sees the newest of each, and none of them waits for the other.

import { connect } from '/_/client/plainwire.js';
import { produce } from '../shared/producer.js';
import { seats } from '../shared/seats.js';

const SYMBOLS = ['ACME', 'BOLT', 'CRUX', 'DYNE', 'ECHO', 'FLUX', 'GRIT', 'HALO'];
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

for (const seat of seats('Fast reader', 'Slow reader')) {
  const isSlow = seat.name === 'Slow reader';
  void read(seat.root, seat.follow(connect('/', seat.options)), isSlow ? 250 : 0);
}
produce(document.querySelector('.feed'), 'ticker', quote(connect('/')));

async function read(root, pw, slowness) {
  const pace = root.querySelector('.pace input');
  pace.value = slowness;
  const rows = new Map(SYMBOLS.map((symbol) => [symbol, row(root, symbol)]));
  let [received, skipped] = [0, 0];
  // A reader that takes its time lets one price of each wait, no more; what comes meanwhile stays with the server, where newer ones replace it.
  const watch = pw.watch('/ticker/main', slowness ? { limit: SYMBOLS.length } : {});
  watch.on('@skipped', ({ data }) => (skipped += data.count ?? 0));
  for await (const { event, data, at } of watch) {
    if (event?.startsWith('@')) continue;
    show(rows.get(data.symbol), data, at);
    fact(root, 'received', ++received);
    fact(root, 'skipped', skipped);
    fact(root, 'age', `${Math.max(Date.now() - at, 0).toLocaleString('en')} ms`);
    root.querySelector('.pace output').textContent = Number(pace.value) ? `${pace.value} ms each` : 'at once';
    if (Number(pace.value)) await pause(Number(pace.value));
  }
}

function show({ cells, last }, { price, number }, at) {
  const [, shown, count, time] = cells;
  shown.className = price > last ? 'up' : 'down';
  shown.textContent = price.toFixed(2);
  count.textContent = number;
  time.textContent = new Date(at).toTimeString().slice(0, 8);
}

function row(root, symbol) {
  const cells = [symbol, '–', '–', '–'].map((textContent) => Object.assign(document.createElement('td'), { textContent }));
  const line = root.querySelector('tbody').insertRow();
  line.dataset.symbol = symbol;
  line.append(...cells);
  return { cells, get last() { return Number(cells[1].textContent) || 0; } };
}

const fact = (root, name, value) => (root.querySelector(`[data-fact=${name}]`).textContent = value);

/** Stands for the exchange. */
function quote(pw) {
  const prices = new Map(SYMBOLS.map((symbol, index) => [symbol, 20 + index * 11]));
  let number = 0;
  return () => {
    const symbol = SYMBOLS[number % SYMBOLS.length];
    const price = Math.max(prices.get(symbol) * (1 + (Math.random() - 0.5) * 0.02), 1);
    prices.set(symbol, price);
    return pw.post('/ticker/main', { symbol, price: Number(price.toFixed(2)), number: ++number }, { deadline: 2_000 }).catch(() => {});
  };
}
