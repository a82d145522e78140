// Step 39 without some of its layers: the page alone, or the session without a signature.
import { createServer } from 'node:http';
import type { Codec } from '../../src/03-signer.ts';
import { toListener } from '../../src/04-http.ts';
import { Router } from '../../src/05-router.ts';
import { addStyle } from '../../src/06-template.ts';
import { Session } from '../../src/07-session.ts';
import { CookieSessionFactory } from '../../src/08-session-factory.ts';
import { site, type TutorialData, TutorialViews } from '../../src/09-tutorial.ts';
import { sendFast } from '../../src/39-fast.ts';

/** The bytes of a signature, without the work. */
const unsigned: Codec = {
  encode: (text) => 'x'.repeat(86) + Buffer.from(text).toString('base64url'),
  decode: (value) => Buffer.from(value.slice(86), 'base64url').toString(),
};
const session = new Session<TutorialData>(0);
const alone = addStyle(new Router()).get('/', (request) => {
  session.clear();
  return new TutorialViews({ ...request, session }).home();
});
const factory = new CookieSessionFactory(unsigned, { sessionClass: Session<TutorialData> });
const { handle } = process.env.LAYER === 'page' ? alone : site(factory);
createServer(toListener(handle, sendFast)).listen(Number(process.env.PORT), '127.0.0.1');
