/** A request target without the prefix, and how often it stood there. */
export interface StrippedUrl {
  readonly url: string;
  readonly stripped: number;
}

/** Where the API's own routes begin: a prefix `/api` must not eat into them. */
const ownRoot = ['api', 'v1'];

/**
 * Takes the path prefix off a raw request target, so that the same routes answer behind a proxy that strips it, one that keeps it, and directly
 * (requirements.md A.0.b 15 to 21). Pure.
 *
 * - On a boundary of segments only, at the beginning only, and as often as it stands there: a doubled prefix comes from a base URL that carries it twice.
 * - A segment of the target is compared decoded (`/%61pi` is `/api`), case matters, and what is left is cut from the raw text: the rest of the path and
 *   the query are the same bytes.
 * - A path that begins with `//`, or would do so afterwards, is left as it is: nothing here collapses slashes.
 * - `/api/v1/…` is where the routes are. With the prefix `/api` it is not stripped, `/api/api/v1/…` is.
 *
 * `prefix` is normalised (infra/config/base-urls.ts): `/api`, `/team/agentrun`, or empty for none.
 */
export function stripPrefix(rawUrl: string, prefix: string): StrippedUrl {
  if (prefix === '') return { url: rawUrl, stripped: 0 };
  const names = prefix.slice(1).split('/');
  const queryStart = rawUrl.indexOf('?');
  const query = queryStart === -1 ? '' : rawUrl.slice(queryStart);
  let path = queryStart === -1 ? rawUrl : rawUrl.slice(0, queryStart);
  let stripped = 0;
  for (;;) {
    const rest = afterSegments(path, names);
    if (rest === undefined || rest.startsWith('//') || isOwnRoute(path, names)) break;
    path = rest === '' ? '/' : rest;
    stripped += 1;
  }
  return stripped === 0 ? { url: rawUrl, stripped } : { url: path + query, stripped };
}

/** What of a raw path follows these segments: empty, or a text that begins with a slash. Undefined: it does not begin with them. */
function afterSegments(path: string, names: readonly string[]): string | undefined {
  let rest = path;
  for (const name of names) {
    const segment = /^\/([^/]+)/.exec(rest)?.[1];
    if (segment === undefined || decoded(segment) !== name) return undefined;
    rest = rest.slice(1 + segment.length);
  }
  return rest;
}

function isOwnRoute(path: string, names: readonly string[]): boolean {
  const eatsIntoIt = names.length < ownRoot.length && names.every((name, index) => name === ownRoot[index]);
  return eatsIntoIt && afterSegments(path, ownRoot) !== undefined;
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
