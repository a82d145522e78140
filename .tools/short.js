// A reporter for the test runner: one line for each test that ran, and the message of a failure. It
// hides the tests that the name excludes. If no test ran, it is an error.

const LATE = 'Error: Test "'; // the first words of Node

/** @param {AsyncIterable<import('node:test/reporters').TestEvent>} events */
export default async function* short(events) {
  let count = 0;
  const failed = [];
  let stderr = '';
  let late; // an error that a test caused after its end
  for await (const { type, data } of events) {
    if (type === 'test:stderr') stderr += data.message;
    if (type === 'test:diagnostic' && data.message.startsWith(LATE)) late = data.message;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { name, skip, details } = data;
    const isExcluded = skip === 'test name does not match pattern'; // Node 20 reports these too
    const isFile = /[\\/]\d\d-[\w-]+(?:\.test)?\.[jt]s$/.test(name);
    const isGroup = details.type === 'suite' || isFile;
    if (isExcluded || (isGroup && type === 'test:pass')) continue;
    if (isGroup && details.error?.failureType === 'subtestsFailed') continue;
    count++;
    if (type === 'test:pass') {
      yield skip ? `– ${name} (skipped: ${skip})\n` : `✔ ${name}\n`;
      continue;
    }
    failed.push(name);
    // An error with a function in it cannot be sent to this process, and arrives without a message.
    // If a file ends before its tests, stderr has the reason.
    const [reason] = isGroup ? (/^(?:\w*Error: |Step \d).*/m.exec(stderr) ?? []) : [];
    if (isGroup) stderr = '';
    const message = reason ?? (isGroup ? late : undefined) ?? details.error.cause?.message ?? details.error.message;
    yield `✖ ${name}\n${String(message).trimEnd().replace(/^\n+/, '').replace(/^/gm, '  ')}\n`;
  }
  // A failure above many lines is not on the screen any more.
  const names = failed.slice(0, 3).map((name) => `  ✖ ${name}\n`).join('');
  if (failed.length > 0 && count > 10) yield `${failed.length} of ${count} tests failed:\n${names}`;
  if (count > 0) return;
  process.exitCode = 1;
  yield `No test of this step has a name with: ${process.env.WORDS}\n`;
}
