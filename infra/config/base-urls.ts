import { z } from 'zod';
import { ConfigurationError } from './read-env.js';

/** Where the API listens when nobody says otherwise. */
export const defaultManagerUrl = 'http://127.0.0.1:8080';

/** A setting that may name a base URL. Blank counts as unset. */
export interface BaseUrlSetting {
  readonly variable: string;
  readonly value: string | undefined;
}

/** A base URL without a slash at its end, and the variable to change if it is wrong. */
export interface ResolvedBase {
  readonly url: string;
  /** The variable that it came from; for the built-in default the one that would have been asked first. */
  readonly variable: string;
}

/**
 * The one resolver of base URLs (requirements.md A.0.a 3 to 6): internal, else public, else the built-in default. A blank value counts as unset at
 * every level; slashes are trimmed from the end of the base only.
 */
export function resolveBase(options: {
  readonly internal: BaseUrlSetting;
  readonly public: BaseUrlSetting;
  readonly fallback: string;
}): ResolvedBase {
  for (const { variable, value } of [options.internal, options.public]) {
    const url = trimmedBase(value ?? '');
    if (url !== '') return { url, variable };
  }
  return { url: trimmedBase(options.fallback), variable: options.internal.variable };
}

const trimmedBase = (text: string): string => text.trim().replace(/\/+$/, '');

/** Why a text is no base URL, or undefined. Never quotes the text, which may hold a password (requirements.md A.0.a 8). */
export function baseUrlProblem(text: string): string | undefined {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return 'expected an http:// or https:// URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'a base URL holds no user name or password';
  // An empty query or fragment is none to URL, but would stand in front of what is appended.
  if (text.includes('?')) return 'a base URL holds no query';
  if (text.includes('#')) return 'a base URL holds no fragment';
  return undefined;
}

/** A base URL: its own path is kept, spaces around it and slashes at its end are not. */
export const baseUrlSetting = z
  .string()
  .transform((text, context) => {
    const base = trimmedBase(text);
    const problem = baseUrlProblem(base);
    if (problem === undefined) return base;
    context.addIssue({ code: 'custom', message: problem });
    return z.NEVER;
  })
  .meta({ format: 'URL' });

/** The variables of every process that dials the API or says where it is. */
export const managerUrlVariables = {
  AGENTRUN_MGR_URL: baseUrlSetting
    .optional()
    .describe('Public base URL of the API: what users, SDKs and links use. Its path is the path prefix.'),
  AGENTRUN_INTERNAL_MGR_URL: baseUrlSetting
    .optional()
    .describe(
      'Base URL of the API for runners and other parts beside it: the direct hop, without a path. Else the public one is used.',
    ),
  AGENTRUN_STRICT_URLS: z
    .stringbool({ error: 'expected true or false' })
    .default(false)
    .describe('Refuse to start when AGENTRUN_INTERNAL_MGR_URL has a path, instead of warning.'),
};
const managerUrlSchema = z.object(managerUrlVariables);
type ManagerUrls = z.output<typeof managerUrlSchema>;

/**
 * Where runners and other parts beside it reach the API.
 *
 * @throws ConfigurationError when the internal URL has a path and AGENTRUN_STRICT_URLS is on.
 */
export function managerBase(read: ManagerUrls): ResolvedBase {
  const problem = internalUrlProblem(read.AGENTRUN_INTERNAL_MGR_URL);
  if (problem !== undefined && read.AGENTRUN_STRICT_URLS) {
    throw new ConfigurationError([{ variable: 'AGENTRUN_INTERNAL_MGR_URL', expected: problem }]);
  }
  return resolveBase({
    internal: { variable: 'AGENTRUN_INTERNAL_MGR_URL', value: read.AGENTRUN_INTERNAL_MGR_URL },
    public: { variable: 'AGENTRUN_MGR_URL', value: read.AGENTRUN_MGR_URL },
    fallback: defaultManagerUrl,
  });
}

/** What is wrong with an internal URL that has a path, with the value that would be right (requirements.md A.0.a 9). */
export function internalUrlProblem(url: string | undefined): string | undefined {
  if (url === undefined || baseUrlProblem(trimmedBase(url)) !== undefined) return undefined;
  const { origin, pathname } = new URL(trimmedBase(url));
  if (pathname === '/') return undefined;
  return `the internal URL is the direct hop to the API, where no proxy strips a path: remove ${pathname}, that is set it to ${origin}`;
}

/**
 * A path prefix as it is compared: `api`, `/api` and `/api/` are `/api`; `/` and empty switch it off (requirements.md A.0.b 21). Undefined: the text is
 * no path, or it would hide the API's own routes.
 */
export function normalPathPrefix(text: string): string | undefined {
  const segments = text.trim().split('/');
  while (segments[0] === '') segments.shift();
  while (segments.at(-1) === '') segments.pop();
  const isPath = segments.every(
    (segment) => /^[A-Za-z0-9_.~-]+$/.test(segment) && segment !== '.' && segment !== '..',
  );
  const prefix = segments.map((segment) => `/${segment}`).join('');
  return isPath && prefix !== '/api/v1' && !prefix.startsWith('/api/v1/') ? prefix : undefined;
}

/** A path that a proxy may leave in front of the API's routes. */
export const pathPrefixSetting = z.string().transform((text, context) => {
  const prefix = normalPathPrefix(text);
  if (prefix !== undefined) return prefix;
  context.addIssue({
    code: 'custom',
    message:
      'expected a path such as /agentrun, and not /api/v1, where the routes are; / switches the prefix off',
  });
  return z.NEVER;
});

/**
 * The prefix that the API strips: the setting, else the path of the public URL.
 *
 * @throws ConfigurationError when the public URL's path cannot be a prefix and none is set.
 */
export function pathPrefix(setting: string | undefined, publicUrl: string | undefined): string {
  if (setting !== undefined) return setting;
  if (publicUrl === undefined) return '';
  const prefix = normalPathPrefix(new URL(publicUrl).pathname);
  if (prefix !== undefined) return prefix;
  throw new ConfigurationError([
    {
      variable: 'AGENTRUN_MGR_URL',
      expected: 'its path cannot be a prefix of the API: set AGENTRUN_PATH_PREFIX',
    },
  ]);
}
