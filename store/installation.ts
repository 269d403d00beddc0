import { z } from 'zod';
import type { Queryable } from './pool.js';

const rowSchema = z.object({ installation_id: z.string() });

/** The id of the installation: one per database, so that two addresses can be compared (requirements.md A.0.c 29). It never changes. */
export class Installation {
  readonly #db: Queryable;
  #id: string | null = null;

  constructor(db: Queryable) {
    this.#db = db;
  }

  /** The id if it has been read before: asks nobody. */
  get knownId(): string | null {
    return this.#id;
  }

  /** Reads the id once. */
  async id(): Promise<string> {
    if (this.#id !== null) return this.#id;
    const found = await this.#db.query('select installation_id from installation');
    this.#id = rowSchema.parse(found.rows[0]).installation_id;
    return this.#id;
  }
}
