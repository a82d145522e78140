//   npx tsx .tools/profile.ts 9      shows in which module step 9 spends its time, under load
//
// Requests are values, so this tool needs no network: it calls the handler of the site again and
// again. The profiler of Node looks 10,000 times per second which function runs. The time of a
// function of Node counts for the module that called it.
import { readdirSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector/promises';
import { isMain } from '../src/01-server.ts';
import type { Handler } from '../src/04-http.ts';
import { bodyText, makeRequest, setCookies } from './request.ts';

const WARM_UP = 5_000; // requests before the profile, until Node has compiled the code
const REQUESTS = 20_000;
const INTERVAL = 100; // microseconds between two samples

/** Returns the handler of a step. */
async function handlerOf(step: string): Promise<Handler> {
  const files = readdirSync(new URL('../src/', import.meta.url));
  const file = files.find((name) => Number(name.slice(0, 2)) === Number(step));
  const { site } = file ? await import(`../src/${file}`) : {};
  if (site === undefined) throw new RangeError(`Step '${step}' has no site. Try 9`);
  const made = site();
  return made.handle ?? made;
}

/** Sends requests with the same session cookie. Each one verifies a cookie and signs another. */
async function load(handle: Handler, count: number): Promise<void> {
  const [setCookie = ''] = setCookies(await handle(makeRequest()));
  const [cookie = ''] = setCookie.split(';');
  for (let i = 0; i < count; i++) bodyText(await handle(makeRequest('GET', '/', { cookie })));
}

/** Returns the profile of a task. */
async function profileOf(task: () => Promise<void>): Promise<Profiler.Profile> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: INTERVAL });
  await session.post('Profiler.start');
  await task();
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  return profile;
}

type Share = [module: string, share: number];

/** Returns the part of the samples in each module, from 0 to 1, the largest first. */
export function sharesOf({ nodes, samples = [] }: Profiler.Profile): Share[] {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((c) => [c, id])));
  const urls = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.url]));
  const moduleOf = (id: number | undefined): string => {
    if (id === undefined) return 'other'; // for example, the garbage collection
    return /\/src\/(.+)$/.exec(urls.get(id) ?? '')?.[1] ?? moduleOf(parents.get(id));
  };
  const counts = new Map<string, number>();
  for (const id of samples) counts.set(moduleOf(id), (counts.get(moduleOf(id)) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.map(([module, count]) => [module, count / samples.length]);
}

if (isMain(import.meta.url)) {
  process.stdout.on('error', () => process.exit()); // `| head` reads only the first lines
  const step = process.argv[2] ?? '9';
  const handle = await handlerOf(step);
  await load(handle, WARM_UP);
  const start = performance.now();
  const profile = await profileOf(() => load(handle, REQUESTS));
  const perRequest = (1000 * (performance.now() - start)) / REQUESTS;
  console.log(`Step ${step}: ${perRequest.toFixed(1)} µs per request`);
  for (const [module, share] of sharesOf(profile)) {
    if (share >= 0.01) console.log(`${(100 * share).toFixed().padStart(4)} %  ${module}`);
  }
}
