// A fast signer without its self-check, and the keys that it uses, for the tests of step 39.
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import type { TestContext } from 'node:test';
import { Signer, type SignerOptions } from '../src/03-signer.ts';
import { FastSigner } from '../src/39-fast.ts';

/**
 * A `FastSigner` whose self-check calls the methods of `Signer`. So a mistake in `encode` or `decode`
 * fails the tests of this method, and not all tests.
 */
export class Unchecked extends FastSigner {
  #isReady = true; // not yet during the constructor of `FastSigner`

  override encode(text: string): string {
    return #isReady in this ? super.encode(text) : Signer.prototype.encode.call(this, text);
  }

  override decode(value: string): string | undefined {
    return #isReady in this ? super.decode(value) : Signer.prototype.decode.call(this, value);
  }
}

/** Returns the key in the first inner block that `encode` hashes, without the zeros behind it. */
export function keyOf(t: TestContext, options: SignerOptions, blockSize: number): string | undefined {
  const signer = new Unchecked(options);
  const { hash } = crypto;
  const blocks: Buffer[] = [];
  const spy = t.mock.method(crypto, 'hash', (...args: Parameters<typeof hash>) => {
    const [, data] = args;
    const isInner = Buffer.isBuffer(data) && data.length === blockSize + 1; // a block, then '1'
    if (isInner) blocks.push(Buffer.from(data.subarray(0, blockSize)));
    return hash(...args);
  });
  syncBuiltinESMExports(); // now the import of the module is the observed function
  try {
    signer.encode('1');
  } finally {
    spy.mock.restore();
    syncBuiltinESMExports();
  }
  const key = blocks[0]?.map((byte) => byte ^ 0x36);
  return key && Buffer.from(key).toString('latin1').replace(/\0+$/, '');
}
