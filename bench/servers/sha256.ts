// Step 39 with SHA-256 instead of SHA-512.
import { createServer } from 'node:http';
import { toListener } from '../../src/04-http.ts';
import { Session } from '../../src/07-session.ts';
import { DEMO, site, type TutorialData } from '../../src/09-tutorial.ts';
import { FastSessionFactory, sendFast } from '../../src/39-fast.ts';

const options = { ...DEMO, hashAlg: 'sha256', sessionClass: Session<TutorialData> };
const router = site(new FastSessionFactory(options));
createServer(toListener(router.handle, sendFast)).listen(Number(process.env.PORT), '127.0.0.1');
