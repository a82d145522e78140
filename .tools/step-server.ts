// The server of a step, which `npm run lesson` starts next to the tests.
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { kill, nodeOptions, readerVariables, start } from './test-run.ts';

const MAX_LINES = 4; // shown

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

  start(file: string): void {
    const child = start(this.#root, [...nodeOptions(), file], readerVariables());
    this.#child = child;
    this.#file = file;
    this.lines = [`${file} is starting …`];
    const printed: string[] = [];
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
      show('The server has stopped.');
      if (this.#child === child) this.#child = undefined;
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
