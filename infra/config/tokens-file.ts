import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type TokenScope, tokenScopeSchema } from '../../contract/route-contract.js';
import { ConfigurationError } from './read-env.js';
import { secretDigest } from './same-secret.js';

/** Whose a token is. Without a tenant it sees every tenant. */
interface TokenOwner {
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly tenantId: string | undefined;
}

/** A token that the settings hold in clear. */
export interface ClearApiToken extends TokenOwner {
  /** Secret. */
  readonly token: string;
}

/** A token of which the settings hold the SHA-256 only. */
interface HashedApiToken extends TokenOwner {
  /** 64 hex digits. */
  readonly tokenSha256: string;
}

/** One bearer token of the API (decisions.md, Auth). */
export type ApiTokenSetting = ClearApiToken | HashedApiToken;

/** The digest that a token is found by. */
export function digestOf(setting: ApiTokenSetting): Buffer {
  return 'token' in setting ? secretDigest(setting.token) : Buffer.from(setting.tokenSha256, 'hex');
}

/** What every clear token must be. */
export const clearTokenSchema = z
  .string()
  .regex(/^[\x21-\x7e]{16,1000}$/, 'expected at least 16 characters of ASCII, no blanks');

const entrySchema = z
  .strictObject({
    name: z
      .string()
      .max(200)
      .regex(/^\P{Cc}+$/u, 'expected a name'),
    token: clearTokenSchema.optional(),
    tokenSha256: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, 'expected the 64 hex digits of a SHA-256')
      .optional(),
    scopes: z.array(tokenScopeSchema).min(1),
    tenantId: z.string().min(1).optional(),
  })
  .transform(({ name, token, tokenSha256, scopes, tenantId }, context): ApiTokenSetting => {
    if (token !== undefined && tokenSha256 === undefined) return { name, token, scopes, tenantId };
    if (tokenSha256 !== undefined && token === undefined) return { name, tokenSha256, scopes, tenantId };
    context.addIssue({ code: 'custom', message: 'expected token or tokenSha256, one of them' });
    return z.NEVER;
  });

/** Content of `AGENTRUN_API_TOKENS_FILE`. An empty list lets nobody in. */
const tokensFileSchema = z.array(entrySchema);

/**
 * Reads `AGENTRUN_API_TOKENS_FILE`.
 *
 * @throws ConfigurationError naming the wrong entry, never a token.
 */
export function readTokensFile(path: string): ApiTokenSetting[] {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    throw wrongFile(`the file ${path} cannot be read as JSON`);
  }
  const parsed = tokensFileSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  throw wrongFile(
    parsed.error.issues.map((issue) => `${issue.path.map(String).join('.')}: ${issue.message}`).join('; '),
  );
}

/**
 * Two entries of one name could not be told apart in the audit log; of two entries of one token, one would never count.
 *
 * @throws ConfigurationError naming the entry.
 */
export function requireDistinctTokens(tokens: readonly ApiTokenSetting[]): void {
  const names = new Set<string>();
  const nameByDigest = new Map<string, string>();
  for (const token of tokens) {
    const { name } = token;
    if (names.has(name)) throw wrongFile(`there are two tokens of the name ${name}`);
    names.add(name);
    const hex = digestOf(token).toString('hex');
    const first = nameByDigest.get(hex);
    if (first !== undefined) throw wrongFile(`${first} and ${name} have the same token`);
    nameByDigest.set(hex, name);
  }
}

const wrongFile = (expected: string) =>
  new ConfigurationError([{ variable: 'AGENTRUN_API_TOKENS_FILE', expected }]);
