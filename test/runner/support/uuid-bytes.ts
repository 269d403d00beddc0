import { v7 } from 'uuid';

/** The 16 bytes of a fresh UUIDv7. */
export function uuidv7Bytes(): Uint8Array {
  return v7(undefined, new Uint8Array(16));
}
