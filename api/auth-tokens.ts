import { stat } from 'node:fs/promises';
import { isSameDigest, secretDigest } from '../infra/config/same-secret.js';
import {
  type ApiTokenSetting,
  digestOf,
  readTokensFile,
  requireDistinctTokens,
} from '../infra/config/tokens-file.js';
import type { Logger } from '../infra/telemetry/logger.js';

/** How often the file is looked at, at most (requirements.md A.2.d 39). */
const lookEveryMs = 1_000;

/** In place of a fingerprint: there is no such file any more. Who removes it means its tokens. */
const gone = 'gone';

interface KnownToken {
  readonly setting: ApiTokenSetting;
  readonly digest: Buffer;
}

/** The API tokens that count right now: those of the settings, and those of the tokens file as it is, without a restart. */
export class ApiTokens {
  readonly #fixed: readonly ApiTokenSetting[];
  readonly #path: string | undefined;
  readonly #logger: Logger;
  readonly #onTokens: (tokens: readonly ApiTokenSetting[]) => void;
  #known: readonly KnownToken[] = [];
  #seen = '';
  #looking: Promise<void> | undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  /**
   * @param options.onTokens told of every list that is taken into use: its clear tokens must not get into a log.
   * @throws ConfigurationError for two tokens of one name, or a file that is wrong.
   */
  constructor(options: {
    readonly fixed: readonly ApiTokenSetting[];
    readonly path?: string | undefined;
    readonly logger: Logger;
    readonly onTokens?: (tokens: readonly ApiTokenSetting[]) => void;
  }) {
    this.#fixed = options.fixed;
    this.#path = options.path;
    this.#logger = options.logger;
    this.#onTokens = options.onTokens ?? (() => undefined);
    this.#read();
  }

  /** No token is configured, nor a file that could hold some. An empty file lets nobody in. */
  get isUnset(): boolean {
    return this.#path === undefined && this.#fixed.length === 0;
  }

  get settings(): readonly ApiTokenSetting[] {
    return this.#known.map(({ setting }) => setting);
  }

  /** The owner of a token, or undefined. Every digest is compared, so that the time tells nothing. */
  async find(token: string): Promise<ApiTokenSetting | undefined> {
    await this.#look();
    const digest = secretDigest(token);
    return this.#known.filter((known) => isSameDigest(known.digest, digest))[0]?.setting;
  }

  async #look(): Promise<void> {
    if (this.#path === undefined) return;
    if (this.#looking === undefined && performance.now() - this.#lookedAtMs >= lookEveryMs) {
      this.#looking = this.#reread(this.#path).finally(() => {
        this.#lookedAtMs = performance.now();
        this.#looking = undefined;
      });
    }
    await this.#looking;
  }

  /** A version that is wrong changes nothing: who works keeps working, and the log says what is wrong, once. A file that is gone holds no tokens. */
  async #reread(path: string): Promise<void> {
    const seen = await fingerprintOf(path);
    if (seen === this.#seen) return;
    // Before the read: what is written in between is a change of its own at the next look.
    this.#seen = seen;
    if (seen === gone) {
      this.#use(this.#fixed);
      this.#logger.error({ path }, 'the tokens file is gone; none of its tokens counts until it is back');
      return;
    }
    try {
      this.#read();
      this.#logger.info({ path, tokens: this.#known.length }, 'the tokens file was read');
    } catch (error) {
      this.#logger.error(
        { cause: error, path },
        'the tokens file is wrong; the tokens of before still count',
      );
    }
  }

  #read(): void {
    this.#use([...this.#fixed, ...(this.#path === undefined ? [] : readTokensFile(this.#path))]);
  }

  #use(tokens: readonly ApiTokenSetting[]): void {
    requireDistinctTokens(tokens);
    this.#known = tokens.map((setting) => ({ setting, digest: digestOf(setting) }));
    this.#onTokens(tokens);
  }
}

/** What changes when a file is written anew, also by the swap of a link as Kubernetes does it. */
async function fingerprintOf(path: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${mtimeMs}/${size}/${ino}`;
  } catch (error) {
    const isGone = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return isGone ? gone : 'unreadable';
  }
}
