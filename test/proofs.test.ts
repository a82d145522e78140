// Further proofs of the steps, one file per step: `node --test proofs/03-signer.ts` runs one of
// them. Here they share one process, because it takes longer to start a process than to run them.
import { readdirSync } from 'node:fs';

const folder = new URL('../proofs/', import.meta.url);
for (const name of readdirSync(folder).sort()) await import(new URL(name, folder).href);
