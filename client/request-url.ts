export type QueryValue = string | number | boolean | undefined;

/**
 * Address of a route: the base (its own path is kept) and percent-encoded segments. An empty segment, `.` and `..` are
 * refused, because an id with one of these would silently address another route.
 *
 * @throws TypeError on such a segment or a base that is no URL.
 */
export function requestUrl(
  baseUrl: string,
  segments: readonly string[],
  query: Readonly<Record<string, QueryValue>> = {},
): string {
  const url = new URL(baseUrl);
  const path = segments.map(encodeSegment).join('/');
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`;
  url.search = '';
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.toString();
}

function encodeSegment(segment: string): string {
  if (segment === '' || segment === '.' || segment === '..') {
    throw new TypeError(`a path segment must not be empty, "." or "..": ${JSON.stringify(segment)}`);
  }
  return encodeURIComponent(segment);
}
