import { v7 } from 'uuid';
import { encodeId, type IdPrefix } from '../contract/ids.js';

/** Random bytes of so many ids are fetched at once: a batch of events asks for a hundred. */
const idsOfPool = 256;
const bytesOfId = 16;
const pool = new Uint8Array(idsOfPool * bytesOfId);
let used = pool.length;
/** Time and counter of the latest id (RFC 9562, 6.2, method 1): of two of one millisecond the later one is the greater. */
let latestMs = 0;
let counter = 0;

/** A new id: a UUIDv7 behind a prefix (decisions.md, "ids"). Sorted by time within a process. */
export function newId(prefix: IdPrefix): string {
  if (used === pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  const random = pool.subarray(used, used + bytesOfId);
  used += bytesOfId;
  const nowMs = Date.now();
  if (nowMs > latestMs) {
    latestMs = nowMs;
    // Begins in the lower half of its 32 bits, so that it does not run over.
    counter = new DataView(random.buffer, random.byteOffset).getUint32(0) >>> 1;
  } else counter += 1;
  return encodeId(prefix, v7({ random, msecs: latestMs, seq: counter }, new Uint8Array(bytesOfId)));
}
