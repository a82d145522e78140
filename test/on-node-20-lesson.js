import { loadTests } from '../.tools/node-20.js';

await loadTests(new URL('.', import.meta.url), (name) => /^(?:lesson|turn)\./.test(name));
