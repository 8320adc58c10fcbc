// Stands for the servers that post in a real application: does one step after the other while the box is checked. Of all windows of a
// browser one does so at a time.

/** `form` has the fields `on` and `every` (milliseconds), and `.producer` to say who produces. */
export function produce(form, name, step) {
  const says = form.querySelector('.producer');
  const { on, every } = form.elements;
  let stop = () => {};
  on.addEventListener('change', turn);
  turn();

  function turn() {
    stop();
    says.textContent = on.checked ? 'Another window produces.' : 'Nothing is produced here.';
    if (!on.checked) return;
    const over = new AbortController();
    stop = () => over.abort();
    alone(name, over.signal, run);
  }

  async function run(signal) {
    says.textContent = 'This window produces.';
    while (!signal.aborted) {
      await step();
      await new Promise((resolve) => setTimeout(resolve, Number(every.value)));
    }
  }
}

/** Runs this in one window at a time. A page that came from elsewhere without HTTPS has no locks: there each window does. */
export function alone(name, signal, run) {
  const locks = navigator.locks ?? { request: (_, __, run) => run() };
  locks.request(name, { signal }, () => run(signal)).catch(() => {}); // it was stopped before its turn
}
