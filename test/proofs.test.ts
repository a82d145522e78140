// The folder .proofs/ contains further proofs, one file for each step. `node --test
// .proofs/03-signer.ts` runs one file. All of them share this process, because most of them end
// faster than a process starts.
import { readdirSync } from 'node:fs';

const folder = new URL('../.proofs/', import.meta.url);
for (const name of readdirSync(folder).sort()) await import(new URL(name, folder).href);
