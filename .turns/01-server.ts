import { check, expectEqual, expectParts, startServer } from '../.tools/check.ts';
import { countVisits } from '../src/01-server.ts';

check('the page shows the method and the path below the count', async (t) => {
  const send = await startServer(t, countVisits);
  for (const [method, path] of [['GET', '/hello'], ['POST', '/cart?item=tea']] as const) {
    const text = await (await send(path, { method })).text();
    const what = `The response to ${method} ${path}`;
    expectParts(what, text, 'Count: ', `${method} ${path}`);
    const lines = text.split('\n').filter((line) => /^Count: |\/(?:hello|cart)/.test(line));
    const order = lines.map((line) => (line.startsWith('Count: ') ? 'count' : 'method and path'));
    expectEqual(`The order of the lines in the response to ${method} ${path}`, order,
      ['count', 'method and path']);
  }
});
