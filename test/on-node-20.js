import { loadTests } from '../.tools/node-20.js';

await loadTests(new URL('.', import.meta.url), (name) => !/^(?:attempts|lesson|turn)\./.test(name));
