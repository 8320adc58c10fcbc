// Stands for the machine that builds: posts what a compiler would say, a batch of lines every tenth of a second, each numbered.

const EVERY = 100;
const CRATES = ['bytes', 'memchr', 'itoa', 'ryu', 'httparse', 'serde', 'serde_json', 'tokio', 'hyper', 'rustls', 'plainwire-protocol', 'plainwire-hub', 'plainwire-log', 'plainwire'];
const TESTS = ['a_refused_command_sends_nothing', 'a_slow_reader_costs_its_cursor', 'cursors_mean_the_same_everywhere', 'retries_apply_once', 'a_crash_loses_nothing_accepted', 'late_readers_read_it_all'];

const bold = (colour, text) => `\u001b[1;${colour}m${text}\u001b[0m`;

function* lines(isFine) {
  yield '\u001b[2m$ cargo test --release\u001b[0m';
  for (const name of CRATES) yield `${bold(32, '   Compiling')} ${name} v1.${name.length}.0`;
  yield `${bold(33, 'warning')}\u001b[1m: unused variable: \`again\`\u001b[0m`;
  yield '\u001b[36m  -->\u001b[0m src/worker/push.rs:48:9';
  yield '';
  yield `${bold(32, '    Finished')} \`release\` profile [optimized] target(s) in 41.07s`;
  yield `${bold(32, '     Running')} tests/delivery.rs`;
  yield `running ${TESTS.length * 4} tests`;
  for (let round = 1; round <= 4; round++) {
    for (const name of TESTS) {
      const isBroken = !isFine && round === 3 && name === TESTS[3];
      yield `test ${name}_${round} ... ${isBroken ? '\u001b[31mFAILED\u001b[0m' : '\u001b[32mok\u001b[0m'}`;
    }
  }
  if (!isFine) {
    yield '';
    yield `${bold(31, 'error')}\u001b[1m: assertion \`left == right\` failed: applied once\u001b[0m`;
    yield '  left: 2';
    yield ' right: 1';
  }
  yield `test result: ${isFine ? bold(32, 'ok') : bold(31, 'FAILED')}. ${isFine ? 24 : 23} passed; ${isFine ? 0 : 1} failed`;
}

export async function build(pw, channel, how) {
  const isFine = how === 'passes';
  const all = [...lines(isFine)];
  let sequence = 0;
  // Tried until it is answered: under its number each batch is applied once.
  const send = (target, body) => pw.post(target, body, { sequence: ++sequence, deadline: 600_000 });
  while (all.length) {
    await send(channel, { lines: all.splice(0, 1 + (sequence % 3)) });
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  if (isFine) await send(`${channel}:complete`, { status: 0 });
  else await send(`${channel}:fail`, { title: 'exit status 101' });
}
