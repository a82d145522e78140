// The tests of a step send their results to `npm run lesson`. Node loads this file twice: before the
// test file, and as its reporter. Each event is a line of JSON on file descriptor 3.
import { writeSync } from 'node:fs';
import { beforeEach } from 'node:test';
import { inspect } from 'node:util';
import { placeOf } from './explain.ts';

const CHANNEL = 3;
const MAX_VALUE = 4000; // characters: the screen shows fewer
const { MODULE = '', NAMES = '[]' } = process.env; // the module, and its functions

/** @param {object} event */
function send(event) {
  writeSync(CHANNEL, `${JSON.stringify(event)}\n`);
}

/** @param {unknown} value */
function show(value) {
  if (value instanceof Error) return String(value);
  return inspect(value, { depth: 4, breakLength: Infinity, maxStringLength: MAX_VALUE });
}

for (const name of JSON.parse(NAMES)) send({ type: 'place', name, place: placeOf(MODULE, name) });

// The reporter runs later than the tests. An endless loop would stop it, so each test announces
// itself here.
beforeEach((t) => send({ type: 'start', title: 'name' in t ? t.name : '' }));

process.on('uncaughtExceptionMonitor', (error) => {
  send({ type: 'crash', message: String(error.message), stack: String(error.stack) });
});

/** @param {AsyncIterable<import('node:test/reporters').TestEvent>} events */
export default async function* report(events) { // eslint-disable-line require-yield
  for await (const { type, data } of events) {
    if (type === 'test:pass' && data.details.type !== 'suite') send({ type: 'pass' });
    if (type !== 'test:fail' || data.details.type === 'suite') continue;
    const { failureType, cause } = data.details.error;
    const isError = cause instanceof Error;
    const error = isError ? cause : data.details.error;
    const isAssertion = isError && 'expected' in error && 'generatedMessage' in error;
    send({
      type: 'fail',
      title: data.name,
      isPending: failureType === 'cancelledByParent',
      name: error.name,
      message: error.message,
      stack: String(error.stack),
      ...(isAssertion && {
        isGenerated: error.generatedMessage === true,
        expected: show(error.expected),
        received: show('actual' in error ? error.actual : undefined),
      }),
    });
  }
}
