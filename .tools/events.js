// The tests of a step send their results to `npm run lesson`. Node loads this file twice: before the
// test file, and as its reporter. Each event is a line of JSON on file descriptor 3.
import { writeSync } from 'node:fs';
import { beforeEach } from 'node:test';

const CHANNEL = 3;

/** @param {object} event */
function send(event) {
  writeSync(CHANNEL, `${JSON.stringify(event)}\n`);
}

// The reporter runs later than the tests. An endless loop would stop it, so each test announces
// itself here.
beforeEach((t) => send({ type: 'start', title: 'name' in t ? t.name : '' }));

process.on('uncaughtExceptionMonitor', (error) => {
  send({ type: 'crash', message: String(error.message), stack: String(error.stack) });
});

/** @param {AsyncIterable<import('node:test/reporters').TestEvent>} events */
export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type === 'test:pass' && data.details.type !== 'suite') {
      const isSkipped = data.skip !== undefined;
      send({ type: 'pass', title: isSkipped ? '' : data.name });
    }
    if (type !== 'test:fail' || data.details.type === 'suite') continue;
    const { failureType, cause } = data.details.error;
    // `explain.ts` has written the values, the request and the paragraph into the message.
    const error = cause instanceof Error ? cause : data.details.error;
    const ownWords = 'generatedMessage' in error && error.generatedMessage === false;
    const isPending = failureType === 'cancelledByParent';
    send({ type: 'fail', title: data.name, message: error.message, isPending, ownWords });
  }
}
