import type { AuditBeginning, AuditEnd } from '../store/audit.js';

const windowMs = 60_000;
/** Callers times routes times kinds: more than these are written down before their minute is over. */
const maxWindows = 10_000;

interface Window {
  /** Refusals that are not written yet. */
  requests: number;
  last: { readonly entry: AuditBeginning; readonly end: AuditEnd };
}

/**
 * Refusals before any effect, which cost their caller nothing: the first of a minute is written whole, those after it of the same caller, route and kind
 * become one entry at the end of the minute. So nobody fills the audit log by being refused.
 */
export class RefusalSums {
  readonly #windows = new Map<string, Window>();
  readonly #write: (entry: AuditBeginning, end: AuditEnd, requests: number) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param stopping when it is aborted, what was summed up is written. */
  constructor(
    write: (entry: AuditBeginning, end: AuditEnd, requests: number) => void,
    stopping: AbortSignal,
  ) {
    this.#write = write;
    stopping.addEventListener('abort', () => this.#close(), { once: true });
  }

  add(entry: AuditBeginning, end: AuditEnd): void {
    const key = JSON.stringify([
      entry.actorKind,
      entry.actor,
      entry.tenantId,
      entry.operation,
      end.failureKind,
    ]);
    const window = this.#windows.get(key);
    if (window !== undefined) {
      window.requests += 1;
      window.last = { entry, end };
      return;
    }
    if (this.#windows.size >= maxWindows) this.#close();
    this.#windows.set(key, { requests: 0, last: { entry, end } });
    this.#timer ??= setTimeout(() => this.#close(), windowMs).unref();
    this.#write(entry, end, 1);
  }

  /** The things of a sum are several: it names none. */
  #close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { requests, last } of this.#windows.values()) {
      const one = requests === 1;
      const entry = one ? last.entry : { ...last.entry, resourceKind: null, resourceId: null };
      if (requests > 0) this.#write(entry, last.end, requests);
    }
    this.#windows.clear();
  }
}
