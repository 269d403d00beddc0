import { parse, v7 } from 'uuid';
import { encodeId, type IdPrefix } from '../contract/ids.js';

/** A new id: a UUIDv7 behind a prefix (decisions.md, "ids"). Sorted by time within a process. */
export function newId(prefix: IdPrefix): string {
  return encodeId(prefix, parse(v7()));
}
