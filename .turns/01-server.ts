import { check, expectParts, startServer } from '../.tools/check.ts';
import { countVisits } from '../src/01-server.ts';

check('the page shows the method and the path below the count', async (t) => {
  const send = await startServer(t, countVisits);
  for (const [method, path] of [['GET', '/hello'], ['POST', '/cart?item=tea']] as const) {
    const text = await (await send(path, { method })).text();
    expectParts(`The response to ${method} ${path}`, text, 'Count: ', `${method} ${path}`);
  }
});
