// The server of a step, which `npm run lesson` starts next to the tests.
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { kill, nodeOptions, readerVariables, start } from './test-run.ts';

const MAX_LINES = 4; // shown
const MAX_ERRORS = 10_000; // characters

export class StepServer {
  /** The last lines that the server has printed. */
  lines: readonly string[] = [];
  readonly #root: string;
  readonly #onChange: () => void;
  #child: ChildProcess | undefined;
  #file = '';

  /** Calls `onChange` after each new line, and after the end of the server. */
  constructor(root: string, onChange: () => void) {
    this.#root = root;
    this.#onChange = onChange;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Removes the lines of a server that has ended. */
  clear(): void {
    if (!this.isRunning) this.lines = [];
  }

  start(file: string): void {
    const child = start(this.#root, [...nodeOptions(), file], readerVariables());
    this.#child = child;
    this.#file = file;
    this.lines = [`${file} is starting …`];
    const printed: string[] = [];
    let errors = '';
    child.stderr?.on('data', (chunk) => (errors = (errors + String(chunk)).slice(-MAX_ERRORS)));
    const show = (line: string): void => {
      const isStackTrace = /^ {4}at /.test(line);
      if (this.#child !== child || isStackTrace || line === '') return;
      printed.push(line.replace('stop with Ctrl-C', 'stop with r'));
      this.lines = printed.slice(-MAX_LINES);
      this.#onChange();
    };
    for (const input of [child.stdout, child.stderr]) {
      createInterface({ input: input as Readable }).on('line', show);
    }
    child.on('close', () => {
      if (this.#child !== child) return;
      this.#child = undefined;
      const last = errors.includes('\nNode.js v') ? crashIn(errors) : printed;
      this.lines = [...last, 'The server has stopped.'].slice(-MAX_LINES);
      this.#onChange();
    });
  }

  stop(): void {
    if (this.#child) kill(this.#child);
    this.#child = undefined;
    this.#file = '';
    this.lines = [];
  }

  /** Starts the new code after the old server has released its port. */
  restart(): void {
    const child = this.#child;
    if (!child) return;
    child.once('close', () => {
      const isWanted = !this.isRunning && this.#file !== ''; // the reader has not stopped it
      if (isWanted) this.start(this.#file);
    });
    kill(child);
  }
}

/** Returns the message and the place of the error that has ended a process. */
function crashIn(errors: string): string[] {
  const message = /^(?:\w*Error\b|Uncaught).*/m.exec(errors)?.[0] ?? errors.trim().split('\n')[0] ?? '';
  const place = /src[\\/][\w-]+\.ts:\d+/.exec(errors)?.[0].replaceAll('\\', '/');
  return [message, ...(place === undefined ? [] : [place])];
}
