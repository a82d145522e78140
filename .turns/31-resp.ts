import { ask } from '../.tools/folder.ts';
import { check, expectEqual, expectParts, shownText } from '../.tools/check.ts';
import { startFakeRedis } from '../.tools/fake-redis.ts';
import { site } from '../src/31-resp.ts';

check('the page sends ECHO and shows the reply', async (t) => {
  const redis = await startFakeRedis(t, ([name, word = '']) =>
    name?.toUpperCase() === 'ECHO' ? `$${Buffer.byteLength(word)}\r\n${word}\r\n` : '+PONG\r\n');
  expectParts('The page', shownText(await ask(site(redis.port), '/')), 'Redis replies: é');
  const sent = redis.commands.map((words) => words.slice(1));
  expectEqual('The arguments of the commands', sent, [['é']]);
});
