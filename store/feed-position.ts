import { z } from 'zod';

/**
 * A place in the order of the feed (docs/adr/0020): by transaction, run and seq. With a blank run it is the place before all events of its
 * transaction, which names no event of anybody.
 */
export interface FeedPosition {
  /** Of type xid8: digits, too many for a number. */
  readonly xid: string;
  readonly runId: string;
  readonly seq: number;
}

/** The place before the events of a transaction and all later ones. */
export const feedBefore = (xid: string): FeedPosition => ({ xid, runId: '', seq: 0 });

/** The place behind all events of a transaction. */
export const feedBehind = (xid: string): FeedPosition => feedBefore((BigInt(xid) + 1n).toString());

/** The place before every event. */
export const feedStart = feedBefore('0');

/** Below 0: `a` comes before `b`. As Postgres compares them: ids are ASCII, and their collation is C. */
export function compareFeedPositions(a: FeedPosition, b: FeedPosition): number {
  const xids = compareXids(a.xid, b.xid);
  if (xids !== 0) return xids;
  if (a.runId !== b.runId) return a.runId < b.runId ? -1 : 1;
  return a.seq - b.seq;
}

export const laterFeedPosition = (a: FeedPosition, b: FeedPosition): FeedPosition =>
  compareFeedPositions(a, b) < 0 ? b : a;

/** Numbers in digits without leading zeros: the longer one is the larger. */
function compareXids(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Grows when the meaning of a cursor changes; one of another version is refused. */
const version = '1';
const cursorText = new RegExp(
  `^${version}\\.(0|[1-9]\\d{0,18})\\.((?:run_[0-9a-hjkmnp-tv-z]{26})?)\\.(0|[1-9]\\d{0,14})$`,
);

/** The cursor of a place; opaque to callers. */
export const encodeFeedCursor = ({ xid, runId, seq }: FeedPosition): string =>
  Buffer.from(`${version}.${xid}.${runId}.${seq}`).toString('base64url');

/** The place of a cursor that this feed answered. */
export const feedCursorSchema = z.string().transform((cursor, context): FeedPosition => {
  const isBase64url = /^[A-Za-z0-9_-]+$/.test(cursor);
  const text = isBase64url ? Buffer.from(cursor, 'base64url').toString('latin1') : '';
  const [, xid, runId, seq] = cursorText.exec(text) ?? [];
  if (xid !== undefined && runId !== undefined && seq !== undefined) return { xid, runId, seq: Number(seq) };
  context.addIssue({ code: 'custom', message: 'expected the id of an event of the feed' });
  return z.NEVER;
});
