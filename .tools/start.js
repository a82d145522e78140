// node .tools/start.js                 starts src/main.ts
// node .tools/start.js FILE WORD …     starts another TypeScript file of this project
//
// Node 22.18 and later run TypeScript natively. An older Node needs the package tsx. If something
// is missing, this file prints one line that says what to do. A much older Node must be able to
// read this file and print that line, so the file uses only what Node 14 knows.
import { resolve } from 'path';
import { fileURLToPath, pathToFileURL } from 'url';

const MINIMUM = [20, 20]; // the same as "engines" in package.json
const node = process.versions.node;

// The program runs in this process, so a signal such as SIGTERM reaches it directly. It finds its
// own name in `process.argv`, as if Node had started it.
const root = fileURLToPath(new URL('..', import.meta.url));
const file = resolve(root, process.argv[2] || 'src/main.ts');
process.argv.splice(1, 2, file);

const [major, minor] = node.split('.').map(Number);
if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
  stop(`This project needs Node ${MINIMUM.join('.')} or newer, and this is Node ${node}.`);
} else if (process.features.typescript) {
  import(pathToFileURL(file).href);
} else {
  import('tsx/esm/api').then(startWithTsx, stopWithoutTsx);
}

function startWithTsx(tsx) {
  tsx.register();
  return import(pathToFileURL(file).href).catch((error) => {
    // tsx uses esbuild, which has a program of its own for each kind of computer.
    if (!/"@esbuild\/|esbuild for another platform/.test(error.message)) throw error;
    stopWithout('esbuild for this computer', 'npm ci --include=dev --include=optional');
  });
}

function stopWithoutTsx(error) {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
  stopWithout('the package tsx', 'npm install --include=dev'); // also if NODE_ENV is production
}

function stopWithout(part, command) {
  stop(
    `Node ${node} needs ${part}, and it is not installed. Run \`${command}\`, ` +
      'or use Node 22.18 or newer, which needs no package.',
  );
}

function stop(message) {
  console.error(`Cannot start: ${message}`);
  process.exitCode = 1;
}
