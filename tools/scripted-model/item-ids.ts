import { createHash, randomBytes } from 'node:crypto';

/** Where in a scenario an item of a model answer belongs. `item` counts from 0 up to `items` - 1 in one answer. */
export interface ItemPosition {
  readonly scenario: string;
  readonly step: number;
  readonly repetition: number;
  readonly item: number;
  readonly items: number;
}

const pattern = /^(?:msg|rs|fc|call)_sm-(.+)-(\d+)-(\d+)-(\d+)-(\d+)-[0-9a-f]+$/;

/**
 * The id of an item, with its position in it. A client sends the items of earlier answers back with each request, so
 * the position of a thread can be read from the request itself (player.ts). Codex 0.169 keeps the id of an item only
 * when it has the prefix of its kind (`msg_`, `rs_`, `fc_`), and always the `call_id`.
 */
export function itemId(prefix: 'msg' | 'rs' | 'fc' | 'call', position: ItemPosition, suffix: string): string {
  const { scenario, step, repetition, item, items } = position;
  return `${prefix}_sm-${scenario}-${step}-${repetition}-${item}-${items}-${suffix}`;
}

/** The position in an id that {@link itemId} made, or null for any other id. */
export function parseItemId(id: string): ItemPosition | null {
  const found = pattern.exec(id);
  if (!found?.[1]) return null;
  const [step, repetition, item, items] = found.slice(2).map(Number);
  if (step === undefined || repetition === undefined || item === undefined || items === undefined)
    return null;
  return { scenario: found[1], step, repetition, item, items };
}

/** The last part of the ids of one answer: new for each answer, as a real provider does. */
export function freshSuffix(): string {
  return randomBytes(6).toString('hex');
}

/** As {@link freshSuffix}, but the same for the same key: a retry then repeats the ids of the answer that broke off. */
export function stableSuffix(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 12);
}
